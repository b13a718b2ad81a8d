"""The master: one small process that keeps one PID for ever, owns the sockets and nothing else of value.

It imports the standard library and this package's own few modules, never the program, and parses only the
words of its own children. Everything it decides, it asks `overseer.machine`.
"""

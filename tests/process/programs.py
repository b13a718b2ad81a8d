"""Programs that the tests with real processes run: a server to put load on, and ones that behave badly.

All read OPTIONS as `service.ECHO` does. Those of the second kind begin with RAW, which speaks to the master
by hand: they are no first program, because only `overseer.run` can make a master.
"""

from __future__ import annotations

import textwrap

HTTP = """
import os, threading
import overseer

def serve(state, connection):
    with connection:
        connection.settimeout(10)
        with connection.makefile("rb") as lines:
            while (line := lines.readline()):
                while line.strip():
                    line = lines.readline()
                last = "Connection: close\\r\\n" if state.draining else ""
                body = f"{state.generation}\\n"
                connection.sendall((
                    f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(body)}\\r\\n"
                    f"X-Generation: {state.generation}\\r\\n{last}\\r\\n{body}").encode())
                if last:
                    return

def program(state):
    state.on_drain(lambda: print(f"drains {state.generation}", flush=True))
    def accept(listener):
        try:
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(state, connection)).start()
        except overseer.ListenerDrainingError:
            pass
    threads = [threading.Thread(target=accept, args=(listener,)) for listener in state.listeners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
"""A server of HTTP on all of its listeners, which says who answers and finishes what it has accepted."""

UPGRADES = HTTP.replace(
    "overseer.run(program, **OPTIONS)",
    "from overseer import fetcher\n"
    "    overseer.run(program, fetcher=fetcher.File('next.py'), trust=overseer.Unsigned(), **OPTIONS)",
).replace('f"{state.generation}\\n"', 'f"{state.version}\\n"')
"""The server of HTTP, which takes its releases from beside it and answers with its version."""

GATED = """
import os, threading, time
import overseer

def allowed(name, state):
    while not os.path.exists(name) and not state.draining:
        time.sleep(0.01)

def answer(state):
    while True:
        try:
            connection, _ = state.listener.accept()
        except overseer.ListenerDrainingError:
            return
        with connection:
            words = connection.recv(1000).split()
            if words == [b"restart"]:
                overseer.restart()
            connection.sendall(f"{state.generation} {state.worker} {os.getpid()}\\n".encode())

def program(state):
    print(f"begun {state.generation} {state.worker} {os.getpid()}", flush=True)
    GATE
    answer(state)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
"""A server in whose start GATE stands for something to wait for; `restart` is asked for from inside."""


def gated(gate: str) -> str:
    """Return a server that does `gate` before it accepts; `allowed(name, state)` waits for a file."""
    return GATED.replace("GATE", gate)


RAW = """
import json, os, random, select, signal, socket, sys, time

channel = socket.socket(fileno=int(os.environ["OVERSEER_CHANNEL"].partition(":")[0]))

def say(**word):
    channel.sendall(json.dumps(word).encode() + b"\\n")

def hello(policy=(), **config):
    say(type="hello", protocol=1, config={**CONFIG, "policy": dict(policy), **config})

def heard(word):
    rest = b""
    while word.encode() not in rest:
        data = channel.recv(65536)
        if not data:
            sys.exit(0)
        rest += data

def allowed(name):
    while not os.path.exists(name):
        time.sleep(0.01)
"""
"""What a program needs that speaks to the master by hand; CONFIG stands for what it says hello with."""


def raw(body: str, *, address: str = "127.0.0.1:0") -> str:
    """Return a program that says to the master what `body` wants."""
    config = {"addresses": [address]}
    return f"{RAW.replace('CONFIG', repr(config))}\n{textwrap.dedent(body)}"

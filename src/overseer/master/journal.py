"""What the master says: one line per fact on standard error, and never a wait for whoever reads it.

A pipe whose reader has stopped must not stop the service, so a line is written only where the kernel takes
it whole at once (PIPE_BUF, pipe(7)); meanwhile lines wait here, the oldest are dropped, and how many is said.
"""

from __future__ import annotations

import os
import select

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
_WAITING = 200
# A program's words come into our lines: they shall not move a terminal's cursor, nor colour what follows.
_UNSEEN = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_WHOLE = 4096 - 1  # bytes; what a pipe takes at once or not at all


class Journal:
    """Lines for people, above a level."""

    def __init__(self, level: int = INFO, fd: int = 2) -> None:
        self.level = level
        self._fd = fd
        self._waiting: list[str] = []
        self._dropped = 0

    def say(self, text: str, level: int = INFO) -> None:
        """Write one line, `overseer: text`; warnings and errors say so."""
        if level < self.level:
            return
        mark = {WARNING: "warning: ", ERROR: "error: "}.get(level, "")
        line = f"overseer: {mark}{text}".replace("\n", " | ").translate(_UNSEEN)
        self._waiting.append(line)
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the reader takes it."""
        while self._waiting and self._takes():
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._waiting.insert(0, f"overseer: warning: {dropped} lines were dropped: nobody read them")
            line = self._waiting[0].encode(errors="backslashreplace")[:_WHOLE] + b"\n"
            try:
                os.write(self._fd, line)
            except BlockingIOError:
                break
            except OSError:  # nobody will ever read it (EPIPE, EIO of a terminal that hung up)
                self._waiting.clear()
                return
            self._waiting.pop(0)
        while len(self._waiting) > _WAITING:
            self._waiting.pop(0)
            self._dropped += 1

    def _takes(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        try:
            return bool(poll.poll(0))
        except OSError:
            return True

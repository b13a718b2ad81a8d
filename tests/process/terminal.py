"""A real terminal with a program in its foreground, as a test sees it: typed into, read, hung up."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import time
from typing import TYPE_CHECKING, Self

from tests.process.service import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CTRL_C, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x1a", "\x1c"


class Terminal:
    """A pseudo-terminal whose session is led by one command; as a context manager it ends them all."""

    def __init__(self, argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.shown = ""
        """Everything that was printed so far."""
        self.status: int | None = None
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], list(argv), {**os.environ, "PS1": "$ ", "TERM": "dumb", **(env or {})})

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def shows(self, pattern: str, times: int = 1) -> list[str]:
        """Wait until `pattern` was printed that often; return what its groups found."""
        deadline = time.monotonic() + DEADLINE
        while len(found := re.findall(pattern, self.shown)) < times:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"no {pattern!r} on the terminal:\n{self.shown}")
        return found

    def _read(self, timeout: float) -> bool:
        """Read once; return False when nobody will ever print again."""
        if select.select([self._fd], [], [], timeout)[0]:
            try:
                data = os.read(self._fd, 1 << 16)
            except OSError:  # EIO: the last process has closed it
                return False
            self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return True

    def ended(self) -> int:
        """Wait for the end of the command; return its status as `subprocess` has it."""

        def has_ended() -> bool:
            self._read(0.01)  # whoever prints must not wait for us
            return self._reap(os.WNOHANG)

        until(has_ended, f"the command ends; it shows\n{self.shown}")
        assert self.status is not None
        return self.status

    def hang_up(self) -> None:
        """Close the terminal under everybody."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def processes(self) -> list[int]:
        """Return every process of the session."""
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and os.getsid(int(entry)) == self.pid:
                    found.append(int(entry))
        return found

    def _reap(self, flags: int) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, flags)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End everybody."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.hang_up()
        self._reap(0)

"""A terminal as a reader has it: an interactive shell on a pty, what is typed, and what is then seen."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0
"""Seconds until a line that does not come is a failure."""

_WIDE = 200
"""Columns: the pages show lines as they are, and leave it to their reader's terminal to break them."""

_PROMPT = re.compile(r"@@(\d+)@@ ")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")  # ECMA-48, select graphic rendition: what a page cannot show


class Terminal:
    """One shell in a folder, with the virtual environment's programs first on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.seen = ""
        environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PS1": "@@$?@@ ",
            "PS2": "",
            "TERM": "dumb",
            "HISTFILE": "",
        }
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            termios.tcsetwinsize(0, (50, _WIDE))
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], environ)
        self._prompts = 0
        self.type("stty -echo; PS1='@@$?@@ '")

    def type(self, command: str) -> tuple[int, int]:
        """Type a command and wait for the next prompt; return its status, and where its output begins."""
        begins = len(self.seen)
        if self._prompts == 0:
            self._until(lambda: len(_PROMPT.findall(self.seen)) > 0, "the first prompt")
            self._prompts = 1
            begins = len(self.seen)
        # One line to the shell, however many on the page: a prompt a command.
        os.write(self._fd, command.replace("\\\n", " ").encode() + b"\n")
        self._until(lambda: len(_PROMPT.findall(self.seen)) > self._prompts, f"the end of {command!r}")
        self._prompts += 1
        return int(_PROMPT.findall(self.seen)[self._prompts - 1]), begins

    def shows(self, pattern: str, after: int) -> int:
        """Wait until something is seen after a place; return the place where it ends."""
        found: list[re.Match[str]] = []

        def seen() -> bool:
            match = re.compile(pattern, re.MULTILINE).search(self._plain(), after)
            found[:] = [match] if match else []
            return bool(found)

        self._until(seen, f"{pattern!r} in the terminal")
        return found[0].end()

    def pause(self) -> None:
        """Let what runs in it go on for a moment, or until it shows something."""
        select.select([self._fd], [], [], 0.05)

    def where(self, place: int) -> int:
        """Translate a place in what was received to one in what `shows` searches."""
        return len(_plain(self.seen[:place]))

    def _plain(self) -> str:
        return _plain(self.seen)

    def _until(self, fact: object, what: str) -> None:
        end = time.monotonic() + PATIENCE
        assert callable(fact)
        while not fact():
            if not select.select([self._fd], [], [], max(0.0, end - time.monotonic()))[0]:
                raise AssertionError(f"not within {PATIENCE:g} s: {what}\n--- terminal\n{self._plain()}")
            with contextlib.suppress(OSError):
                self.seen += os.read(self._fd, 1 << 16).decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the terminal as a window is closed, and end whatever was started in it."""
        tree = list(_below(self.pid))
        for pid in (*tree, self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.close(self._fd)
        os.waitpid(self.pid, 0)


def _plain(text: str) -> str:
    return _COLOUR.sub("", _PROMPT.sub("", text.replace("\r\n", "\n")))


def _below(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _below(int(child))
            yield int(child)

"""Something under measurement: started, awaited, asked, restarted, ended; it leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.master import proc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

PROGRAMS: Final = Path(__file__).parent / "programs"
PATIENCE: Final = 60.0
"""Seconds until a fact that does not come ends the bench."""
LOOK: Final = 0.0005
"""Seconds between two looks at a fact; part of every time that is measured so, the baseline's too."""

_UNWANTED: Final = frozenset({"PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME", "PYTHONTRACEMALLOC"})
"""Variables of who runs the bench that would be measured, too."""
_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


class BenchError(Exception):
    """A subject did not do what it is measured for."""


def free_port() -> int:
    """Find a TCP port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def until(fact: Callable[[], bool], what: str, *, every: float = LOOK) -> float:
    """Look until `fact()`; return when that was, on the monotonic clock. Raises `BenchError`."""
    deadline = time.monotonic() + PATIENCE
    while not fact():
        if time.monotonic() > deadline:
            raise BenchError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(every)
    return time.monotonic()


def ask(port: int) -> str:
    """Ask a server on a connection of its own; return the generation that answers.

    Raises `OSError`; nothing is returned for an answer without a generation.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(_REQUEST)
        answer = b""
        while data := connection.recv(65536):
            answer += data
            if b"\r\n\r\n" in answer:
                break
    for line in answer.decode("latin-1").split("\r\n"):
        name, _, text = line.partition(":")
        if name.lower() == "x-generation":
            return text.strip()
    return ""


class Running:
    """One subject, from its exec on; as a context manager it is gone at the end with all its processes."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int = 0,
        cwd: Path = PROGRAMS,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command`. Its standard output is read by `said`; what it says on standard error is kept."""
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="overseer-bench-"))
        self._heard = 0
        with (self.folder / "log").open("wb") as log:
            inherited = {name: text for name, text in os.environ.items() if name not in _UNWANTED}
            env = {**inherited, "RUNTIME_DIRECTORY": str(self.folder), "TMPDIR": str(self.folder)}
            self.born = time.monotonic()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=cwd,
                env={**env, **(environ or {})},
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._out = self._process.stdout.fileno()

    @property
    def pid(self) -> int:
        """The process that was started: a master, or the program itself."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What was said on standard error so far."""
        return (self.folder / "log").read_text(errors="replace")

    def said(self, lines: int) -> float:
        """Wait until so many more lines have come on standard output; return when. Raises `BenchError`."""
        deadline, wanted = time.monotonic() + PATIENCE, self._heard + lines
        while self._heard < wanted:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._out], [], [], left)[0]:
                raise BenchError(f"{lines} lines did not come in {PATIENCE:g} s\n{self.log}")
            data = os.read(self._out, 65536)
            if not data:
                raise BenchError(f"it ended\n{self.log}")
            self._heard += data.count(b"\n")
        return time.monotonic()

    def answers(self, other_than: str = "") -> float:
        """Ask until somebody answers whose generation is not `other_than`; return when he had."""

        def answered() -> bool:
            with contextlib.suppress(OSError):
                return ask(self.port) not in ("", other_than)
            if self._process.poll() is not None:
                raise BenchError(f"it ended with {self._process.returncode}\n{self.log}")
            return False

        return until(answered, f"an answer on port {self.port}")

    def call(self) -> socket.socket:
        """Connect to the control socket of a master of ours."""
        caller = socket.socket(socket.AF_UNIX)
        caller.settimeout(PATIENCE)
        try:
            caller.connect(str(self.folder / "overseer.sock"))
        except OSError:
            caller.close()
            raise
        return caller

    def control(self, kind: str) -> dict[str, Any]:
        """Ask a master of ours for something and wait for its answer."""
        with self.call() as caller:
            return exchange(caller, kind)

    def restart(self) -> str:
        """Restart through the control socket; return the generation that serves. Raises `BenchError`."""
        answer = self.control("restart")
        if answer.get("outcome") != "done":
            raise BenchError(f"a restart failed: {answer}\n{self.log}")
        return str(answer["detail"].split()[1])

    def alone(self, workers: int = 1) -> None:
        """Wait until a master has no more children than these: the generation before has left.

        The kernel is asked, not the master: that would be work of its own to be measured.
        """
        until(lambda: len(proc.children(self.pid)) == workers, f"{workers} are left", every=0.005)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it with everything below it: this is no measurement of a graceful stop."""
        for pid in (*proc.descendants(self.pid), self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


def exchange(caller: socket.socket, kind: str) -> dict[str, Any]:
    """Say one word on a connection to a control socket and return the answer."""
    caller.sendall(json.dumps({"type": kind}).encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        data = caller.recv(65536)
        if not data:
            raise BenchError(f"the master closed the connection instead of answering {kind!r}")
        answer += data
    words: dict[str, Any] = json.loads(answer)
    return words


def tiny(mode: str, *, listeners: int = 1, workers: int = 1, imports: float = 0) -> Running:
    """Start the tiny program: `bare`, `imports` or `overseer`."""
    port = free_port()
    options = [str(port), str(listeners), str(workers), f"{imports:g}"]
    return Running([sys.executable, "tiny.py", mode, *options], port=port)


def web(mode: str, *, environ: Mapping[str, str] | None = None) -> Running:
    """Start the program on asyncio: `bare` or `overseer`."""
    port = free_port()
    return Running([sys.executable, "web.py", mode, str(port)], port=port, environ=environ)

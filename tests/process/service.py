"""A program under overseer, as a test sees it: started, watched through its log, asked, signalled, ended."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

DEADLINE = 20.0
"""Seconds until a fact that does not come is a failure; generous, for these machines are noisy."""


def until(fact: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
    """Wait until `fact()` is true and return what it is; `what` says in the failure what was waited for."""
    end = time.monotonic() + deadline
    while not (found := fact()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        time.sleep(0.01)
    return found


def low_port() -> int:
    """Find a port that only root may bind."""
    for port in random.sample(range(700, 1024), 300):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("all low ports are in use")


ECHO = """
import os, sys, threading
import overseer

def serve(state, connection):
    with connection:
        connection.settimeout(60)
        words = connection.recv(1000).split()
        if words[:1] == [b"hold"]:  # answers when the client has sent another line
            connection.sendall(b"held\\n")
            connection.recv(1000)
        connection.sendall(f"{state.generation} {state.worker} {os.getpid()}\\n".encode())

def program(state):
    state.on_drain(lambda: print(f"drains {state.generation}", flush=True))
    print(f"serving {state.generation} {state.worker} {os.getpid()}", flush=True)
    while True:
        connection, _ = state.listener.accept()
        threading.Thread(target=serve, args=(state, connection)).start()

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
"""A little server: answers every connection with its generation, worker and pid.

When it says `drains` it accepts no more: until then, a connection after a restart may still be the old one's.
"""


class Service:
    """One program under overseer; as a context manager it leaves nothing behind."""

    def __init__(
        self,
        folder: Path,
        source: str = ECHO,
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        prefix: Sequence[str] = (),
        name: str = "app.py",
        write: bool = True,
        command: Sequence[str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        **options: Any,
    ) -> None:
        """Write `source`, in which OPTIONS stands for `options`, to a file and start it.

        Without an address it gets 127.0.0.1:0; `prefix` is a command to start it through, `command` what to
        give the interpreter instead of the path of app.py.
        """
        if "address" not in options and "addresses" not in options:
            options["address"] = "127.0.0.1:0"
        self.folder = folder
        self.app = folder / name
        self.run_folder = folder / "run"
        self.run_folder.mkdir(exist_ok=True)
        self.options = options
        if write:
            self.write(source)
        self._stdout = folder / "stdout"
        self._stderr = folder / "stderr"
        with self._stdout.open("ab") as out, self._stderr.open("ab") as err:
            self.process = subprocess.Popen(
                [*prefix, python, *([str(self.app)] if command is None else command), *args],
                stdin=stdin,
                stdout=out,
                stderr=err,
                cwd=folder,
                env={**os.environ, "RUNTIME_DIRECTORY": str(self.run_folder), **(env or {})},
                start_new_session=True,
                pass_fds=pass_fds,
            )

    def write(self, source: str, **changed: Any) -> None:
        """Replace the program's file; the next generation runs it."""
        self.options |= changed
        fresh = self.app.with_name(f"{self.app.name}.new")
        fresh.write_bytes(self.made(textwrap.dedent(source).replace("**OPTIONS", f"**{self.options!r}")))
        fresh.replace(self.app)

    def made(self, text: str) -> bytes:
        """Return what the program's file holds for a source text: the text."""
        return text.encode()

    @property
    def pid(self) -> int:
        """The master's, for ever."""
        return self.process.pid

    @property
    def out(self) -> str:
        """What was written to standard output so far, by everybody."""
        return self._stdout.read_text(errors="replace")

    @property
    def log(self) -> str:
        """What was written to standard error so far, by everybody."""
        return self._stderr.read_text(errors="replace")

    def logged(self, pattern: str, times: int = 1, deadline: float = DEADLINE) -> list[Any]:
        """Wait until `pattern` stands in the log that often; return what its groups found."""

        def found() -> list[Any]:
            matches = re.findall(pattern, self.log)
            return matches if len(matches) >= times else []

        try:
            return until(found, f"{times} x {pattern!r} in the log", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log\n{self.log}--- out\n{self.out}") from None

    def said(self, pattern: str, times: int = 1) -> list[Any]:
        """Wait until `pattern` stands in the output that often; return what its groups found."""

        def found() -> list[Any]:
            matches = re.findall(pattern, self.out)
            return matches if len(matches) >= times else []

        try:
            return until(found, f"{times} x {pattern!r} in the output")
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log\n{self.log}--- out\n{self.out}") from None

    def serves(self, generation: int = 1, deadline: float = DEADLINE) -> Self:
        """Wait until this generation, or a younger one, serves."""

        def serving() -> bool:
            try:
                generations = self.status()["generations"]
            except (OSError, ValueError):
                if self.process.poll() is not None:
                    raise AssertionError(f"it ended with {self.process.returncode}\n{self.log}") from None
                return False
            return any(g["phase"] == "serving" and g["number"] >= generation for g in generations)

        try:
            until(serving, f"generation {generation} serves", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log\n{self.log}--- out\n{self.out}") from None
        return self

    def ask(self, kind: str, timeout: float = DEADLINE) -> dict[str, Any]:
        """Ask on the control socket and return the answer."""
        with self.call() as caller:
            caller.settimeout(timeout)
            caller.sendall(json.dumps({"type": kind}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(caller.makefile().readline())
            return answer

    def call(self) -> socket.socket:
        """Connect to the control socket."""
        caller = socket.socket(socket.AF_UNIX)
        try:
            caller.connect(str(self.run_folder / "overseer.sock"))
        except OSError:
            caller.close()
            raise
        return caller

    def status(self) -> dict[str, Any]:
        """Ask what is going on."""
        return self.ask("status")

    def pids(self, generation: int) -> list[int]:
        """Return the workers of a generation."""
        found = (g for g in self.status()["generations"] if g["number"] == generation)
        return [w["pid"] for g in found for w in g["workers"]]

    def restart(self) -> int:
        """Restart and return the generation that serves then."""
        answer = self.ask("restart")
        assert answer["outcome"] == "done", (answer, self.log)
        return int(answer["detail"].split()[1])

    @property
    def port(self) -> int:
        """The TCP port of the (only) listener, as the kernel chose it."""
        return self.ports()[0]

    def ports(self) -> list[int]:
        """The TCP ports listened on, found by asking the kernel for the master's sockets."""
        inodes = set()
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                inodes.add(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
        found = []
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and f"socket:[{columns[9]}]" in inodes:
                    found.append(int(columns[1].rpartition(":")[2], 16))
        return sorted(found)

    def knock(self, text: str = "hello") -> tuple[int, int, int]:
        """Connect anew; return the generation, worker and pid that answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            connection.sendall(text.encode() + b"\n")
            generation, worker, pid = connection.makefile().readline().split()
            return int(generation), int(worker), int(pid)

    def answers(self, generation: int) -> None:
        """Wait until this generation answers: the one before may accept until it knows that it drains."""
        until(lambda: self.knock()[0] == generation, f"generation {generation} answers")

    def hold(self) -> socket.socket:
        """Begin a request that is answered when `release` is called with it."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        connection.sendall(b"hold\n")
        assert connection.recv(5) == b"held\n"
        return connection

    def release(self, connection: socket.socket) -> int:
        """End a request begun by `hold`; return the generation that answers."""
        with connection:
            connection.sendall(b"go\n")
            return int(connection.makefile().readline().split()[0])

    def signal(self, number: int) -> None:
        """Send a signal to the master."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = DEADLINE) -> int:
        """Wait for the end of the master; return its status as `subprocess` has it."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there after {timeout:g} s\n--- log\n{self.log}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End everything: the master, and whatever of its tree is left."""
        tree = self.tree()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        for pid in (*tree, self.pid):
            if pid == self.pid and self.process.poll() is not None:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def tree(self) -> list[int]:
        """Return every process below the one that was started."""
        found, todo = [], [self.pid]
        while todo:
            with contextlib.suppress(OSError):
                listing = Path(f"/proc/{todo[0]}/task/{todo[0]}/children").read_text()
                found += (children := [int(pid) for pid in listing.split()])
                todo += children
            todo.pop(0)
        return found

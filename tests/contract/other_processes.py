"""Other processes that hold sockets, for the contract of `overseer.sockets`: real ones."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

NOBODY = 65534

# The variable that every process of a generation was started with.
_MARK = "OVERSEER_CHANNEL"

# Holds the socket it was given until its standard input ends; `close` lets go of the socket only.
_HOLD = """
import os, socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
if "fork" in sys.argv and os.fork():
    sock.close()
    os.wait()
    os._exit(0)
print(os.getpid(), flush=True)
for line in sys.stdin:
    sock.close()
    print("closed", flush=True)
"""

# Stands where a master stands: starts the command after its own arguments and waits for it.
_PARENT = """
import os, subprocess, sys
fd, mark, *command = sys.argv[2:]
sys.exit(subprocess.call(command, pass_fds=[int(fd)], env={**os.environ, **({mark: "3"} if mark else {})}))
"""


class Holding:
    """A process that holds a listener: what is left of it when the test lets go of its own copy."""

    def __init__(
        self, sock: socket.socket, *, generation: bool = False, master: str = "", fork: bool = False
    ) -> None:
        """Hand `sock` over.

        `generation` marks the process as one, `master` is a word of its parent's command line, and with
        `fork` a child of the process holds the socket.
        """
        fd = str(sock.fileno())
        command = [sys.executable, "-c", _HOLD, fd, *(["fork"] if fork else [])]
        if master:
            # A master does not bear the mark itself.
            command = [sys.executable, "-c", _PARENT, master, fd, _MARK if generation else "", *command]
        environ = {**os.environ, **({_MARK: "3"} if generation and not master else {})}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
            pass_fds=[sock.fileno()],
        )
        assert self.process.stdout
        self.pid = int(self.process.stdout.readline())
        sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def close(self) -> None:
        """Make it close the socket and live on."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("close\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "closed\n"

    def kill_master(self) -> None:
        """Kill the process that stands where a master stands."""
        self.process.kill()
        self.process.wait()

    def let_go(self) -> None:
        """Make it end, and wait for that."""
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        if self.process.stdout.closed:
            return
        # The pipe ends when the last process that holds it has ended, an orphan too.
        self.process.stdout.read()
        self.process.stdout.close()
        self.process.wait()


def in_a_fork(act: Callable[[], object], *, user: int | None = None) -> str:
    """Return what `act` says, or the text of its error, in a process of its own, as another user if asked."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            said = str(act())
        except BaseException as error:  # noqa: BLE001 - told to the test, whatever it is
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def as_ordinary_user(act: Callable[[], object]) -> str:
    """Like `in_a_fork`, as somebody without rights."""
    return in_a_fork(act, user=NOBODY if os.geteuid() == 0 else None)

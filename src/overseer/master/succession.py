"""The next master: the same process, made anew by execve, with the same PID, sockets and children (D19).

The next one is tried first, as a process of its own that only reads the state: a master that could not go on
must not be started. The caller holds every signal back; the mask and what is pending survive execve.
"""

from __future__ import annotations

import os
import select
import signal
import time

from overseer.master import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_PATIENCE = 10.0  # seconds for the trial


def command(python: str, package: str, fd: int, name: str) -> list[str]:
    """Return the command line of a master: an isolated interpreter, without site-packages.

    `package` is the folder of overseer, which may lie in a zip file; `name` is for whoever reads ps(1).
    """
    main = os.path.join(package, "master", "__main__.py")
    target = main if os.path.isfile(main) else os.path.dirname(main)
    return [python, "-I", "-S", target, str(fd), name]


def become(state: dict[str, Any], python: str, package: str, keep: Sequence[int]) -> str:
    """Try the next master and become it; return only if that fails, with the reason."""
    if not python:
        return "a one-file executable has no bare interpreter to start another master with"
    fd = memory.write(state)
    try:
        argv = command(python, package, fd, str(state["name"]))
        if failure := _try(argv):
            return failure
        for kept in keep:
            os.set_inheritable(kept, True)
        try:
            os.execv(python, argv)
        except OSError as error:
            for kept in keep:
                os.set_inheritable(kept, False)
            return f"{python} cannot be executed: {error.strerror}"
    finally:
        os.close(fd)


def _try(argv: Sequence[str]) -> str:
    """Run the next master on a copy of the state; return what is wrong with it, or nothing."""
    reader, writer = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writer, 2)]
        try:
            pid = os.posix_spawn(argv[0], [*argv, "--try"], os.environ, file_actions=actions, setsigmask=())
        except OSError as error:
            return f"{argv[0]} cannot be executed: {error.strerror}"
    finally:
        os.close(writer)
    said, deadline = b"", time.monotonic() + _PATIENCE
    poll = select.poll()
    poll.register(reader, select.POLLIN | select.POLLHUP)
    while (left := deadline - time.monotonic()) > 0 and poll.poll(left * 1000):
        data = os.read(reader, 4096)
        if not data:
            break
        said = (said + data)[-4096:]
    os.close(reader)
    if left <= 0:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 0:
        return ""
    why = said.decode(errors="replace").strip().rpartition("\n")[2] or "without a word"
    return f"its trial ended with {status}: {why}"

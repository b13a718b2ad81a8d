"""What speaks for a foreign program until it becomes it: says hello, takes the listeners, execs.

Everything is read anew by each generation: the file of options, the files of variables, the working
directory, the executable. What is wrong is told to the master as the reason of a generation that will not do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
from math import inf
from typing import TYPE_CHECKING, NoReturn

from overseer import role, wire
from overseer.errors import ConfigError
from overseer.foreign import envfile, probe
from overseer.foreign.placeholders import FIRST_FD, fill, names
from overseer.program.link import Link
from overseer.settings import to_data

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from overseer.foreign.options import Options

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""What a shell's status says of a command that could not be started (sh(1))."""

_NOT_OURS = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Variables of whoever started the master: they speak of the master, not of the program."""


def become_program(channel: int, read: Callable[[], Options], edition: dict[str, str]) -> NoReturn:
    """Say hello, wait to be let in, and become the program; `read` reads the options.

    Ends with 78 where they are wrong, with 127 or 126 where the program cannot be executed.
    """
    link = Link(channel)
    try:
        options = read()
        variables = envfile.read(options.env_files)  # found from where overseer was started
        if options.directory:
            os.environ["PWD"] = os.path.abspath(os.path.join(role.folder, options.directory))
            os.chdir(options.directory)
        hello = {"type": "hello", "protocol": wire.PROTOCOL, "config": to_data(options.settings()), **edition}
        let_in = link.greet(hello)
        if let_in is None:  # asked to leave before it began, or nobody there
            raise SystemExit(0)
        welcome, fds = let_in
        argv, environ = _prepare(options, welcome, fds, variables)
        channel = _place(fds, channel, len(options.listens_on), blocking=options.blocking)
    except ConfigError as error:
        raise SystemExit(_fail(channel, str(error), os.EX_CONFIG)) from None
    except OSError as error:
        reason = f"{error.filename or 'it'} cannot be used: {error.strerror}"
        raise SystemExit(_fail(channel, reason, NOT_EXECUTABLE)) from None
    for number in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
        signal.SIGINT,
    ):  # Python's own doing; it would be inherited
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, environ)
    except OSError as error:
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        raise SystemExit(_fail(channel, f"cannot execute {argv[0]}: {error.strerror}", status)) from None


def _prepare(
    options: Options, welcome: wire.Word, fds: list[int], variables: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Put the descriptors where the program looks for them; return its command line and environment."""
    environ = {name: told for name, told in os.environ.items() if name not in _NOT_OURS}
    environ |= variables
    known = names(options.listens_on)
    stored = [str(name) for name in welcome.get("stored", ())]
    told = {"generation": str(welcome["generation"]), "worker": str(welcome["worker"])}
    socks = [socket.socket(fileno=os.dup(fd)) for fd in fds[: len(known)]]  # what is stored may be no socket
    try:
        argv = [fill(text, socks, known, told) for text in options.command]
        url = fill(options.ready_url, socks, known, told)
        knock = probe.place_of(socks) if options.knocks else ""
    finally:
        for sock in socks:
            sock.close()
    if address := str(welcome.get("notify", "")):
        environ["NOTIFY_SOCKET"] = address
        if url:
            probe.start(url, address, options.ready_timeout)
        elif options.knocks:
            probe.start(knock, address, options.ready_timeout, alive=options.lives)
    elif url:
        raise ConfigError("ready_url", "cannot be asked here: this system has no abstract Unix sockets")
    if options.watchdog < inf:
        environ |= {"WATCHDOG_USEC": str(int(options.watchdog * 1e6)), "WATCHDOG_PID": str(os.getpid())}
    if fds:
        environ |= {
            "LISTEN_FDS": str(len(fds)),
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDNAMES": ":".join([*known, *stored]),
        }
    return argv, environ


def find_executable(options: Options) -> None:
    """Look, before there is a master, whether there is a program, and its folder. Raises `ConfigError`."""
    path = {**os.environ, **envfile.read(options.env_files)}.get("PATH")
    name = options.command[0]
    if options.directory and not os.path.isdir(options.directory):
        raise ConfigError("directory", f"there is no folder {options.directory}")
    where = os.path.join(options.directory, name) if "/" in name else name
    if shutil.which(where, path=path) is not None:
        return
    if "/" not in name:
        raise ConfigError("command", f"there is no program {name} in PATH; give its whole path")
    if not os.path.exists(where):
        raise ConfigError("command", f"{where} is not there")
    if os.path.isdir(where):
        raise ConfigError("command", f"{where} is a folder; name the program in it")
    raise ConfigError(
        "command", f"{where} may not be executed: chmod +x, or name its interpreter, as in python {name}"
    )


def _place(fds: Sequence[int], channel: int, listeners: int, *, blocking: bool) -> int:
    """Move descriptors to 3 and on, where sd_listen_fds(3) has them; all others are closed by execve.

    Return where the channel is now: it must not lie in their way.
    """
    above = FIRST_FD + len(fds)
    spare = fcntl.fcntl(channel, fcntl.F_DUPFD_CLOEXEC, above)
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in fds]
    for at, fd in enumerate(moved, FIRST_FD):
        os.dup2(fd, at, inheritable=True)
        if blocking and at - FIRST_FD < listeners:
            os.set_blocking(at, True)
    return spare


def _fail(channel: int, reason: str, status: int) -> int:
    with contextlib.suppress(OSError):  # the master has gone
        os.write(channel, wire.encode({"type": "fail", "reason": reason}))
    sys.stderr.write(f"overseer: error: {reason}\n")
    return status

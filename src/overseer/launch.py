"""The first process: turn the Config into data, bind the sockets, and become the master."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from overseer import addresses, settings, sockets
from overseer.command import this_command
from overseer.errors import NotSupportedError
from overseer.facts import World
from overseer.master import memory
from overseer.master.children import is_terminal_job
from overseer.master.succession import command

if TYPE_CHECKING:
    import socket

    from overseer.command import Command
    from overseer.config import Config

_log = logging.getLogger("overseer")

IN_PLACE = "in place"
"""The name of a release that is no release: the program runs where it stands."""

_SET_CHILD_SUBREAPER = 36  # prctl(2); survives execve


def is_supported() -> bool:
    """Tell whether this platform can have a master: Linux, macOS and the BSDs can."""
    return os.name == "posix" and hasattr(os, "fork") and sys.platform not in ("emscripten", "wasi", "cygwin")


def bind(config: Config) -> list[socket.socket]:
    """Bind every address of a Config, in order. Raises `AddressError`."""
    parsed = [addresses.parse(text) for text in config.listens_on]
    for warning in (warning for address in parsed for warning in sockets.warnings_for(address)):
        _log.warning(warning)
    inherited = sockets.take_inherited(os.environ)
    return sockets.bind_patiently(
        parsed, patience=config.terminate_timeout + 5, say=_log.warning, inherited=inherited
    )


def launch(config: Config) -> NoReturn:
    """Become the master of this program; never return.

    Raises `NotSupportedError` where there can be no master, and `AddressError`.
    """
    if not is_supported():
        raise NotSupportedError(f"{sys.platform} has no fork and execve, so there can be no master here")
    this = this_command()
    bound = bind(config)
    try:
        become_master(config, this, bound)
    except OSError as error:
        for sock in bound:
            sock.close()
        raise NotSupportedError(f"the master cannot be started: {error}") from error


def become_master(config: Config, this: Command, bound: list[socket.socket]) -> NoReturn:
    """Leave a state for the master and replace this process by it."""
    control = _control(config)
    state: dict[str, Any] = {
        "format": 1,
        "name": os.path.basename(this.binary or this.argv[-1]),
        "python": sys.executable,
        "args": list(this.args),
        "job": is_terminal_job(),
        "reaper": _become_reaper(),
        "began": time.time(),
        "settings": settings.to_data(config.settings()),
        "agreed": {},
        "editions": {},
        "users": {},
        "children": [],
        "control": control.fileno() if control else None,
        "callers": [],
        "sockets": [
            [text, sock.fileno(), sockets.file_of(sock)]
            for text, sock in zip(config.listens_on, bound, strict=True)
        ],
        "releases": {IN_PLACE: list(this.argv)},
        "world": memory.to_json(World(IN_PLACE, IN_PLACE, config.settings().policy)),
    }
    sys.stdout.flush()
    sys.stderr.flush()
    if this.kind == "frozen":
        _serve_here(state)
    fd = memory.write(state)
    for sock in (*bound, *([control] if control else [])):
        os.set_inheritable(sock.fileno(), True)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        package = os.path.dirname(os.path.abspath(__file__))
        argv = command(sys.executable, package, fd, str(state["name"]))
        os.execv(argv[0], argv)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(fd)


def _serve_here(state: dict[str, Any]) -> NoReturn:
    """A one-file executable has no bare interpreter: the master runs in this very process."""
    from overseer.master.estate import Estate  # noqa: PLC0415
    from overseer.master.process import serve  # noqa: PLC0415

    raise SystemExit(serve(Estate(state)))


def _control(config: Config) -> socket.socket | None:
    path = config.control_path(os.environ)
    return sockets.bind(addresses.parse(f"unix:{path}?mode=0600")) if path else None


def _become_reaper() -> bool:
    """Have orphans below us given to us (Linux); PID 1 is given them anyway. Return whether it is so."""
    if os.getpid() == 1:
        return True
    if sys.platform != "linux":
        return False
    try:
        import ctypes  # noqa: PLC0415 - its memory goes with this process image

        return bool(ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False

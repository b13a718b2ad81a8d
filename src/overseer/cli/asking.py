"""The other end of the control socket: find it, ask on it, and understand what comes back."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from overseer import places
from overseer.errors import ConfigError, OverseerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 69
"""The exit status where no master answers (EX_UNAVAILABLE, sysexits.h)."""

_SOCKET = "overseer.sock"
"""What the control socket is called in the folder of one service."""

_PATIENCE = 10.0
"""Seconds for an answer that comes at once."""


OFTEN = 0.2
"""Seconds between two looks while something is waited for."""


class NobodyError(OverseerError):
    """No master answers."""


def find(name: str = "", control: str = "") -> str:
    """Return the control socket of the service that is meant.

    By a path, a name, $RUNTIME_DIRECTORY, or as the only one of this user that is there. Raises
    `ConfigError` where several could be meant, and `NobodyError` where there is none.
    """
    if name and not control:
        return _named(places.check_name(name))
    if path := places.control_path(os.environ, control=control):
        return path
    found = services()
    if len(found) == 1:
        return _named(found[0])
    if found:
        raise ConfigError("name", f"which one is meant? There are {', '.join(found)}: say --name")
    where = places.folder(os.environ)
    raise NobodyError(
        f"no service of this user is found in {where}, nor in a folder of a service manager. One that calls "
        "overseer.run is there if it has the option name; else say where its socket is with --control, or "
        "with RUNTIME_DIRECTORY here as there"
    )


def services() -> list[str]:
    """Return the names of the services that this user may ask."""
    ours = (f[: -len(".sock")] for f in _listed(places.folder(os.environ)) if f.endswith(".sock"))
    return sorted({*ours, *(name for base in _managed() for name in _listed(base) if _is_there(base, name))})


def _named(name: str) -> str:
    """Return where a service of that name is, or would be: in our folder, or in one of a service manager."""
    ours = os.path.join(places.folder(os.environ), f"{name}.sock")
    if not os.path.exists(ours):
        for base in _managed():
            if _is_there(base, name):
                return os.path.join(base, name, _SOCKET)
    return ours


def _managed() -> list[str]:
    """Return where service managers make folders of services (RuntimeDirectory=), and nobody else can."""
    mine = os.environ.get("XDG_RUNTIME_DIR", "")
    with suppress(OSError):
        if mine and os.stat(mine).st_uid == os.geteuid():
            return [mine, "/run"]
    return ["/run"]


def _is_there(base: str, name: str) -> bool:
    return os.access(os.path.join(base, name, _SOCKET), os.W_OK)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def listen(path: str, kind: str, **more: object) -> Iterator[dict[str, Any]]:
    """Ask for what has many answers, and yield each as it comes, until the master ends the connection.

    Raises `NobodyError` where nobody answers, and `OverseerError` where the request is refused.
    """
    try:
        with socket.socket(socket.AF_UNIX) as master:
            master.settimeout(_PATIENCE)
            master.connect(path)
            _send(master, {"type": kind, **more})
            master.settimeout(None)
            for line in master.makefile():
                yield _answer(line, path)
    except OSError as error:
        raise _nobody(path, error) from None


def ask(
    path: str,
    kind: str,
    *,
    timeout: float | None = _PATIENCE,
    meanwhile: Callable[[], None] | None = None,
    **more: str,
) -> dict[str, Any]:
    """Ask for one thing and return the answer; `timeout` is in seconds, None for as long as it takes.

    `meanwhile` is called a few times a second while the answer is waited for. Raises `NobodyError` where
    nobody answers, and `OverseerError` where the request is refused.
    """
    try:
        with socket.socket(socket.AF_UNIX) as master:
            master.settimeout(timeout)
            master.connect(path)
            _send(master, {"type": kind, **more})
            if meanwhile:
                _wait(master, timeout, meanwhile)
            line = master.makefile().readline()
    except TimeoutError:
        raise NobodyError(f"the master at {path} did not answer within {timeout:g} s") from None
    except OSError as error:
        raise _nobody(path, error) from None
    return _answer(line, path)


def _wait(master: socket.socket, timeout: float | None, meanwhile: Callable[[], None]) -> None:
    """Wait for the first bytes of an answer. Raises `TimeoutError`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while not select.select([master], [], [], OFTEN)[0]:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError
        meanwhile()


def _send(master: socket.socket, word: dict[str, object]) -> None:
    """Send one request. Who is refused is told so before he has asked: then his answer is there already."""
    with suppress(BrokenPipeError, ConnectionResetError):
        master.sendall(json.dumps(word).encode() + b"\n")


def _nobody(path: str, error: OSError) -> NobodyError:
    """Say why nobody answers, and what to do."""
    advice = "is the service running?"
    if isinstance(error, PermissionError):
        advice = f"only root and the user of the service may ask; this is user {os.geteuid()}"
    elif isinstance(error, FileNotFoundError):
        advice = "is the service running, and is this its control socket? See --name and --control"
        if os.path.dirname(path) == places.folder(os.environ) and (found := services()):
            advice = f"there is {', '.join(found)}"
    elif isinstance(error, ConnectionRefusedError) and not stat.S_ISSOCK(os.stat(path).st_mode):
        advice = "that is no socket"
    elif isinstance(error, ConnectionRefusedError):
        advice = "its socket is there, but the service has ended"
    return NobodyError(f"no master answers at {path}: {error.strerror}; {advice}")


def _answer(line: str, path: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(line)
    except ValueError:
        raise NobodyError(f"the master at {path} ended before it answered") from None
    if answer.get("type") == "error":
        raise OverseerError(f"the master refuses: {answer.get('reason')}")
    return answer

"""Sockets that a service manager has opened for us, by the protocol of sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket

from overseer.addresses import DEFAULT_BACKLOG
from overseer.errors import AddressError
from overseer.sockets.bound import adopt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, MutableMapping

    from overseer.addresses import Address

KEPT = "overseer="
"""How the name of a descriptor begins that the manager has kept for us (see `kept`)."""

_FIRST = 3


def take_inherited(environ: MutableMapping[str, str]) -> list[tuple[str, int]]:
    """Take the descriptors that a service manager passed to this very process: names with descriptors.

    The variables (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES, see sd_listen_fds(3)) are removed from `environ`
    in any case, so that no child takes them for its own. One without a name is `unknown`. Raises
    `AddressError` when a promised descriptor is not there.
    """
    given = {name: environ.pop(f"LISTEN_{name}", "") for name in ("FDS", "PID", "FDNAMES", "PIDFDID")}
    count = given["FDS"]
    if given["PID"] != str(os.getpid()) or not count.isascii() or not count.isdigit() or len(count) > 6:
        return []
    names = given["FDNAMES"].split(":")
    found = []
    for fd in range(_FIRST, _FIRST + int(count)):
        try:
            os.set_inheritable(fd, False)
        except OSError as error:
            raise AddressError(
                f"fd:{fd}",
                f"LISTEN_FDS promises {count} descriptors from {_FIRST} on and this one is not open; "
                "a wrapper between the service manager and this program closes it",
            ) from error
        at = fd - _FIRST
        found.append(((names[at] if at < len(names) else "") or "unknown", fd))
    return found


def activated(given: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the sockets of socket activation: name to descriptor.

    Several of one name become NAME, NAME-2, NAME-3. What the manager kept for us is not among them.
    """
    found: dict[str, int] = {}
    for name, fd in given:
        if not name.startswith(KEPT):
            found[next(free for free in _numbered(name) if free not in found)] = fd
    return found


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def take(address: Address, inherited: Mapping[str, int]) -> socket.socket:
    """Take the socket of an `fd:NAME`; a bare number means the descriptor. Raises `AddressError`."""
    fd = inherited.get(address.path)
    if fd is None and address.path in map(str, inherited.values()):
        fd = int(address.path)
    if fd is None:
        given = ", ".join(f"fd:{name}" for name in inherited) or "none"
        raise AddressError(
            address.text,
            f"the service manager gave no socket of this name (given: {given}); "
            "write FileDescriptorName= in its socket unit",
        )
    try:
        sock = adopt(fd)
        try:
            if sock.type == socket.SOCK_STREAM and not is_listening(sock):
                sock.listen(DEFAULT_BACKLOG)
        except OSError:
            sock.detach()
            raise
    except OSError as error:
        raise AddressError(
            address.text,
            f"descriptor {fd} is no socket that can listen ({error.strerror}); "
            "with Accept=yes in the socket unit it is a single connection",
        ) from error
    return sock


def is_listening(sock: socket.socket) -> bool:
    """Tell whether connections can come in, as far as the system tells."""
    asked = getattr(socket, "SO_ACCEPTCONN", None)
    return asked is None or bool(sock.getsockopt(socket.SOL_SOCKET, asked))

"""Listeners that the service manager keeps for us, so that they outlive even a master that was killed.

What a master has left in the manager's store (FDSTORE=1, sd_notify(3)) comes back at the next start among the
descriptors of LISTEN_FDS. Its name says whose address it is and, for a socket file, which file: nothing is
believed that the socket itself does not bear out. A name of ours begins as no FileDescriptorName= of a
socket unit does that was not made to deceive, and what bears it is never taken for socket activation.
"""

from __future__ import annotations

import os
import socket

from overseer.addresses import identities, parse
from overseer.errors import AddressError
from overseer.sockets.binding import places_of
from overseer.sockets.bound import BoundSocket, adopt, file_of
from overseer.sockets.inherited import KEPT, is_listening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from overseer.addresses import Address

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/@[]#")
_FILE = "?file="


def name_kept(identity: str, sock: socket.socket) -> str:
    """Name a listener for the manager: no colon, no control character (sd_pid_notify_with_fds(3)).

    It is the same for as long as the socket lives. It may be longer than a manager takes, for a long path.
    """
    file = file_of(sock)
    return f"{KEPT}{_quoted(identity)}" + (f"{_FILE}{file[0]}.{file[1]}" if file else "")


class Kept:
    """What a manager has kept for us, sorted out."""

    def __init__(self) -> None:
        self.wanted: dict[int, socket.socket] = {}
        """The listeners that were asked for, by their place in the list of addresses."""
        self.others: dict[str, tuple[str, socket.socket]] = {}
        """Those that were not, by name, with their address: a release may know them that is yet to start."""
        self.names: list[str] = []
        """The names of all these."""
        self.unfit: list[str] = []
        """The names of what was closed, for it is not what its name says: the manager has to be told."""

    def close(self) -> None:
        """Close all; the manager goes on keeping them."""
        for sock in (*self.wanted.values(), *(sock for _, sock in self.others.values())):
            sock.close()

    def clear(self, address: Address) -> list[str]:
        """Close what keeps `address` from being bound, a port that is wider now; return what it was called.

        The manager has to be told, and to close it as well, before it can be bound.
        """
        names = [name for name, (text, sock) in self.others.items() if _clash(parse(text), sock, address)]
        for name in names:
            self.others.pop(name)[1].close()
            self.names.remove(name)
        return names


def take_back(given: Iterable[tuple[str, int]], addresses: Sequence[Address]) -> Kept:
    """Find the listeners for `addresses` among what `take_inherited` found; they are as they were."""
    places = dict(zip(map(_quoted, identities(addresses)), range(len(addresses)), strict=True))
    kept = Kept()
    for name, fd in given:
        if not name.startswith(KEPT):
            continue
        place, _, file = name.removeprefix(KEPT).partition(_FILE)
        at = places.get(place, -1)
        try:
            address = addresses[at] if at >= 0 else parse(_unquoted(place).partition("#")[0])
        except AddressError:
            address = None
        known = at in kept.wanted or name in kept.others
        sock = _adopt(fd, address, file) if address and not known else None
        if sock is None or address is None:
            os.close(fd)
            kept.unfit.append(name)
            continue
        kept.names.append(name)
        if at >= 0:
            kept.wanted[at] = sock
        else:
            kept.others[name] = (address.text, sock)
    return kept


def _clash(bound: Address, sock: socket.socket, wanted: Address) -> bool:
    if bound.kind == "unix" or bound.kind != wanted.kind:
        return False
    return bool(sock.getsockname()[1] == wanted.port)


def _adopt(fd: int, address: Address, file: str) -> socket.socket | None:
    """Make it a socket again if it is what listens on `address`; else leave it alone."""
    if address.kind == "fd":
        return None
    device, _, inode = file.partition(".")
    known = (int(device), int(inode)) if device.isdecimal() and inode.isdecimal() else None
    try:
        sock = adopt(fd, file=known)
    except OSError:
        return None
    if not _fits(sock, address):
        sock.detach()
        return None
    return sock


def _fits(sock: socket.socket, address: Address) -> bool:
    kind = socket.SOCK_DGRAM if address.kind == "udp" else socket.SOCK_STREAM
    if sock.type != kind or (kind == socket.SOCK_STREAM and not is_listening(sock)):
        return False
    if address.kind != "unix":
        try:
            return any(_is_at(sock, address, family, place) for family, place in places_of(address))
        except OSError:  # a name that leads nowhere today: binding says so
            return False
    if sock.family != socket.AF_UNIX:
        return False
    if address.abstract:
        return bool(sock.getsockname() == b"\0" + os.fsencode(address.path))
    return isinstance(sock, BoundSocket) and sock.path == address.path and sock.has_its_file()


def _is_at(sock: socket.socket, address: Address, family: int, place: Sequence[object]) -> bool:
    if sock.family != family:
        return False
    host, port = sock.getsockname()[:2]
    if not port or place[1] not in (0, port) or _packed(family, str(place[0])) != _packed(family, host):
        return False
    if family != socket.AF_INET6 or any(_packed(family, host)):
        return True
    return bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)) == address.v6only


def _packed(family: int, host: str) -> bytes:
    return socket.inet_pton(family, host.partition("%")[0])


def _quoted(text: str) -> str:
    return "".join(
        letter if letter in _PLAIN else "".join(f"%{byte:02X}" for byte in os.fsencode(letter))
        for letter in text
    )


def _unquoted(text: str) -> str:
    first, *rest = text.split("%")
    try:
        return os.fsdecode(
            first.encode() + b"".join(bytes([int(part[:2], 16)]) + part[2:].encode() for part in rest)
        )
    except ValueError:
        return ""  # no address

"""From an address to a socket that listens."""

from __future__ import annotations

import errno
import socket
import sys

from overseer.errors import AddressError
from overseer.sockets.bound import BoundSocket
from overseer.sockets.files import listen_at, set_rights
from overseer.sockets.inherited import take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from overseer.addresses import Address

    Opens = Callable[[Address, Mapping[str, int]], socket.socket]
    Place = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

# How IPv6 with IPv4 mapped into it is refused: not built in, switched off, or no mapping (OpenBSD).
_NO_DUAL_STACK = (
    errno.EAFNOSUPPORT,
    errno.EADDRNOTAVAIL,
    errno.EPROTONOSUPPORT,
    errno.EINVAL,
    errno.ENOPROTOOPT,
)


def bind(
    address: Address, *, inherited: Mapping[str, int] | None = None, opens: Opens | None = None
) -> socket.socket:
    """Bind `address` and, unless it is UDP, listen on it.

    `inherited` is what `activated` returned; the descriptor of an `fd:NAME` becomes the socket's own.
    `opens` makes the socket, in the place of `open_at`. A name of several addresses is bound on one of them,
    an IPv4 one if there is any. Raises `AddressError`.
    """
    try:
        return (opens or open_at)(address, inherited or {})
    except OSError as error:
        from overseer.sockets.refusals import explain  # noqa: PLC0415 - only in need

        raise explain(address, error) from error


def open_at(address: Address, inherited: Mapping[str, int]) -> socket.socket:
    """Do what `bind` does, but hand on the system's own errors."""
    if address.kind == "fd":
        return take(address, inherited)
    if address.kind == "unix":
        sock = _open_abstract(address) if address.abstract else listen_at(address)
    else:
        sock = _open_internet(address)
    sock.setblocking(False)
    return sock


def _open_internet(address: Address) -> BoundSocket:
    *unless_refused, last = places_of(address)
    for family, place in unless_refused:
        try:
            return _bind_internet(address, family, place)
        except OSError as error:
            if error.errno not in _NO_DUAL_STACK:
                raise
    return _bind_internet(address, *last)


def places_of(address: Address) -> list[tuple[int, Place]]:
    """List what to bind: the first that works is taken."""
    host, port = address.host, address.port
    # Numbers need no resolver, which would load libraries that few masters need.
    if ":" not in host and host.rpartition(".")[2].isdigit():
        return [(socket.AF_INET, (host, port))]
    if ":" in host and "%" not in host:
        return [(socket.AF_INET6, (host, port, 0, 0))]
    if host:
        kind = socket.SOCK_DGRAM if address.kind == "udp" else socket.SOCK_STREAM
        # As bytes: for text, Python would load its tables for international names.
        found = socket.getaddrinfo(host.encode(), port, type=kind, flags=socket.AI_PASSIVE)
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        family, _, _, _, place = found[0]
        return [(family, place)]
    both: tuple[int, Place] = (socket.AF_INET6, ("::", port, 0, 0))
    ipv4: tuple[int, Place] = (socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - asked for
    if address.v6only:
        return [both]
    return [both, ipv4] if socket.has_ipv6 else [ipv4]


def _bind_internet(address: Address, family: int, place: Place) -> BoundSocket:
    datagrams = address.kind == "udp"
    sock = BoundSocket(family, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM)
    try:
        if not datagrams:
            # For connections of an earlier life in TIME_WAIT. With UDP it would let two masters share a port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.reuse_port:
            _share_port(address, sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address.v6only))
        sock.bind(place)
        if not datagrams:
            sock.listen(address.backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _share_port(address: Address, sock: socket.socket) -> None:
    if not hasattr(socket, "SO_REUSEPORT"):
        raise AddressError(address.text, "this system cannot share ports; leave reuse_port away")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _open_abstract(address: Address) -> BoundSocket:
    if sys.platform != "linux":
        raise AddressError(
            address.text, "only Linux has abstract names; write a path, for example unix:/var/run/app.sock"
        )
    sock = BoundSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(f"\0{address.path}")
        sock.listen(address.backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def apply_options(sock: socket.socket, address: Address) -> None:
    """Give a bound socket the backlog, owner and mode of the next generation's spelling of its address.

    Raises `AddressError`. What cannot change on a bound socket (sharing the port) stays.
    """
    try:
        if address.kind in ("tcp", "unix"):
            sock.listen(address.backlog)
        if isinstance(sock, BoundSocket) and sock.has_its_file():
            set_rights(address, sock.path)
    except OSError as error:
        from overseer.sockets.refusals import explain  # noqa: PLC0415 - only in need

        raise explain(address, error) from error


def warnings_for(address: Address) -> list[str]:
    """Say what is risky about an address that is nevertheless bound as asked."""
    if not address.reuse_port or address.kind != "tcp":
        return []
    try:
        with open("/proc/sys/net/ipv4/tcp_migrate_req", "rb") as setting:
            if setting.read().strip() != b"0":
                return []
    except OSError:
        return []
    warning = (
        f"{address.text}: reuse_port is asked for while net.ipv4.tcp_migrate_req is 0, so connections that "
        "wait for a listener are reset when it closes; set it to 1, or leave reuse_port away"
    )
    return [warning]

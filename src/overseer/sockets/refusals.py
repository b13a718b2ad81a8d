"""Why an address could not be had, in a sentence that says what to do.

Imported only when something has failed, so that a master whose addresses are all right does not carry it.
"""

from __future__ import annotations

import errno
import os
import socket

from overseer.errors import AddressError
from overseer.sockets.proc import find_holders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from overseer.addresses import Address
    from overseer.sockets.proc import Holder


def explain(address: Address, error: OSError) -> AddressError:
    """Say why the system refused `address`, and what to do about it."""
    if isinstance(error, socket.gaierror):
        return AddressError(
            address.text,
            f"the name {address.host} cannot be resolved ({error.strerror}); "
            "look into /etc/hosts and the DNS, or write the IP address",
        )
    say = _SENTENCES.get(error.errno or 0, _otherwise)
    return AddressError(address.text, say(address, error))


def explain_in_use(address: Address, holders: Sequence[Holder], *, waited: float = 0) -> AddressError:
    """Say who holds `address`; `waited` is for how many seconds its end was awaited in vain."""
    return AddressError(address.text, _in_use_by(address, holders, waited))


def _in_use(address: Address, _: OSError) -> str:
    return _in_use_by(address, find_holders(address), 0)


def _in_use_by(address: Address, holders: Sequence[Holder], waited: float) -> str:
    if address.kind != "unix" and address.port == 0:
        return "the kernel has no free port left; see net.ipv4.ip_local_port_range"
    if not holders:
        look = "ss -lxp" if address.kind == "unix" else "ss -lntup"
        who = f"by a process that this user cannot see ({look} shows it to root)"
    else:
        who = "by " + " and ".join(_introduce(holder) for holder in holders[:5])
        if len(holders) > 5:
            who += f" and {len(holders) - 5} more"
    so_far = f" still, after {waited:.0f} s of waiting" if waited else ""
    return f"{_what(address)} is in use{so_far} {who}; stop that, or listen on another address"


def _introduce(holder: Holder) -> str:
    if holder.pid == os.getpid():
        return "this very process (given twice, or overlapping with what it listens on already?)"
    orphan = ", left by a master that was killed" if holder.orphan_of_overseer else ""
    return f"pid {holder.pid} ({holder.command}{orphan})"


def _what(address: Address) -> str:
    if address.kind == "unix":
        return "this name" if address.abstract else "this socket"
    return f"{address.kind.upper()} port {address.port}"


def _forbidden(address: Address, error: OSError) -> str:
    if address.kind == "unix":
        folder = os.path.dirname(address.path) or "/"
        return (
            f"uid {os.geteuid()} may not make a socket in {folder}; give it the right to, "
            "or use a folder of the service's own, such as RuntimeDirectory= of systemd makes"
        )
    lowest = _first_free_port()
    if 0 < address.port < lowest and os.geteuid() != 0:
        return (
            f"port {address.port} is below {lowest} and not for ordinary users (uid {os.geteuid()}); "
            "give the service AmbientCapabilities=CAP_NET_BIND_SERVICE, let a socket unit open the port "
            "(fd:NAME), or start the service as root, with the option user"
        )
    return (
        f"the system forbids it ({error.strerror}); look for a rule of SELinux, AppArmor or SocketBindDeny= "
        f"about port {address.port}, or for a missing CAP_NET_BIND_SERVICE"
    )


def _first_free_port() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024


def _not_here(address: Address, _: OSError) -> str:
    return (
        f"no interface of this machine has the address {address.host}; `ip address` lists what there is "
        f"(:{address.port} listens on all), and a service that starts before the network waits for "
        "network-online.target"
    )


def _too_many_files(_: Address, error: OSError) -> str:
    limit = "" if error.errno == errno.ENFILE else f" of this process ({os.sysconf('SC_OPEN_MAX')})"
    return f"the limit of open files{limit} is reached; raise it with LimitNOFILE= or ulimit -n"


def _no_folder(address: Address, _: OSError) -> str:
    folder = os.path.dirname(address.path) or "/"
    return f"there is no folder {folder}; make it first, for example with RuntimeDirectory= of systemd"


def _no_family(address: Address, error: OSError) -> str:
    if ":" in address.host or address.v6only:
        return f"this machine has no IPv6; write 0.0.0.0:{address.port} or 127.0.0.1:{address.port}"
    return _otherwise(address, error)


def _otherwise(_: Address, error: OSError) -> str:
    return f"the system refuses to listen here ({error.strerror or error}); its log may say why"


_SENTENCES: dict[int, Callable[[Address, OSError], str]] = {
    errno.EADDRINUSE: _in_use,
    errno.EACCES: _forbidden,
    errno.EPERM: _forbidden,
    errno.EROFS: _forbidden,
    errno.EADDRNOTAVAIL: _not_here,
    errno.EMFILE: _too_many_files,
    errno.ENFILE: _too_many_files,
    errno.ENOENT: _no_folder,
    errno.ENOTDIR: _no_folder,
    errno.EAFNOSUPPORT: _no_family,
}

"""Who has accepted a connection of ours, on this very machine: the process that holds its other end.

The kernel is asked for that one socket (sock_diag(7)), which costs it nothing. Where that is forbidden, as by
RestrictAddressFamilies=, the table of all connections is read, which takes long on a busy host.
"""

from __future__ import annotations

import os
import socket
import struct

from overseer.processes import descendants, has_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

CAN_LOOK = os.path.exists("/proc/self/fd")
"""Whether this system tells; Linux does."""

_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ERROR = 4, 20, 1, 2
"""NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST and NLMSG_ERROR (linux/netlink.h, sock_diag.h)."""

_HEAD = struct.Struct("=IHHII")
"""Of a message: length, type, flags, sequence, sender (netlink(7))."""

_END = struct.Struct("=64xII")
"""Of an inet_diag_msg: the last words, user and inode."""


def peer_of(sock: socket.socket) -> tuple[str, int]:
    """Return the inode of the other end, and who accepted it: before that, and elsewhere, there is none."""
    try:
        inode, user = _ask_kernel(sock)
    except (OSError, struct.error):
        inode, user = _look_up(sock)
    return inode if inode != "0" else "", user


def is_below(inode: str, program: int) -> bool:
    """Whether a process, or one that it has started, holds the socket with this inode."""
    links = {f"socket:[{inode}]"}
    return any(has_open(pid, links) for pid in (program, *descendants(program)))


def hides(program: int, users: Collection[int]) -> bool:
    """Whether one of these users' processes, the program or below it, does not let us see what it has open.

    Root sees it in any case, but not in a container, which mostly has no CAP_SYS_PTRACE. A helper of somebody
    else's, as sudo is one, may hide what it likes: it is not the one that has accepted.
    """
    return any(_is_hidden(pid) and _is_of(pid, users) for pid in (program, *descendants(program)))


def _is_hidden(pid: int) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        for entry in os.listdir(folder)[:1]:
            os.readlink(f"{folder}/{entry}")  # root may read the folder, and yet not this
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _is_of(pid: int, users: Collection[int]) -> bool:
    """Whether it runs as one of these; what is left of one that has ended is nobody's, and hidden, too."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as told:
            lines = dict(line.split(":\t", 1) for line in told if ":\t" in line)
    except OSError:
        return False
    return not lines["State"].startswith(("Z", "X")) and int(lines["Uid"].split()[3]) in users


def _ask_kernel(sock: socket.socket) -> tuple[str, int]:
    here, there = sock.getsockname(), sock.getpeername()
    asked = struct.pack("=BBBxI", sock.family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)  # in whatever state
    asked += struct.pack("!HH16s16s", there[1], here[1], _packed(sock, there), _packed(sock, here))
    asked += struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, no cookie
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        kernel.send(_HEAD.pack(_HEAD.size + len(asked), _BY_FAMILY, _REQUEST, 0, 0) + asked)
        answer = kernel.recv(8192)
    if _HEAD.unpack_from(answer)[1] == _ERROR:
        raise OSError(-struct.unpack_from("=i", answer, _HEAD.size)[0], "the kernel does not tell")
    user, inode = _END.unpack_from(answer, _HEAD.size)
    return str(inode), user


def _packed(sock: socket.socket, place: tuple[str, int]) -> bytes:
    return socket.inet_pton(sock.family, place[0])


def _look_up(sock: socket.socket) -> tuple[str, int]:
    table = "tcp6" if sock.family == socket.AF_INET6 else "tcp"
    mine, theirs = _as_kernel(sock.getsockname()), _as_kernel(sock.getpeername())
    for name in {table, "tcp6"}:  # an IPv4 connection to a listener of both is in the second
        with open(f"/proc/net/{name}", encoding="ascii") as lines:
            for line in lines:
                fields = line.split(maxsplit=10)
                if len(fields) > 9 and (_tail(fields[1]), _tail(fields[2])) == (theirs, mine):
                    return fields[9], int(fields[7])
    return "", -1


def _as_kernel(place: tuple[str, int]) -> str:
    """Return an address as /proc/net/tcp ends: four bytes in the machine's order, and the port."""
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    (word,) = struct.unpack("=I", socket.inet_pton(family, place[0])[-4:])
    return f"{word:08X}:{place[1]:04X}"


def _tail(field: str) -> str:
    return field[-13:]

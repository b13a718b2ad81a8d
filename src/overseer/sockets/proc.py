"""Who holds an address.

Imported only when something has failed, so that a master whose addresses are all right does not carry it.
Looking means reading /proc: where there is none, or where other users' processes cannot be looked into,
there is silently less detail.
"""

from __future__ import annotations

import os
import socket
import sys

from overseer.processes import has_open
from overseer.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from overseer.addresses import Address

# Every process of a generation is started with this variable (its value is of no interest here), and every
# master with this in its command line.
_MARK_OF_A_GENERATION = b"OVERSEER_CHANNEL="
_MARK_OF_A_MASTER = b"overseer/master"

_ANY_IPV4 = bytes(4)
_ANY_IPV6 = bytes(16)
_MAPPED = bytes(10) + b"\xff\xff"
_LISTENING_TCP = "0A"
_LISTENING_UNIX = "00010000"
_DATAGRAM = "0002"


@value
class Holder:
    """A process that has a socket open on an address.

    `command` is its command line, shortened. `orphan_of_overseer` says that it belongs to a generation
    whose master is dead: it finishes its connections and will go by itself.
    """

    pid: int
    command: str
    orphan_of_overseer: bool


def find_holders(address: Address) -> list[Holder]:
    """Find the processes that have a socket on `address`, as far as this user may see them (Linux only)."""
    links = {f"socket:[{inode}]" for inode in _inodes(address)}
    if not links:
        return []
    pids = sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    holding = [pid for pid in pids if has_open(pid, links)]
    return [Holder(pid, _command(pid) or "?", _is_orphan(pid, holding)) for pid in holding]


def _inodes(address: Address) -> set[str]:
    """The inode numbers of the sockets that stand in the way of `address`."""
    if address.kind == "unix":
        return _unix_inodes(address)
    listening: set[str] = set()
    others: set[str] = set()
    wanted = _packed(address.host)
    for table in (address.kind, f"{address.kind}6"):
        for line in _lines(f"/proc/net/{table}"):
            fields = line.split()
            if len(fields) < 10 or ":" not in fields[1]:
                continue
            host, _, port = fields[1].partition(":")
            # Inode 0 is a connection in TIME_WAIT: nobody's any more.
            if int(port, 16) == address.port and fields[9] != "0" and _clash(wanted, _unhex(host)):
                (listening if fields[3] == _LISTENING_TCP else others).add(fields[9])
    return listening or others


def _unix_inodes(address: Address) -> set[str]:
    # A socket file of ours was bound as NAME~ and renamed; the kernel goes on calling it that.
    names = {f"@{address.path}"} if address.abstract else {address.path, f"{address.path}~"}
    found = set()
    for line in _lines("/proc/net/unix"):
        fields = line.split(None, 7)
        # Connections that a listener accepted carry its name too, without the flag of a listener.
        if (
            len(fields) == 8
            and fields[7] in names
            and (fields[3] == _LISTENING_UNIX or fields[4] == _DATAGRAM)
        ):
            found.add(fields[6])
    return found


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as table:
            next(table, None)
            for line in table:
                yield line.rstrip("\n")
    except OSError:
        return


def _packed(host: str) -> bytes | None:
    """The address as the kernel has it; None for every interface, and for a name, which may be any."""
    try:
        if ":" in host:
            return _unmapped(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]))
        return socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return None


def _unhex(text: str) -> bytes:
    """Read an address of /proc/net/tcp: words of 32 bits, each in the machine's own order."""
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return _unmapped(raw)


def _unmapped(raw: bytes) -> bytes:
    return raw.removeprefix(_MAPPED) if len(raw) == 16 else raw


def _clash(wanted: bytes | None, theirs: bytes) -> bool:
    if wanted is None or wanted == theirs or _ANY_IPV6 in (wanted, theirs):
        return True
    return len(wanted) == len(theirs) and _ANY_IPV4 in (wanted, theirs)


def _read(pid: int, what: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{what}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _command(pid: int) -> str:
    words = _read(pid, "cmdline").rstrip(b"\0") or _read(pid, "comm").strip()
    text = words.replace(b"\0", b" ").decode("utf-8", "replace")
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _is_orphan(pid: int, holding: Sequence[int]) -> bool:
    """Tell a generation without a master, among those who hold its address.

    A program may fork: its children bear the mark too, and the master is the parent of the first of them. The
    master of a one-file executable has no command line of its own, but it holds the address as every master.
    """
    orphan = False
    while _is_of_a_generation(pid) and not _is_master(pid):
        pid = _parent(pid)
        orphan = not _is_master(pid) and pid not in holding
    return orphan


def _is_of_a_generation(pid: int) -> bool:
    return any(entry.startswith(_MARK_OF_A_GENERATION) for entry in _read(pid, "environ").split(b"\0"))


def _is_master(pid: int) -> bool:
    return _MARK_OF_A_MASTER in _read(pid, "cmdline")


def _parent(pid: int) -> int:
    # The command's name, in parentheses, may hold anything, spaces and parentheses too.
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0

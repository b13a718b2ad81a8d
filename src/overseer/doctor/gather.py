"""Gather what the doctor judges: read what is there, as the service itself sees it, and change nothing.

A service may have a mount namespace of its own (ProtectSystem=, a container), in which the same path is
something else: `/proc/PID/root` leads there, where the kernel lets us (root, or the same user).
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import stat
import struct
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from overseer.addresses import parse
from overseer.doctor.facts import Facts, Place, Process
from overseer.errors import AddressError, StoreError
from overseer.store import layout as layouts
from overseer.store import lock, releases
from overseer.store.ledger import FORMAT, Ledger, format_of, load
from overseer.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PATIENCE = 5.0  # seconds for systemctl and dpkg
_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS, ioctl_iflags(2)
_IMMUTABLE = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL
_DAC_OVERRIDE = 1 << 1  # capabilities(7)

_NEEDS = {"HTTP": "urllib3", "GitHub": "urllib3", "S3": "boto3", "TUF": "tuf"}
_PROPERTIES = ("Id", "Type", "KillMode", "TimeoutStopUSec", "DynamicUser", "StateDirectory")


def gather(
    status: Mapping[str, Any], *, control: str = "", binary: str = "", interpreted: Mapping[str, bool]
) -> Facts:
    """Look at a running service (`status`), or at the installation of a `binary` that does not run.

    `interpreted` tells of each kind of release whether an interpreter runs it. Raises `StoreError` where
    there is nothing to look at.
    """
    pid = int(status.get("pid", 0))
    service, root = _process(pid or os.getpid()), _root(pid)
    mounts = _mounts(pid or os.getpid())
    binary = binary or str(status.get("binary", ""))
    found: dict[str, Any] = {}
    if binary:
        found = _installation(binary, str(status.get("store", "")), service, root, mounts)
        kind = str(found.get("kind", ""))
        found["interpreted"] = interpreted.get(kind, True)
    if control:
        found["control"] = _place(control, "", mounts, service)
        found["control_folder"] = _place(os.path.dirname(control), "", mounts, service)
    return Facts(
        platform=sys.platform,
        kernel=os.uname().release,
        version=VERSION,
        python=_ours(service.python),
        status=status,
        service=service,
        missing=tuple(_missing(status)),
        unit=_unit(pid),
        gone=tuple(_gone(status, root)),
        migrates=_text("/proc/sys/net/ipv4/tcp_migrate_req").strip(),
        **found,
    )


def _installation(
    binary: str, store: str, service: Process, root: str, mounts: list[_Mount]
) -> dict[str, Any]:
    if not os.path.exists(root + os.path.abspath(binary)):
        raise StoreError(f"{binary} is not there")
    if os.path.isdir(root + os.path.abspath(binary)):
        raise StoreError(f"{binary} is a folder; name the file that is started")
    layout = _layout(binary, store, service, root)
    found: dict[str, Any] = {
        "public": _place(layout.public, root, mounts, service),
        "folder": _place(os.path.dirname(layout.public), root, mounts, service),
        "store": _place(layout.root, root, mounts, service),
        "package": _package(layout.public),
        "capabilities": _has_capabilities(root + layout.public),
    }
    seen = layouts.Layout(root + layout.root, root + layout.public)
    found["holder"] = lock.holder_of(seen.lock)
    found["holder_pid"] = int("".join(filter(str.isdecimal, found["holder"].partition("(")[0])) or 0)
    try:
        with open(seen.state, "rb") as file:
            data = file.read()
        if format_of(data) > FORMAT:
            found["ledger_fault"] = f"{layout.state} was written by a newer overseer"
        else:
            found["ledger"] = load(data)
    except FileNotFoundError:
        found["ledger"] = Ledger()
    except OSError as error:
        found["ledger_fault"] = f"{layout.state} cannot be read: {error.strerror}"
        found["ledger_shut"] = True
    except ValueError as error:
        found["ledger_fault"] = f"{layout.state} cannot be read: {error}"
    current = found["ledger"].current if "ledger" in found else ""
    release = releases.find(seen, current) if current else None
    found["size"] = release.size if release else _size(root + layout.public)
    found["kind"] = release.kind if release else _kind(root + layout.public)
    return found


def _layout(binary: str, store: str, service: Process, root: str) -> layouts.Layout:
    """Say where the store is, or would be."""
    if store:
        return layouts.Layout(store, layouts.public_path(binary))
    environ = service.environ
    known = layouts.existing(root + os.path.abspath(binary), environ)
    if known is not None:
        return layouts.Layout(known.root.removeprefix(root), known.public.removeprefix(root))
    public = layouts.public_path(binary)
    folder, name = os.path.split(public)
    state = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    elsewhere = os.path.join(state, f"{name}.overseer")
    beside = os.path.join(folder, f".{name}.overseer")
    return layouts.Layout(elsewhere if state else beside, public)


# -- processes ---------------------------------------------------------------------------------------------


def _process(pid: int) -> Process:
    lines = dict(line.partition(":\t")[::2] for line in _text(f"/proc/{pid}/status").splitlines())
    environ = _text(f"/proc/{pid}/environ").split("\0")
    words = _text(f"/proc/{pid}/cmdline").split("\0")
    limit = [line for line in _text(f"/proc/{pid}/limits").splitlines() if line.startswith("Max open files")]
    soft = limit[0].split()[3] if limit else ""
    gids = {*lines.get("Gid", "0").split()[1:2], *lines.get("Groups", "").split()}
    return Process(
        pid=pid,
        uid=int(lines.get("Uid", f"0\t{os.geteuid()}").split()[1]),
        gids=frozenset(int(gid) for gid in gids),
        overrides=bool(int(lines.get("CapEff", "0"), 16) & _DAC_OVERRIDE),
        umask=int(lines.get("Umask", "0022"), 8),
        files=int(soft) if soft.isdecimal() else 1 << 20,
        python=words[0],
        environ=dict(entry.partition("=")[::2] for entry in environ if entry),
    )


def _ours(theirs: str) -> str:
    """Return what we are run by, by their name for it if that is the same: an environment has several."""
    ours = sys.executable
    with suppress(OSError):
        if os.path.dirname(theirs) == os.path.dirname(ours) and os.path.samefile(theirs, ours):
            return theirs
    return ours


def _root(pid: int) -> str:
    """Return the way to the service's own root folder; nothing where that is ours, or closed to us."""
    if not pid:
        return ""
    try:
        ours, theirs = os.readlink("/proc/self/ns/mnt"), os.readlink(f"/proc/{pid}/ns/mnt")
        os.stat(f"/proc/{pid}/root/")
    except OSError:
        return ""
    return "" if ours == theirs else f"/proc/{pid}/root"


def _gone(status: Mapping[str, Any], root: str) -> Iterator[str]:
    for text in status.get("sockets", ()):
        try:
            address = parse(text)
        except AddressError:  # of a master that knows more kinds than we do
            continue
        if address.kind == "unix" and not address.abstract:
            try:
                os.lstat(root + address.path)
            except FileNotFoundError:
                yield address.path
            except OSError:  # who may not look there cannot tell
                continue


def _missing(status: Mapping[str, Any]) -> list[str]:
    wanted = {_NEEDS[word] for word in status.get("source", ()) if word in _NEEDS}
    return sorted(name for name in wanted if importlib.util.find_spec(name) is None)


def _unit(pid: int) -> dict[str, str]:
    """Ask systemd about the unit that a process is of; nothing where it is of none, or nobody answers."""
    if not pid:
        return {}
    groups = _text(f"/proc/{pid}/cgroup").splitlines()
    parts = [part for group in groups for part in group.split("/") if part.endswith(".service")]
    units = [part for part in parts if not part.startswith("user@")]
    if not units:
        return {}
    user = ["--user"] if any(part.startswith("user@") for part in parts) else []
    said = _said(["systemctl", *user, "show", units[-1], f"--property={','.join(_PROPERTIES)}"])
    told = dict(line.partition("=")[::2] for line in said.splitlines())
    return told if told.get("Type") else {}


# -- places ------------------------------------------------------------------------------------------------

_Mount = tuple[str, str, frozenset[str]]  # where, what kind, options


def _mounts(pid: int) -> list[_Mount]:
    """Read what is mounted where (mountinfo, proc(5))."""
    found = []
    for line in _text(f"/proc/{pid}/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) > 5 and len(rest) > 2:
            options = frozenset([*fields[5].split(","), *rest[2].split(",")])
            found.append((fields[4].replace(r"\040", " "), rest[0], options))
    return found


def _place(path: str, root: str, mounts: list[_Mount], service: Process) -> Place:
    real = os.path.realpath(path)
    over = [m for m in mounts if m[0] == "/" or real == m[0] or real.startswith(f"{m[0]}/")]
    _, kind, options = max(over, key=lambda m: len(m[0]), default=("", "", frozenset[str]()))
    told: dict[str, Any] = {
        "path": path,
        "file_system": kind,
        "read_only": "ro" in options,
        "noexec": "noexec" in options,
    }
    try:
        status = os.lstat(root + path)
    except OSError:
        return Place(**told, exists=False)
    with suppress(OSError):
        room = os.statvfs(root + path)
        told["free"] = (room.f_bfree if service.uid == 0 else room.f_bavail) * room.f_frsize
    return Place(
        **told,
        is_folder=stat.S_ISDIR(status.st_mode),
        is_link=stat.S_ISLNK(status.st_mode),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        immutable=_is_immutable(root + path, status),
    )


def _is_immutable(path: str, status: os.stat_result) -> bool:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return False  # not to open what is no file: that may do something
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(fd, _GET_FLAGS, struct.pack("l", 0)))
    except OSError:  # a file system without flags
        return False
    finally:
        os.close(fd)
    return bool(flags & _IMMUTABLE)


def _has_capabilities(path: str) -> bool:
    try:
        return "security.capability" in os.listxattr(path)
    except (OSError, AttributeError):  # AttributeError: not on macOS
        return False


def _package(path: str) -> str:
    """Say which package of the system a file is of (dpkg-query(1), rpm(8)); nothing for none."""
    said = _said(["dpkg-query", "-S", path])
    return said.partition(":")[0] if said else _said(["rpm", "-qf", "--qf", "%{NAME}", path])


def _kind(path: str) -> str:
    """Tell a machine's own program from one that something else runs."""
    try:
        with open(path, "rb") as file:
            return "elf" if file.read(4) == b"\x7fELF" else ""
    except OSError:
        return ""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _said(command: list[str]) -> str:
    """Return what a command says, nothing where it fails, or is not there."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""

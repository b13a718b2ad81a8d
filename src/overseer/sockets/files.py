"""Socket files: put in place whole, stale ones cleaned, anything else left alone.

A socket is bound as PATH~, gets its owner and mode, listens, and is then renamed to PATH. So the path never
vanishes while a stale file is replaced, nobody reaches it with other rights than were asked for, and no
connection is refused between bind and listen. The kernel goes on calling the socket PATH~: whoever unlinks
the name of a socket it was handed (asyncio does, from Python 3.13 on) misses the path.

Two that start at once are kept apart by a lock on PATH~lock, which is removed when the path is in place.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import time

from overseer.errors import AddressError
from overseer.sockets.bound import BoundSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overseer.addresses import Address

# Another start holds the lock for some milliseconds; one that was stopped in the middle may hold it longer.
_LOCK_PATIENCE = 5.0
_PACE = 0.02


def listen_at(address: Address) -> BoundSocket:
    """Make the socket file of `address` and listen on it.

    Raises `OSError` with EADDRINUSE when somebody answers there, another `OSError` as the system refuses,
    and `AddressError` when something else than a socket is in the way or the owner cannot be had.
    """
    path, fresh = address.path, f"{address.path}~"
    lock = _lock(address)
    try:
        _refuse_if_occupied(address, path)
        if _refuse_if_occupied(address, fresh):
            os.unlink(fresh)
        sock = BoundSocket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(fresh)
            try:
                set_rights(address, fresh)
                sock.listen(address.backlog)
                found = os.lstat(fresh)
                os.rename(fresh, path)
            except BaseException:
                os.unlink(fresh)
                raise
        except BaseException:
            sock.close()
            raise
    finally:
        _unlock(path, lock)
    sock.path, sock.file = path, (found.st_dev, found.st_ino)
    return sock


def set_rights(address: Address, path: str) -> None:
    """Give a socket file the owner and the mode that `address` asks for; what it does not ask for stays."""
    user, group = _id_of(address, "user"), _id_of(address, "group")
    if user != -1 or group != -1:
        try:
            os.chown(path, user, group)
        except PermissionError as error:
            raise AddressError(
                address.text,
                f"uid {os.geteuid()} may not give the socket to user {address.user or '(unchanged)'}, "
                f"group {address.group or '(unchanged)'}; start as root, or name a group this user is in",
            ) from error
    if address.mode is not None:
        os.chmod(path, address.mode)


def _id_of(address: Address, what: str) -> int:
    """Return the number of a user or group; where none is asked for, -1: chown(2) takes it for "leave it"."""
    name = address.user if what == "user" else address.group
    if not name:
        return -1
    if name.isascii() and name.isdigit():
        return int(name)
    # Imported here: the account databases load libraries that few masters need.
    import grp  # noqa: PLC0415
    import pwd  # noqa: PLC0415

    try:
        return pwd.getpwnam(name).pw_uid if what == "user" else grp.getgrnam(name).gr_gid
    except (KeyError, UnicodeError) as error:
        raise AddressError(address.text, f"there is no {what} {name!r} on this machine") from error


def _refuse_if_occupied(address: Address, path: str) -> bool:
    """Return False when nothing is at `path`, True when a dead socket is; raise when it is anything else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something that is no socket")
        raise AddressError(
            address.text, f"{kind} is in the way at {path}, and is left alone; move it or choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Not to wait: a listener whose queue is full is alive, too.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except FileNotFoundError:
            return False
        except OSError:
            # Alive but busy, of another type, or not to be asked by this user: not ours to replace.
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)


_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
}


def _lock(address: Address) -> int:
    """Lock the path among those who start on it; return the descriptor of the lock."""
    import fcntl  # noqa: PLC0415 - only here, and missing where there are no Unix sockets

    name = f"{address.path}~lock"
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder removed the file before letting go: a lock on that is a lock on nothing.
            if os.path.samestat(os.fstat(lock), os.stat(name)):
                return lock
        except FileNotFoundError:
            pass
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise AddressError(
                    address.text,
                    f"another start on this path has held {name} for {_LOCK_PATIENCE:.0f} s; "
                    "it hangs, or is stopped: end it and start again",
                ) from None
            # flock cannot wait with a deadline, so it is asked again at a pace that costs nothing.
            select.select([], [], [], _PACE)
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _unlock(path: str, lock: int) -> None:
    try:
        os.unlink(f"{path}~lock")
    finally:
        os.close(lock)

"""A bound socket as the master holds it: where it is, whose file it has, and how it comes through an exec."""

from __future__ import annotations

import os
import socket
import stat


class BoundSocket(socket.socket):
    """A socket of the master: an ordinary one that, for a Unix socket, knows which file is its own.

    `path` is where it is reached, and `file` the device and inode made there; None: the file is not ours.
    """

    path: str = ""
    file: tuple[int, int] | None = None

    def has_its_file(self) -> bool:
        """Tell whether the file at `path` is still the one that was made for this socket."""
        return self.file is not None and _file_at(self.path) == self.file


def adopt(fd: int, *, file: tuple[int, int] | None = None) -> socket.socket:
    """Make a socket again from a descriptor that came through an exec; family and type are its own.

    `file` is what `file_of` said before the exec. Raises `OSError` when `fd` is no open socket.
    """
    sock = BoundSocket(fileno=fd)
    try:
        sock.setblocking(False)
        sock.set_inheritable(False)
        if sock.family == getattr(socket, "AF_UNIX", None):
            _recognise(sock, file)
    except BaseException:
        # The descriptor is still the caller's.
        sock.detach()
        raise
    return sock


def _recognise(sock: BoundSocket, file: tuple[int, int] | None) -> None:
    """Tell a Unix socket that came through an exec which path and file are its own.

    Without `file`, a socket that bears our mark (PATH~) is taken to own what is at PATH now.
    """
    name = sock.getsockname()
    if not isinstance(name, str) or not name:
        return
    sock.path, sock.file = name, file
    if name.endswith("~"):
        found = _file_at(name[:-1])
        if found is not None or file is not None:
            sock.path, sock.file = name[:-1], file or found


def file_of(sock: socket.socket) -> tuple[int, int] | None:
    """Return device and inode of the socket file that was made for `sock`, to be handed to `adopt`."""
    return sock.file if isinstance(sock, BoundSocket) else None


def unlink_if_ours(sock: socket.socket) -> bool:
    """Remove the path of a Unix socket, for the final stop only; return whether it was removed.

    It stays when it is not the file that was made for `sock`: somebody else listens there by now. To be
    called while `sock` is still open: so long, no other overseer takes the path for stale, and the inode
    cannot be given to another file.
    """
    if not isinstance(sock, BoundSocket) or sock.fileno() == -1 or not sock.has_its_file():
        return False
    try:
        os.unlink(sock.path)
    except OSError:
        return False
    return True


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISSOCK(found.st_mode) else None


def describe(sock: socket.socket) -> str:
    """Say where a socket is bound, as an address: `127.0.0.1:40123`, `[::1]:80`, `unix:/run/x.sock`."""
    name = sock.getsockname()
    if sock.family == getattr(socket, "AF_UNIX", None):
        if isinstance(name, bytes):
            return f"unix:@{os.fsdecode(name).removeprefix(chr(0))}"
        return f"unix:{getattr(sock, 'path', '') or name or '(no name)'}"
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return f"{name!r}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"{'udp:' if sock.type == socket.SOCK_DGRAM else ''}{host}:{name[1]}"

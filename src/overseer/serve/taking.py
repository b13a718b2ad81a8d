"""Connections are taken from the way on which they come, and none is lost there.

The kernel closes a descriptor that is received where none is free, and so the connection. What is only
looked at (MSG_PEEK, unix(7)) stays, although its descriptor is ours by then. So each is looked at first, and
taken when we have it. A generation that drains may still read while the next one begins to: what has been
taken counts then, not what has been seen; each message has a number of its own.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket

from overseer.wire import receive

_log = logging.getLogger("overseer")

_SPARE = 16
"""Descriptors that are left to others, and no more than one in sixteen of those that may be open."""
_LEAST_SPARE = 8


def take(way: socket.socket) -> socket.socket | None:
    """Take one connection; None if nobody has the other end, and nothing is left.

    Raises `OSError` with EMFILE where this process may hardly have more files, and `BlockingIOError` or
    `ConnectionResetError` where nothing can be had at the moment. All is as it was then.
    """
    seen, mine = _receive(way, socket.MSG_PEEK)
    if not seen:
        return None
    if not mine:
        raise _no_room()
    try:
        if mine.fileno() >= _room():
            raise _no_room()
        taken, theirs = _receive(way)
    except OSError:
        mine.close()
        raise
    if taken != seen:  # somebody else has that one
        mine, theirs = theirs, mine
    if theirs:
        theirs.close()
    if taken and not mine:
        _log.warning("a connection was lost: this process may not have more open files")
        raise BlockingIOError
    return mine


def _receive(way: socket.socket, flags: int = 0) -> tuple[bytes, socket.socket | None]:
    """Return a message, and what came with it if there was a descriptor free; no message is the end."""
    word, fds, _ = receive(way, 64, 1, flags | socket.MSG_DONTWAIT)
    return word, socket.socket(fileno=fds[0]) if fds else None


def _room() -> int:
    """Return the number from which on descriptors are left to others: the least that is free is given."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most == resource.RLIM_INFINITY:
        return 2**31
    return most - max(_LEAST_SPARE, min(_SPARE, most // 16))


def _no_room() -> OSError:
    return OSError(errno.EMFILE, os.strerror(errno.EMFILE))

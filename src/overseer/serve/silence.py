"""Connections on which nothing is on its way towards us: the only ones that may be ended."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios
from typing import TYPE_CHECKING, Any

from overseer.serve.closing import end_soon, is_over, is_taken

if TYPE_CHECKING:
    from collections.abc import Callable

_NOTHING = struct.pack("i", 0)


def is_silent(sock: Any) -> bool:
    """Whether the kernel has nothing of a connection that we have not read (FIONREAD, tcp(7))."""
    return fcntl.ioctl(sock.fileno(), termios.FIONREAD, _NOTHING) == _NOTHING


def end_silent(sock: Any) -> bool:
    """Say the end on a plain connection if it is silent; return whether it was.

    The end is said here and now, so that what is left to chance is the time between two system calls. It is
    said on a copy of the descriptor, since the sockets that uvloop shows cannot be told. Where no descriptor
    is free for that, nothing is said yet.
    """
    try:
        copy = socket.socket(fileno=os.dup(sock.fileno()))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return False
        raise
    with copy:
        silent = is_silent(copy)
        if silent:
            with contextlib.suppress(OSError):
                copy.shutdown(socket.SHUT_WR)
        return silent


def end_silent_transport(transport: Any, part: Callable[[Any], bool] = end_silent) -> bool:
    """Do the same for a transport of asyncio, whose own close takes another round of the loop.

    `part` is what is done with a plain connection, and tells whether the transport is to be closed then.

    One that has not sent everything yet, to a client that reads slowly, is not silent, either. A transport of
    TLS does not know what the one below it has not sent; the kernel's queue is full then. Under TLS the
    transport says the end itself, after the word with which TLS ends, and waits for the client's own. Many
    clients do not look at a connection that they keep, so they have not much time for that. One that is
    being closed is never said to be silent: closed twice, asyncio's transport of TLS fails when it is asked.
    """
    if transport.is_closing():
        return False
    sock = transport.get_extra_info("socket")
    if is_over(sock):
        return True
    if transport.get_write_buffer_size():
        return False
    if not transport.get_extra_info("ssl_object"):
        return part(sock)
    silent = is_taken(sock) and is_silent(sock)  # no step between that and the end
    if silent:
        end_soon(transport, sock)
    return silent

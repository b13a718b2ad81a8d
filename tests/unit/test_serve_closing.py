"""How far a client has come with what was written for it."""

from __future__ import annotations

import socket

from overseer.serve.closing import is_over, is_taken, take_in


def pair(family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection, ours first."""
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        theirs.settimeout(20)
        return listener.accept()[0], theirs


def fill(sock: socket.socket) -> None:
    """Write until the kernel takes no more."""
    sock.setblocking(False)
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        pass


def test_what_a_client_takes_is_seen() -> None:
    """And that it takes nothing, too: two looks at it are the same."""
    ours, theirs = pair(socket.AF_INET)
    with ours, theirs:
        before = take_in(ours)
        assert (before.waiting, is_taken(ours)) == (0, True)
        ours.sendall(b"some")
        assert theirs.recv(4, socket.MSG_PEEK) == b"some"
        after = take_in(ours)
        assert after != before
        assert take_in(ours) == after
        fill(ours)
        full = take_in(ours)
        assert full.waiting > 0
        assert not is_taken(ours)


def test_nobody_is_cut_for_what_the_kernel_does_not_count() -> None:
    """Who has something to take from a Unix socket is taken to do so; who has nothing is not."""
    ours, theirs = pair(socket.AF_UNIX)
    with ours, theirs:
        assert take_in(ours) == take_in(ours)
        ours.sendall(b"some")
        assert not is_taken(ours)
        assert take_in(ours) != take_in(ours)
        theirs.recv(4)
        assert take_in(ours) == take_in(ours)


def test_a_socket_that_was_closed_is_over() -> None:
    """Its transport may not be asked any more."""
    ours, theirs = pair(socket.AF_UNIX)
    theirs.close()
    assert not is_over(ours)
    ours.close()
    assert is_over(ours)

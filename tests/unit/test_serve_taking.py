"""Connections that come on a way: each is taken once, and none is lost there."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from tests.process.service import until

from overseer.program.draining import Draining
from overseer.program.shelf import Shelf, Stored
from overseer.serve import taking
from overseer.serve.handing import Handing
from overseer.serve.taking import take

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def way() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of one: here connections are given, and there they are taken."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ends[0], ends[1]:
        yield ends


def give(way: socket.socket, number: int) -> socket.socket:
    """Give a connection; return its other end."""
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(way, [b"connection %d" % number], [theirs.fileno()])
    return ours


@contextlib.contextmanager
def with_room_for(count: int) -> Iterator[None]:
    """Have no more than so many descriptors free."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    most = max(map(int, os.listdir("/proc/self/fd"))) + 1 + count
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(taken[0]))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in taken:
            os.close(number)


@pytest.mark.parametrize("count", [0, 1, taking._LEAST_SPARE])
def test_what_comes_where_there_is_no_room_stays(
    way: tuple[socket.socket, socket.socket], count: int
) -> None:
    """Also where there is some: others need a descriptor now and then."""
    here, there = way
    with give(here, 1) as client:
        with with_room_for(count):
            for _ in range(2):
                with pytest.raises(OSError, match="Too many open files") as caught:
                    take(there)
                assert caught.value.errno == errno.EMFILE
        found = take(there)
        assert found
        with found:
            assert not os.get_inheritable(found.fileno())
            client.sendall(b"hello")
            assert found.recv(10) == b"hello"
    with pytest.raises(BlockingIOError):
        take(there)
    here.close()
    assert take(there) is None


def test_two_who_take_at_once_have_each_connection_once(way: tuple[socket.socket, socket.socket]) -> None:
    """One drains, and the other has begun; what one has seen the other may have taken."""
    here, there = way
    names = list[bytes]()

    def read(mine: socket.socket) -> None:
        with mine:
            while True:
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    sock = take(mine)
                    if not sock:
                        return
                    with sock:
                        names.append(sock.recv(10))

    readers = [threading.Thread(target=read, args=(there.dup(),), daemon=True) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1000):
        with give_named(here, number):
            pass
    here.close()
    for reader in readers:
        reader.join(20)
    assert sorted(names) == sorted(b"%d" % number for number in range(1000))


def give_named(way: socket.socket, number: int) -> socket.socket:
    """Give a connection on which its number can be read."""
    client = give(way, number)
    client.sendall(b"%d" % number)
    return client


class Alone:
    """A program's state, without a master."""

    def __init__(self) -> None:
        self.enabled, self.generation, self.worker = True, 2, 1
        self.draining = Draining()
        self.shelf = Shelf(None, self.draining)


def test_what_an_owner_has_given_before_it_left_is_taken(way: tuple[socket.socket, socket.socket]) -> None:
    """Who drained meanwhile has not read it, and the owner not all that it was told."""
    here, there = way
    clients = [give_named(here, number) for number in range(3)]
    there.send(b"bye somebody")
    here.close()
    names = list[bytes]()

    def note(sock: socket.socket) -> None:
        with sock:
            names.append(sock.recv(10))

    state = Alone()
    handing = Handing(state, note)  # type: ignore[arg-type]
    handing._learn(Stored("overseer-connections-1-1-x", b"", there.detach()))
    until(lambda: handing.is_over, "the way has ended")
    assert names == [b"0", b"1", b"2"]
    for client in clients:
        client.close()

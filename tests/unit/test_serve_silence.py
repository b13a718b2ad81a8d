"""The end of a connection that is silent, and of no other."""

from __future__ import annotations

import os
import resource
import socket
from typing import TYPE_CHECKING

import pytest

from overseer.serve.silence import end_silent

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a connection."""
    ends = socket.socketpair()
    for end in ends:
        end.settimeout(20)
    with ends[0], ends[1]:
        yield ends


def test_a_silent_connection_is_told_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    """And stays open for what its client still says."""
    ours, theirs = pair
    assert end_silent(ours)
    assert theirs.recv(1) == b""
    theirs.sendall(b"!")
    assert ours.recv(1) == b"!"


def test_one_with_something_unread_is_not(pair: tuple[socket.socket, socket.socket]) -> None:
    """Its request is answered first."""
    ours, theirs = pair
    theirs.sendall(b"G")
    assert not end_silent(ours)
    ours.sendall(b"answer")
    assert theirs.recv(100) == b"answer"


def test_without_a_free_descriptor_it_waits(pair: tuple[socket.socket, socket.socket]) -> None:
    """A program that has used up its descriptors drains on, instead of ending with an error."""
    ours, theirs = pair
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.open(os.devnull, os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, limits[1]))
        filling = []
        try:
            while True:
                filling.append(os.dup(taken))
        except OSError:
            assert not end_silent(ours)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in (taken, *filling):
            os.close(number)
    assert end_silent(ours)
    assert theirs.recv(1) == b""

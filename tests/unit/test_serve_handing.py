"""The way on which connections are handed over, between generations that are made up."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.process.service import until

from overseer.program.draining import Draining
from overseer.program.shelf import Stored
from overseer.serve.handing import Handing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Shelf:
    """A master that keeps what it is given until somebody asks."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}

    def store(self, file: socket.socket, name: str, _data: bytes) -> bool:
        """Keep a copy."""
        self.kept[name] = os.dup(file.fileno())
        return True

    def unstore(self, name: str) -> None:
        """Keep it no longer."""
        if name in self.kept:
            os.close(self.kept.pop(name))

    def call(self, callback: Callable[[Stored], object], *, ours: bool) -> None:
        """Hand over what others have stored."""
        assert ours
        for name, fd in list(self.kept.items())[:-1]:
            callback(Stored(name, b"", os.dup(fd)))


class Generation(Handing):
    """One that says nothing of itself, and takes connections into a list."""

    def __init__(self, shelf: Shelf) -> None:
        self.draining = Draining()
        self.taken: list[socket.socket] = []
        state: Any = SimpleNamespace(
            enabled=True, generation=1, worker=1, draining=self.draining, shelf=shelf
        )
        super().__init__(state, self.taken.append)
        self.open()


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """Give a shelf that is empty again afterwards."""
    shelf = Shelf()
    yield shelf
    for name in list(shelf.kept):
        shelf.unstore(name)


def drains(generation: Generation) -> None:
    """Ask it to leave."""
    generation.draining.begin("another generation serves")
    generation.begin()


def test_who_hands_over_stays_until_it_is_taken(shelf: Shelf) -> None:
    """Who was to take it may drain first, and then the master has to have the way for the one after."""
    old = Generation(shelf)
    drains(old)
    (name,) = shelf.kept
    heir = socket.socket(fileno=os.dup(shelf.kept[name]))
    heir.send(b"hello heir")
    here, there = socket.socketpair()
    with heir, here, there:
        assert old.hand(there)
        heir.send(b"bye heir")
        assert not any(old.is_over for _ in range(3))
        after = Generation(shelf)
        until(lambda: after.taken, "it is taken")
        until(lambda: old.is_over, "nobody has to stay")
        after.taken[0].send(b"!")
        assert here.recv(1) == b"!"
    for each in (old, after):
        each.close()
    after.draining.begin("the test is over")

"""What overseer itself stores is hidden from programs, and its names are not theirs."""

from __future__ import annotations

import os

import pytest

import overseer
from overseer.program.draining import Draining
from overseer.program.shelf import Shelf, Stored


def test_a_program_sees_its_own_descriptors_only() -> None:
    """Each side hears of its own, also of what has come before it asked."""
    shelf, mine, ours = Shelf(None, Draining()), list[str](), list[str]()

    def note(names: list[str]) -> None:
        def heard(stored: Stored) -> None:
            names.append(stored.name)
            os.close(stored.fd)

        shelf.call(heard, ours=names is ours)

    shelf.arrived("chat-1", "", os.dup(0))
    shelf.arrived("overseer-1", "", os.dup(0))
    assert [stored.name for stored in shelf.there()] == ["chat-1"]
    note(mine)
    note(ours)
    shelf.arrived("overseer-2", "", os.dup(0))
    shelf.arrived("chat-2", "", os.dup(0))
    assert (mine, ours) == (["chat-1", "chat-2"], ["overseer-1", "overseer-2"])


def test_a_name_of_overseers_is_refused() -> None:
    """In the program's own words, before anything is sent."""
    with pytest.raises(ValueError, match="overseer's own"):
        overseer.DISABLED_STATE.store(0, "overseer-x")

"""What is remembered of connections: of about as many as are here."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overseer.serve.remembered import Remembered

MOST = 8


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200))
def test_who_is_here_is_never_forgotten(steps: list[tuple[bool, int]]) -> None:
    """And who has left is, before there are twice as many as were here."""
    here = set[int]()
    most = 0
    known = Remembered[int, int](lambda: here, MOST)
    for comes, who in steps:
        if comes:
            known.add(who, who)
            here.add(who)
        else:
            here.discard(who)
        most = max(most, len(here))
        assert all(known.get(each) == each for each in here)
        assert len(known) <= max(MOST, 2 * most)


def test_who_has_just_come_is_remembered_before_it_is_seen() -> None:
    """A call is quicker than a look."""
    known = Remembered[str, int](lambda: (), 1)
    for number, name in enumerate("abc"):
        known.add(name, number)
        assert name in known
    assert len(known) == 1


def test_who_is_forgotten_is_nobody() -> None:
    """Also who never was known."""
    known = Remembered[str, int](lambda: (), MOST)
    known.add("a", 1)
    known.forget("a")
    known.forget("b")
    assert known.get("a") is None
    assert "a" not in known

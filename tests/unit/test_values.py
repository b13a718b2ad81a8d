"""Frozen values behave as frozen dataclasses do, without costing as much."""

from __future__ import annotations

import subprocess
import sys

import pytest

from overseer.values import fields, replace, value


@value
class Point:
    """A place."""

    x: int
    y: int = 0

    def doubled(self) -> Point:
        """Return the place twice as far away."""
        return replace(self, x=2 * self.x, y=2 * self.y)


@value
class Spot:
    """Another kind of place with the same fields."""

    x: int
    y: int = 0


@value
class Nothing:
    """A value without a field."""


def test_a_value_takes_its_fields_by_place_and_by_name() -> None:
    """A default fills what is not given."""
    assert Point(1) == Point(1, 0) == Point(y=0, x=1)


def test_a_value_without_its_fields_cannot_be_made() -> None:
    """A field without a default has to be given, and no other may be."""
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(1, z=3)  # type: ignore[call-arg]


def test_a_value_cannot_be_changed() -> None:
    """Neither a field nor anything else, neither set nor deleted."""
    point = Point(1)
    with pytest.raises(AttributeError, match="Point is frozen: x cannot be changed"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        point.z = 2  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        del point.y
    assert point == Point(1, 0)


def test_a_value_has_no_room_for_more() -> None:
    """Slots only: a thousand workers are cheap."""
    assert not hasattr(Point(1), "__dict__")


def test_values_are_equal_when_kind_and_fields_are() -> None:
    """Another kind with the same fields is another value."""
    assert Point(1, 2) == Point(1, 2)
    assert Point(1, 2) != Point(1, 3)
    others: list[object] = [Spot(1, 2), (1, 2), None]
    assert all(Point(1, 2) != other for other in others)


def test_equal_values_are_one_in_a_set() -> None:
    """The hash goes by kind and fields."""
    assert len({Point(1, 2), Point(1, 2), Point(2, 1)}) == 2
    assert hash(Point(1, 2)) == hash(Point(1, 2))
    assert hash(Point(1, 2)) != hash(Spot(1, 2))


def test_replace_makes_a_new_value() -> None:
    """The old one stays as it was."""
    old = Point(1, 2)
    assert replace(old, y=5) == Point(1, 5)
    assert replace(old) == old
    assert old == Point(1, 2)


def test_replace_refuses_an_unknown_field() -> None:
    """A slip of the pen does not pass silently."""
    with pytest.raises(TypeError):
        replace(Point(1), z=3)


def test_a_value_can_be_matched_by_place() -> None:
    """`match` takes the fields in their order."""
    match Point(3, 4):
        case Point(x, y):
            assert (x, y) == (3, 4)


def test_a_value_keeps_its_methods_name_and_docstring() -> None:
    """It is a class like any other."""
    assert Point(2, 3).doubled() == Point(4, 6)
    assert (Point.__name__, Point.__qualname__, Point.__doc__) == ("Point", "Point", "A place.")
    assert Point.__module__ == __name__


def test_a_value_shows_what_would_make_it() -> None:
    """Good enough to be pasted into a test."""
    assert repr(Point(1, y=2)) == "Point(x=1, y=2)"


def test_a_value_may_have_no_field() -> None:
    """Like a tick: that it is, is all it says."""
    assert Nothing() == Nothing()
    assert (repr(Nothing()), fields(Nothing())) == ("Nothing()", ())


def test_fields_are_named_in_order() -> None:
    """What the next master is told goes by these names."""
    assert fields(Point(1)) == ("x", "y")


def test_values_do_not_import_what_they_replace() -> None:
    """The reason they exist: nothing is imported for them."""
    folder = (sys.modules["overseer.values"].__file__ or "").rpartition("/")[0]
    script = f"import sys; sys.path.insert(0, {folder!r}); old = set(sys.modules); import values; "
    script += "print(*sorted(set(sys.modules) - old))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().split() == ["__future__", "values"]

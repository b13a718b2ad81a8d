"""Which version is newer, and which pairs nobody can compare."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.updater.version import higher, is_lower, key

ASCENDING = [
    "0.9",
    "1.0.dev1",
    "1.0a1",
    "1.0-alpha.2",
    "1.0b1.dev3",
    "1.0-beta1",
    "1.0rc1",
    "v1.0-rc.2",
    "1.0",
    "1.0.post1",
    "1.0.1",
    "1.2",
    "1.10",
    "2024.01.15",
    "1!0.1",
]


def test_versions_are_in_the_order_that_people_expect() -> None:
    """Numbers as numbers, pre-releases before, post-releases behind."""
    for one, other in pairwise(ASCENDING):
        assert is_lower(one, other) is True, (one, other)
        assert is_lower(other, one) is False, (one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("1.0", "1.0.0"), ("v2", "2"), ("1.0+build5", "1.0"), ("01", "1")]
)
def test_versions_that_mean_the_same_are_not_lower(one: str, other: str) -> None:
    """A release of the same version may replace another one."""
    assert is_lower(one, other) is False
    assert is_lower(other, one) is False


@pytest.mark.parametrize("version", ["", "main", "2f3a9c1", "1.x", "r1", "1..2", "\u0661.\u0662", "9" * 300])
def test_what_is_no_version_is_not_compared(version: str) -> None:
    """Neither lower nor not: nobody can tell."""
    assert is_lower(version, "1.0") is None
    assert is_lower("1.0", version) is None


def test_the_highest_version_is_not_lost_to_one_that_cannot_be_compared() -> None:
    """Or a branch name in between would open the door to old releases."""
    assert higher("2.0", "main") == "2.0"
    assert higher("2.0", "1.0") == "2.0"
    assert higher("2.0", "3.0") == "3.0"
    assert higher("", "1.0") == "1.0"


@given(st.text(max_size=80))
def test_any_text_has_a_key_or_none(text: str) -> None:
    """And nothing is raised."""
    assert key(text) is None or isinstance(key(text), tuple)


NUMBERS = st.lists(st.integers(0, 10**6), min_size=1, max_size=5)


@given(NUMBERS, NUMBERS)
def test_plain_versions_are_compared_like_lists_of_numbers(one: list[int], other: list[int]) -> None:
    """Padded with zeros."""
    size = max(len(one), len(other))
    expected = one + [0] * (size - len(one)) < other + [0] * (size - len(other))
    assert is_lower(".".join(map(str, one)), ".".join(map(str, other))) is expected

"""The load generator's histogram: bounded in memory, and right within one per cent."""

from __future__ import annotations

import json
import math

import pytest
from bench.load.histogram import GROWTH, LEAST, MOST, Histogram
from hypothesis import given
from hypothesis import strategies as st

SECONDS = st.floats(min_value=0.0, max_value=MOST, allow_nan=False)


def of(values: list[float]) -> Histogram:
    """Return a histogram of the values."""
    made = Histogram()
    for value in values:
        made.record(value)
    return made


@given(values=st.lists(SECONDS, min_size=1, max_size=200), share=st.floats(min_value=0.0, max_value=1.0))
def test_a_quantile_is_within_one_per_cent_of_the_exact_one(values: list[float], share: float) -> None:
    """Compare with the nearest rank of the sorted values; below a microsecond nothing is told apart."""
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert abs(of(values).quantile(share) - exact) <= (GROWTH - 1) * exact + LEAST


@given(values=st.lists(SECONDS, min_size=1, max_size=200))
def test_count_mean_least_and_greatest_are_exact(values: list[float]) -> None:
    """Only quantiles between them are rounded."""
    made = of(values)
    assert (made.count, made.least, made.most) == (len(values), min(values), max(values))
    assert made.quantile(1.0) == max(values)
    assert math.isclose(made.mean, sum(values) / len(values), abs_tol=1e-9)


@given(left=st.lists(SECONDS, max_size=50), right=st.lists(SECONDS, max_size=50))
def test_two_added_are_the_same_as_one_of_all(left: list[float], right: list[float]) -> None:
    """Slices of time are added up in any order."""
    both = of(left)
    both.add(of(right))
    whole = of(left + right)
    assert (both.buckets, both.count, both.least, both.most) == (
        whole.buckets,
        whole.count,
        whole.least,
        whole.most,
    )


@given(values=st.lists(SECONDS, max_size=50))
def test_it_goes_through_json_unchanged(values: list[float]) -> None:
    """A histogram can be written down and read again."""
    made = of(values)
    again = Histogram.from_json(json.loads(json.dumps(made.to_json())))
    assert (again.buckets, again.count, again.total, again.least, again.most) == (
        made.buckets,
        made.count,
        made.total,
        made.least,
        made.most,
    )


def test_its_memory_does_not_grow_with_the_number_of_values() -> None:
    """The whole range, densely, fills a bounded number of buckets."""
    made = Histogram()
    value = 1e-9
    while value < 100 * MOST:
        made.record(value)
        value *= 1.0005
    assert made.count > 50_000
    assert len(made.buckets) < 2300


def test_a_negative_time_counts_as_none_at_all() -> None:
    """An answer can come before the last byte of its request was due."""
    made = of([-0.5])
    assert (made.count, made.most, made.quantile(0.5)) == (1, 0.0, 0.0)


def test_a_quantile_of_nothing_is_zero() -> None:
    """Reports of kinds that never came do not fail."""
    assert Histogram().quantile(0.99) == 0.0


def test_a_share_beyond_one_is_refused() -> None:
    """99 for 0.99 is the usual slip."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        of([1.0]).quantile(99)

"""Every world that can be reached within a bound keeps every law.

The bound of the quick search: eight universes, each with the wishes, releases, words and policies that it
is about; 1 or 2 releases, 1 or 2 workers, at most 2 generations (3 where only restarts happen) and 3 or 4
processes at once, of which 1 generation may drain, 1 request pending (2 where only restarts happen).
Patience is 1 or 2 seconds and time goes by whole seconds. Steps that lead beyond the bound are checked as
well, and not followed. The long search has more of everything at once. Run with `-s` to see how much that is.
"""

from __future__ import annotations

import pytest
from tests.laws.worlds import (
    ALONE,
    NEVER,
    PARKS,
    PARKS_ALONE,
    QUICK,
    RESTART,
    SIGNAL,
    STOP,
    TWO,
    Found,
    Universe,
    explore,
)

SMALL = [
    Universe("restarts", (QUICK,), wishes=(RESTART, SIGNAL), alive=3, pending=2),
    Universe("stops", (QUICK,), wishes=(RESTART, STOP), statuses=(0, 3), halts=True),
    Universe("upgrades", (QUICK,), "AB", words=True, clears=True),
    Universe("workers", (QUICK, TWO), wishes=(RESTART,), crowd=3),
    Universe("sequential", (QUICK, ALONE), "AB", crowd=2),
    Universe("by hand", (PARKS_ALONE,), "AB", wishes=(RESTART,)),
    Universe("never", (NEVER,), "AB", wishes=(RESTART,)),
    Universe("more time", (QUICK,), wishes=(RESTART, STOP), extends=True),
]

LARGE = [
    Universe("restarts and stops", (QUICK,), wishes=(RESTART, SIGNAL, STOP), halts=True, alive=3, pending=2),
    Universe("three releases", (QUICK,), "ABC"),
    Universe("upgrades, three at once", (QUICK,), "AB", words=True, clears=True, alive=3),
    Universe("workers", (QUICK, TWO), wishes=(RESTART,), crowd=4),
    Universe("sequential upgrades", (QUICK, ALONE), "AB", wishes=(RESTART,)),
    Universe("by hand, and not", (PARKS, QUICK), "AB", wishes=(RESTART,)),
    Universe("by hand, and never", (NEVER, PARKS), "AB", wishes=(RESTART,)),
    Universe("more time, two workers", (QUICK, TWO), wishes=(RESTART, STOP), extends=True, crowd=3),
]


def tell(universes: list[Universe]) -> Found:
    """Walk them and print what was seen."""
    total = Found()
    for universe in universes:
        found = explore(universe)
        total.worlds += found.worlds
        total.steps += found.steps
        print(
            f"\n{universe.name}: {found.worlds} worlds, {found.steps} steps"
            f" ({found.beyond} out of the bound), up to {found.deepest} steps deep",
            end="",
        )
    print(f"\nin all {total.worlds} worlds, {total.steps} steps, every law in each", end=" ")
    return total


@pytest.mark.walk
def test_every_world_within_a_small_bound_keeps_the_laws() -> None:
    """In seconds, on every occasion: `make laws`, which comes before the tests."""
    assert tell(SMALL).worlds > 5_000


@pytest.mark.long
@pytest.mark.very_long
def test_every_world_within_a_large_bound_keeps_the_laws() -> None:
    """In minutes, where there is time."""
    assert tell(LARGE).worlds > 50_000

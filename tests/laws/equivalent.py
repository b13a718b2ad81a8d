"""Faults of the heart that make no difference, each with the reason."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "_backoff: 4  ->  5": "it only keeps the power from growing without end; 15 s cap both 2**4 and 2**5",
}
"""Keyed by function and fault, as `make mutants` prints them."""

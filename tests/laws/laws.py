"""The laws of the heart: each one a named predicate over a step, with a sentence and a number.

The numbers are those of the docstring of `overseer.machine`; 0 stands for what makes it a machine at all.
"""

from __future__ import annotations

from tests.laws import laws_0_to_4, laws_5_to_8  # noqa: F401 - each enters its laws into the book
from tests.laws.seen import LAWS, BrokenLawError, Seen


def check(seen: Seen) -> None:
    """Ask every law; raise `BrokenLawError` for the first that does not hold."""
    for sentence, holds in LAWS.items():
        if not holds(seen):
            raise BrokenLawError(sentence, seen)

"""Which of two versions is the newer one, and the honest answer when nobody can tell.

Understood: an optional `v`, an optional epoch (`1!`), numbers between dots, then an optional pre-release
(`a`, `alpha`, `b`, `beta`, `c`, `rc`, `pre`, `preview`, `dev` with a number), an optional `post` or `-N`,
and a local part after `+`, which does not count. So semantic versions and Python's are both read, as far as
they agree. Anything else is not compared: a guess would refuse good releases or let old ones in.
"""

from __future__ import annotations

import re

_VERSION = re.compile(
    r"""v?(?:(?P<epoch>\d+)!)?
        (?P<numbers>\d+(?:\.\d+)*)
        (?:[-_.]?(?P<early>a|alpha|b|beta|c|rc|pre|preview|dev)[-_.]?(?P<early_number>\d+)?)?
        (?:(?:[-_.]?(?:post|rev|r)[-_.]?|-)(?P<late>\d+))?
        (?:[-_.]?dev(?P<dev>\d+))?
        (?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_RANK = {"dev": -4, "a": -3, "alpha": -3, "b": -2, "beta": -2, "c": -1, "rc": -1, "pre": -1, "preview": -1}
_LONGEST = 200  # characters; beyond, it is no version but an attack on whoever converts its numbers

Key = tuple[int, tuple[int, ...], int, int, int, int]


def key(version: str) -> Key | None:
    """Return what versions are sorted by, None for one that cannot be compared."""
    found = _VERSION.fullmatch(version.strip()) if len(version) <= _LONGEST else None
    if found is None:
        return None
    numbers = [int(part) for part in found["numbers"].split(".")]
    while numbers and not numbers[-1]:  # 1.0 is 1.0.0
        numbers.pop()
    rank = _RANK[found["early"].lower()] if found["early"] else 0
    late = int(found["late"]) + 1 if found["late"] else 0
    dev = int(found["dev"]) - (1 << 63) if found["dev"] else 0
    return int(found["epoch"] or 0), tuple(numbers), rank, int(found["early_number"] or 0), late, dev


def is_lower(version: str, than: str) -> bool | None:
    """Whether `version` is lower than the other; None when that cannot be told."""
    one, other = key(version), key(than)
    if one is None or other is None:
        return None
    return one < other


def higher(one: str, other: str) -> str:
    """Return the higher of two versions; the first when that cannot be told."""
    if not one:
        return other
    return other if is_lower(one, other) else one

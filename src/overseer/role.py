"""Which part this process plays: read from the private variables once, at import, and removed at once.

So nothing that the program starts later, however early it starts it, takes itself for a child of the master.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace

from overseer import wire


@dataclass(frozen=True, slots=True)
class Role:
    """The part, the descriptor of the channel to whoever gave it, and the token of a check."""

    part: str = "launcher"  # or program, updater, check
    channel: int | None = None
    token: str = ""


def _take() -> Role:
    part, token = os.environ.pop(wire.ROLE, ""), os.environ.pop(wire.TOKEN, "")
    channel = wire.take_channel(os.environ)
    return Role(part, channel, token) if part and channel is not None else Role()


mine = _take()
"""Ours; whoever has played the part calls `spend`."""

argv = tuple(sys.argv)
"""The arguments as they were at import: programs change theirs."""


def spend() -> Role:
    """Return our part and be a mere launcher from then on: a part is played once."""
    global mine
    role, mine = mine, replace(mine, part="spent") if mine.part != "launcher" else mine
    return role

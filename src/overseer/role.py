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
    binary: str = ""  # of an updater: the public path of the program
    lock: int | None = None  # and the descriptor that holds the lock of its store


def _take() -> Role:
    names = (wire.ROLE, wire.TOKEN, wire.BINARY, wire.LOCK)
    part, token, binary, lock = (os.environ.pop(name, "") for name in names)
    channel = wire.take_channel(os.environ)
    if not part or channel is None:
        return Role()
    if lock:
        os.set_inheritable(int(lock), False)
    return Role(part, channel, token, binary, int(lock) if lock else None)


mine = _take()
"""Ours; whoever has played the part calls `spend`."""

argv = tuple(sys.argv)
"""The arguments as they were at import: programs change theirs."""

environ = dict(os.environ)
"""The environment as it was at import: what a program adds to its own, the next one adds anew."""


def _folder() -> str:
    """Return where we stand, by the name we were sent there with: a link may lead elsewhere tomorrow."""
    told = environ.get("PWD", "")
    try:
        return told if os.path.isabs(told) and os.path.samefile(told, ".") else os.getcwd()
    except OSError:
        return ""


folder = _folder()
"""The working directory as it was at import, or nothing where it cannot be named."""


def spend() -> Role:
    """Return our part and be a mere launcher from then on: a part is played once."""
    global mine
    role, mine = mine, replace(mine, part="spent") if mine.part != "launcher" else mine
    return role

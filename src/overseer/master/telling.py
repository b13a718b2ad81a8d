"""Events told to whoever asked for them, as fast as he reads, and never faster.

Nothing is queued for a reader beyond a few lines: a caller has a place in the ring of events, and goes on
from there when his socket takes more. If the ring has meanwhile gone past it, he is told how many he has
missed. So a reader who stands still costs the master nothing, however long that takes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overseer.master.chronicle import Chronicle
    from overseer.master.control import Caller

_ROOM = 1 << 14
"""Bytes that may wait for a reader before no more is sent to him."""


def begin(caller: Caller, chronicle: Chronicle, after: object, *, follow: bool) -> None:
    """Take a request: events `after` a number, or all that are remembered; with `follow` those to come."""
    caller.at = chronicle.first - 1
    if isinstance(after, int) and not isinstance(after, bool):
        caller.at = min(max(after, 0), chronicle.last)
    caller.follows = follow


def tell(caller: Caller, chronicle: Chronicle) -> None:
    """Send what he has not heard yet, as far as there is room; the end of it, if he does not follow."""
    while caller.at is not None and caller.channel.unsent <= _ROOM:
        if caller.at < chronicle.first - 1:
            missed, caller.at = chronicle.first - 1 - caller.at, chronicle.first - 1
            caller.channel.send({"type": "missed", "events": missed})
        elif caller.at < chronicle.last:
            caller.channel.send({"type": "event", **chronicle.event(caller.at + 1)})
            caller.at += 1
        elif caller.follows:
            return
        else:
            caller.channel.send({"type": "end", "last": caller.at})
            caller.at = None

"""Operators: what they ask on the control socket, and the answers they get."""

from __future__ import annotations

import os
import time

from overseer import wire
from overseer.facts import Asked, Wish
from overseer.master.control import MOST_ASKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from overseer.facts import Event, Outcome
    from overseer.master.control import Caller
    from overseer.master.estate import Estate
    from overseer.master.watch import Watch
    from overseer.wire import Malformed, Word

ANEW = "anew"
"""The name of a request for another master; it is answered by that one."""


class Operators:
    """Those who are connected; a wish becomes an event for the heart, and its answer comes back by name."""

    def __init__(
        self, estate: Estate, watch: Watch, feed: Callable[[Event], None], renew: Callable[[], None]
    ) -> None:
        """Listen to whoever is there and to whoever comes; `renew` asks for another master."""
        self._estate = estate
        self._watch = watch
        self._feed = feed
        self._renew = renew
        self._asked = 0  # requests so far
        if estate.control:
            watch.add(estate.control.listener, self._take)
            for caller in estate.control.callers.values():
                self._attend(caller)

    def answer(self, name: str, outcome: Outcome, detail: str) -> None:
        """Tell whoever asked under this name how it ended."""
        for caller in self._estate.control.callers.values() if self._estate.control else ():
            while name in caller.asked:
                caller.asked.remove(name)
                caller.channel.send({"type": "answer", "outcome": outcome.value, "detail": detail})

    def _take(self) -> None:
        if control := self._estate.control:
            if idle := control.surplus():
                self._watch.drop(idle.channel)
                control.drop(idle)
            if caller := control.accept():
                self._attend(caller)

    def _attend(self, caller: Caller) -> None:
        def heard(words: list[Word | Malformed] | None) -> None:
            if words is None:
                self._watch.drop(caller.channel)
                if self._estate.control:
                    self._estate.control.drop(caller)
            for word in words or []:
                self._serve(caller, word)
                if caller.channel.unsent > wire.MAX_LINE:  # it asks and does not listen
                    return heard(None)
            return None

        self._watch.add_channel(caller.channel, heard)

    def _serve(self, caller: Caller, word: Word | Malformed) -> None:
        match word:
            case {"type": "restart" | "stop"} if len(caller.asked) >= MOST_ASKED:
                reason = f"{MOST_ASKED} requests of this connection wait for their answers"
                caller.channel.send({"type": "error", "reason": reason})
            case {"type": "restart" | "stop" as wish}:
                self._asked += 1
                name = f"{os.getpid()}-{time.monotonic_ns()}-{self._asked}"
                caller.asked.append(name)
                self._feed(Asked(name, Wish(wish)))
            case {"type": "status"}:
                caller.channel.send({"type": "status", **self._estate.status(time.monotonic())})
            case {"type": "reexec"}:
                caller.asked.append(ANEW)
                self._renew()
            case wire.Malformed():
                caller.channel.send({"type": "error", "reason": str(word)})
            case _:
                reason = f"{word['type']!r} is none of restart, stop, status, reexec"
                caller.channel.send({"type": "error", "reason": reason})

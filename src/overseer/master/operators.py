"""Operators: what they ask on the control socket, and the answers they get."""

from __future__ import annotations

import os
import time

from overseer import wire
from overseer.facts import Asked, Failed, Outcome, Phase, Wish
from overseer.master import telling
from overseer.master.control import MOST_ASKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from overseer.facts import Event, Generation
    from overseer.master.control import Caller
    from overseer.master.estate import Estate
    from overseer.master.watch import Watch
    from overseer.wire import Malformed, Word

ANEW = "anew"
"""The name of a request for another master; it is answered by that one."""

UPDATERS = "u"
"""How the name of a request begins that the updater answers."""

KNOWN = (
    "restart",
    "stop",
    "status",
    "events",
    "reexec",
    "fetch",
    "hold",
    "unhold",
    "pin",
    "unpin",
    "rollback",
)


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
        if self._estate.control:
            self._estate.control.answer(name, outcome.value, detail)

    def tell_events(self) -> None:
        """Let those who want to hear of events hear of them, as fast as each of them reads."""
        control, chronicle = self._estate.control, self._estate.chronicle
        chronicle.look([text for text, _ in self._estate.listening.bound()], self._estate.updating.trouble)
        for caller in control.callers.values() if control else ():
            telling.tell(caller, chronicle)

    def updater_gone(self) -> None:
        """Nobody will answer what it was asked."""
        callers = self._estate.control.callers.values() if self._estate.control else ()
        for name in [name for caller in callers for name in caller.asked if name.startswith(UPDATERS)]:
            self.answer(name, Outcome.FAILED, "the updater ended before it was done; ask again")

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
            case {
                "type": "restart" | "stop" | "fetch" | "hold" | "unhold" | "pin" | "unpin" | "rollback"
            } if len(caller.asked) >= MOST_ASKED:
                reason = f"{MOST_ASKED} requests of this connection wait for their answers"
                caller.channel.send({"type": "error", "reason": reason})
            case {"type": "restart" | "stop" as wish}:
                name = self._name()
                caller.asked.append(name)
                self._feed(Asked(name, Wish(wish)))
            case {"type": "hold" | "unhold" | "pin" | "rollback" as wish, "release": str(release)}:
                self._pass_on(caller, wish, release)
            case {"type": "fetch" | "pin" | "unpin" | "rollback" as wish}:
                self._pass_on(caller, wish, "")
            case {"type": "status"}:
                caller.channel.send({"type": "status", **self._estate.status(time.monotonic())})
            case {"type": "reexec"}:
                caller.asked.append(ANEW)
                self._renew()
            case wire.Malformed():
                caller.channel.send({"type": "error", "reason": str(word)})
            case {"type": "events"} if caller.at is not None:
                reason = "events are told on this connection already"
                caller.channel.send({"type": "error", "reason": reason})
            case {"type": "events"}:
                follow = word.get("follow") is True
                telling.begin(caller, self._estate.chronicle, word.get("after"), follow=follow)
                self.tell_events()
            case _:
                reason = f"{word['type']!r} is none of {', '.join(KNOWN)}"
                caller.channel.send({"type": "error", "reason": reason})

    def _pass_on(self, caller: Caller, wish: str, release: str) -> None:
        """What concerns releases is the updater's; but what is on probation is ended by the heart."""
        trial = self._on_probation()
        if trial and (wish == "rollback" or (wish == "hold" and self._means(release, trial))):
            self._feed(Failed(trial.number, "an operator rolled it back"))
            detail = f"release {trial.release[:12]} is held; {self._estate.world.current[:12]} stays"
            caller.channel.send({"type": "answer", "outcome": "done", "detail": detail})
            return
        updater = self._estate.updating.child
        if updater is None or updater.leaving:
            reason = f"no updater runs: {self._why_none()}"
            caller.channel.send({"type": "answer", "outcome": "failed", "detail": reason})
            return
        name = UPDATERS + self._name()
        caller.asked.append(name)
        updater.channel.send({"type": wish, "release": release, "for": name})

    def _why_none(self) -> str:
        if self._estate.updating.lock is not None:
            return "it is started anew"
        if any(agreed.fetches for agreed in (self._estate.launched, *self._estate.settings.values())):
            off = "upgrades are off since this service was started; overseer doctor says why"
            return self._estate.updating.trouble or off
        return "the program has no fetcher"

    def _on_probation(self) -> Generation | None:
        world = self._estate.world
        return next(
            (
                g
                for g in reversed(world.generations)
                if g.release == world.wanted != world.current
                and g.phase is not Phase.DRAINING
                and not g.failed
            ),
            None,
        )

    def _name(self) -> str:
        self._asked += 1
        return f"{os.getpid()}-{time.monotonic_ns()}-{self._asked}"

    def _means(self, text: str, trial: Generation) -> bool:
        known = self._estate.settings.get(trial.number)
        return bool(text) and (trial.release.startswith(text) or bool(known and known.version == text))

"""The updater of the master: one process that may crash, hang or leak, kept running with backoff.

It runs the release that is current, never one on probation, and is replaced when another generation serves
that release, so that its configuration is never older than the program's.
"""

from __future__ import annotations

import os
from math import inf

from overseer import wire
from overseer.machine import ending
from overseer.master.journal import DEBUG, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from overseer.facts import World
    from overseer.master.children import Child, Children
    from overseer.master.journal import Journal
    from overseer.wire import Word

STOPPED, DONE = b"stopped", b"done"
"""How a release on probation may end without a fault: stopped by somebody, or as a command that is done."""

_NAMED = 200  # letters of what it is doing, and with what
_LONGEST = 60.0  # seconds between two tries
_SOUND = 60.0  # seconds of life after which an end is the first again


class Updating:
    """Whether there is an updater, for which generation, and when the next may be started."""

    def __init__(
        self, children: Children, journal: Journal, binary: str, lock: int | None, stopped: str
    ) -> None:
        """Take the public path of the program and its store's lock; without that, no upgrades."""
        self.binary = binary
        self.lock = lock
        self.stopped = stopped  # where the next start looks whether the last one was ended on purpose
        self.child: Child | None = None
        self.generation = 0
        self.reasons: dict[str, str] = {}  # why releases are held
        self.trouble = ""  # why no releases can be had at present
        self.ailment = ""  # of what kind that is
        self.progress: dict[str, Any] | None = None  # what it is doing with a release, while it is
        self.looked = 0.0  # when the source was last asked with success; seconds since the epoch
        self.died: Callable[[str], None] = lambda _: None  # is told of an end that nobody asked for
        self.owed: list[Word] = []  # what the next one has to be told
        self._children = children
        self._journal = journal
        self._failures = 0
        self._not_before = -inf

    def keep(
        self, argv: Sequence[str], environ: Mapping[str, str], generation: int, now: float
    ) -> Child | None:
        """Make sure the updater is that of `generation`; return a child that was started for it."""
        if self.child:
            if generation != self.generation and not self.child.leaving and not self._publishing:
                self.stop()
            return None
        if now < self._not_before or self.lock is None:
            return None
        environ = {**environ, wire.BINARY: self.binary}
        try:
            self.child = self._children.spawn(argv, environ, "updater", now, {wire.LOCK: self.lock})
        except OSError as error:
            self._journal.say(f"the updater could not be started: {error.strerror}", WARNING)
            self._fail(now)
            return None
        self.generation = generation
        return self.child

    @property
    def _publishing(self) -> bool:
        """Whether a word is out whose answer is worth waiting for."""
        return bool(self.owed)

    def alarm(self, now: float) -> float:
        """Return when the next one may be started; inf when nothing is waited for."""
        return self._not_before if self.child is None and self._not_before > now else inf

    def tell(self, word: Word) -> None:
        """Say something about a release that the store has to remember, now or to the next updater."""
        if word["type"] in ("promote", "install"):
            self.owed = [word]
        if self.child and self.child.greeted:
            self.child.channel.send(word)

    def greeted(self, child: Child, current: str, world: World) -> None:
        """It has looked into its store: tell it what it does not know."""
        child.greeted = True
        for release in sorted(world.held):
            reason = self.reasons.get(release, "failed before")
            child.channel.send({"type": "reject", "release": release, "reason": reason})
        if current not in ("", world.current) and not self.owed:
            self.owed = [{"type": "promote", "release": world.current}]
        for word in self.owed:
            child.channel.send(word)

    def goes_on(self, child: Child, word: Word) -> None:
        """It tells what it is doing, and how much of it is done; without a step it does nothing any more."""
        if child is not self.child:
            return
        numbers = {part: word[part] for part in ("arrived", "size") if _is_size(word.get(part))}
        told = {"step": word["step"][:_NAMED], "name": str(word.get("name", ""))[:_NAMED]}
        self.progress = {**told, "arrived": 0, "size": None, **numbers} if word["step"] else None

    def published(self, child: Child) -> None:
        """What was asked for is on disk."""
        if child is self.child:
            self.owed = []

    def ended(self, child: Child, status: int, now: float) -> None:
        """It has gone; unasked, the next one waits, longer each time."""
        if child is not self.child:
            return
        self.child = self.progress = None
        if child.leaving:
            return
        if now >= child.born + _SOUND:
            self._failures = 0
        self._fail(now)
        wait = self._not_before - now
        self.trouble = f"the updater ended unasked: {ending(status)}"
        self.ailment = "updater"
        self.died(ending(status))
        self._journal.say(f"the updater ended unasked: {ending(status)}; the next in {wait:g} s", WARNING)

    def stop(self) -> None:
        """Ask it to leave: the end of its channel says so."""
        if self.child and not self.child.leaving:
            self.child.leaving = True
            self.child.hang_up()
            self._journal.say("the updater is asked to leave", DEBUG)

    def leave_note(self, how: bytes) -> None:
        """Leave a note for the next start: how the release on probation ended, which was not its fault.

        It is all that the master ever writes: there may be no updater yet that could.
        """
        try:
            fd = os.open(self.stopped, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            with open(fd, "wb") as file:
                file.write(how)
        except OSError as error:
            self._journal.say(f"{self.stopped} cannot be written: {error.strerror}", WARNING)

    def _fail(self, now: float) -> None:
        self._failures += 1
        self._not_before = now + min(_LONGEST, 2.0 ** min(self._failures - 1, 6))


def _is_size(told: object) -> bool:
    return type(told) is int and 0 <= told < 1 << 63

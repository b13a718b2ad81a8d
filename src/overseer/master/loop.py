"""The master's loop: wait for one thing, tell the heart, do what it says.

There is one wait with one deadline. Everything that happens becomes an event for `machine.step`, and every
action that comes back is done by a module of its own; a failure of mechanism is an event again. Nothing is
decided here.
"""

from __future__ import annotations

import os
import signal
import time
from math import inf

from overseer import machine, wire
from overseer.facts import (
    Action,
    Admit,
    Answer,
    Asked,
    Drain,
    Event,
    Exit,
    Exited,
    Finish,
    GiveUp,
    Halt,
    Install,
    Kill,
    Life,
    Outcome,
    Phase,
    Presume,
    Promote,
    Restarts,
    Serve,
    Spawn,
    Stage,
    Start,
    Tick,
    Wish,
)
from overseer.master import fdstore, foreign, hearing, succession
from overseer.master import signals as signalling
from overseer.master.journal import DEBUG, ERROR, INFO, WARNING
from overseer.master.operators import ANEW, Operators
from overseer.master.updating import DONE, STOPPED
from overseer.master.upwards import Upwards
from overseer.master.watch import Watch
from overseer.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overseer.facts import Request, World
    from overseer.master.children import Child
    from overseer.master.estate import Estate
    from overseer.settings import Settings
    from overseer.wire import Malformed, Word

_NO_PROCESS = 71
"""The status of a worker that could not even be forked (EX_OSERR, sysexits.h)."""


class Master:
    """The loop itself; what it works on is its `estate`."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self._say = estate.journal.say
        self._watch = Watch()
        self._upwards = Upwards(os.environ, estate.journal)
        self._events: list[Event] = []
        self._told = self.estate.world.unserved  # the last generation whose failure was told
        self._restart_signal = 0
        self._heir: tuple[str, str] | None = None  # the next master: its interpreter and its package
        self._refused = {VERSION}  # versions of overseer that are not worth a trial
        estate.signals.take(*signalling.STOP, *signalling.HALT, *signalling.FORWARDED)
        if not estate.job:
            estate.signals.take(*signalling.TERMINAL)
        self._apply(estate.settings.get(self._serving(), estate.launched))
        self._watch.add(estate.signals, self._take_signals)
        if estate.fdstore.fileno() >= 0:
            self._watch.add(estate.fdstore, estate.fdstore.sweep)
        for child in estate.children.by_pid.values():
            self._listen_to(child)
        self._operators = Operators(estate, self._watch, self._feed, self._renew)

    def run(self) -> int:
        """Go on until the last generation has left; return the program's status."""
        self._operators.answer(ANEW, Outcome.DONE, f"the master has started anew, version {VERSION}")
        self._reap()  # whoever ended while the master became this one
        self._feed(Tick())
        while self.estate.world.life is not Life.DONE:
            self._keep_updater()
            self._upwards.tell(self.estate, time.monotonic())
            if self._heir:
                self._succeed(*self._heir)
            now = time.monotonic()
            alarm = min(foreign.alarm(self.estate), self._upwards.alarm(self.estate.world))
            alarm = min(alarm, machine.alarm(self.estate.world, now), self.estate.updating.alarm(now))
            self._watch.wait(None if alarm == inf else max(0.0, alarm - now))
            foreign.watch_over(self.estate, time.monotonic())
            self._feed(Tick())
            fdstore.hand_over(self.estate)
            self.estate.journal.flush()
        self._say(f"exits: {machine.ending(self.estate.world.status)}", DEBUG)
        world = self.estate.world
        if world.heir and world.wanted != world.current:  # stopped by somebody: no fault of the release
            self.estate.updating.leave_note(STOPPED)
        elif world.status == 0 and world.wanted != world.current:  # a command that came to its end
            self.estate.updating.leave_note(DONE)
        self.estate.updating.stop()
        self.estate.listening.close(lasting=bool(self.estate.kept))
        if self.estate.control:
            self.estate.control.close()
        return self.estate.world.status

    # -- what happens --------------------------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        """Tell the heart and do what it says; what fails meanwhile is told to it next."""
        self._events.append(event)
        while self._events:
            before, event, now = self.estate.world, self._events.pop(0), time.monotonic()
            self.estate.world, actions = machine.step(before, event, now)
            self.estate.chronicle.take(before, event, actions, now)
            for action in actions:
                self._do(action, now)
            self._notice(before)
        self._operators.tell_events()

    def _notice(self, before: World) -> None:
        """What became true in this step, and matters outside of the heart."""
        for release in sorted(self.estate.world.held - before.held):
            failed = (g.failed for g in self.estate.world.generations if g.release == release and g.failed)
            reason = next(failed, self.estate.world.reason)
            self.estate.updating.reasons[release] = reason
            self._say(f"release {release[:12]} is held, and not started again by itself: {reason}", WARNING)
            word = {"type": "reject", "release": release, "reason": reason}
            self.estate.updating.tell({**word, "in_use": self._in_use()})
        for n in {g.number for g in before.generations} - {g.number for g in self.estate.world.generations}:
            self.estate.settings.pop(n, None)
            self.estate.editions.pop(n, None)
            self.estate.listening.forget(n)
        if self._serving() and self.estate.world.generations is not before.generations:
            for text in self.estate.listening.close_unused():
                self._say(f"{text} is closed: no generation listens there any more")

    def _take_signals(self) -> None:
        for number in self.estate.signals.read():
            self._say(f"takes {signal.strsignal(number)} ({number})", DEBUG)
            if number == signal.SIGCHLD:
                self._reap()
            elif number in signalling.HALT or (number == signal.SIGINT and self.estate.interrupted):
                self._feed(Halt())
            elif number in signalling.STOP:
                self.estate.interrupted |= number == signal.SIGINT
                self._feed(Asked("", Wish.STOP))
            elif number == self._restart_signal:
                self._feed(Asked("", Wish.RESTART))
            else:
                self._forward(number)

    def _forward(self, number: int) -> None:
        """To whoever is ready. Who is not may not know the signal yet and would die of it: it waits."""
        world = self.estate.world
        n = self._serving() or world.started
        workers = (w for g in world.generations if g.number == n for w in g.workers)
        ready = [w.number for w in workers if w.stage is Stage.READY]
        for child in self._workers(n):
            if child.worker in ready:
                child.signal(number)
        if not ready and number not in self.estate.owed:
            self.estate.owed.append(number)

    def _reap(self) -> None:
        now = time.monotonic()
        for child, status in self.estate.children.reap(self._tell_leftover):
            for words in child.channel.rest():  # its last words come before its end
                self._hear(child, words)
            self._watch.drop(child.channel)
            child.channel.close()
            if child.mail:
                self._read_mail(child)
                self._watch.remove(child.mail)
                child.mail.close()
            hearing.tell_noise(self.estate, child)
            if not child.generation:
                self.estate.updating.ended(child, status, now)
                self._operators.updater_gone()
                continue
            g = next((g for g in self.estate.world.generations if g.number == child.generation), None)
            how = f"after {now - child.born:.2f} s: {machine.ending(status)}"
            if g is None or g.phase is Phase.DRAINING or child.killed:
                running = self.estate.world.life is Life.RUNNING
                self._say(f"{child.name} left {how}", INFO if running else DEBUG)
            else:
                done = status == 0 and hearing.is_command(self.estate.world, g)
                level = DEBUG if done and not foreign.was_to_serve(self.estate, child, g.phase) else WARNING
                self._say(f"{child.name} ended unasked while {g.phase.value}, {how}", level)
            meant = foreign.judge(self.estate, child, status)
            self._feed(Exited(child.generation, child.worker, meant))

    def _tell_leftover(self, child: Child) -> None:
        self._say(f"{child.name} has ended, others of its process group have not: they are asked to")
        child.hurry_company()

    def _listen_to(self, child: Child) -> None:
        child.channel.takes = child.generation > 0
        self._watch.add_channel(child.channel, lambda words: self._hear(child, words or []))
        if child.mail:
            self._watch.add(child.mail, lambda: self._read_mail(child))

    def _read_mail(self, child: Child) -> None:
        for event in foreign.read(self.estate, child):
            self._feed(event)

    def _hear(self, child: Child, words: list[Word | Malformed]) -> None:
        hear = hearing.hear_worker if child.generation else hearing.hear_updater
        for word in words:
            if event := hear(self.estate, child, word):
                self._feed(event)
        child.channel.drop_fds()
        if hearing.is_tiresome(child):
            self._watch.mute(child.channel)

    # -- what to do ----------------------------------------------------------------------------------------

    def _do(self, action: Action, now: float) -> None:  # noqa: C901, PLR0912 - a table
        estate, first = self.estate, self.estate.world.started <= 1
        match action:
            case Start(n, release):
                self._say(f"generation {n} starts, release {release[:12]}", DEBUG if first else INFO)
            case Spawn(n, w, release):
                self._spawn(n, w, release, now)
            case Admit(n, w):
                for child in self._workers(n, w):
                    self._welcome(child)
            case Presume(n, w):
                self._say(f"worker {w} of generation {n} has been alive long enough to count as ready", DEBUG)
                for child in self._workers(n, w):
                    foreign.serves(child, now)
            case Serve(n):
                age = now - min((child.born for child in self._workers(n)), default=now)
                self._say(f"generation {n} serves, {age:.2f} s after its start", DEBUG if first else INFO)
                self._apply(estate.settings.get(n, estate.launched))
                for failure in estate.listening.settle(n):
                    self._say(failure, WARNING)
                while estate.owed:
                    self._forward(estate.owed.pop(0))
                self._consider_heir(n)
            case GiveUp(n, reason):
                self._say(f"generation {n} is given up: {reason}", WARNING)
            case Drain(n):
                self._say(f"generation {n} drains", INFO if self.estate.world.life is Life.RUNNING else DEBUG)
                for child in self._workers(n):
                    self._ask_to_leave(child)
            case Kill(n, w, reason):
                for child in self._workers(n, w):
                    self._say(f"{child.name} is killed {now - child.born:.2f} s old: {reason}", WARNING)
                    child.killed = True
                    child.end()
            case Promote(n, release):
                self._say(f"release {release[:12]} is current: generation {n} has served its probation")
                estate.updating.tell({"type": "promote", "release": release, "in_use": self._in_use()})
                self._consider_heir(n)
            case Install(release):
                self._say(f"release {release[:12]} is to be installed; the next start takes it")
                estate.updating.tell({"type": "install", "release": release})
            case Answer(request, outcome, detail):
                self._answer(request, outcome, detail)
            case Finish(status):
                self._say(
                    f"nobody serves any more: the master ends, {machine.ending(status)}",
                    ERROR if status else DEBUG,
                )
            case Exit():
                pass  # the loop sees that life is done

    def _spawn(self, n: int, w: int, release: str, now: float) -> None:
        argv, environ = self.estate.command(release)
        try:
            child = self.estate.children.spawn(argv, environ, "program", now)
        except OSError as error:
            self._say(f"generation {n}: no process could be started: {error.strerror}", WARNING)
            self._events.append(Exited(n, w, _NO_PROCESS))
            return
        child.generation, child.worker = n, w
        child.several = self.estate.world.policy.workers > 1
        self._listen_to(child)

    def _welcome(self, child: Child) -> None:
        """Let a worker in: who it is, and its listeners, in as many messages as the kernel needs."""
        child.let_in = True
        fds = [sock.fileno() for sock in self.estate.listening.of(child.generation)]
        release = next(g.release for g in self.estate.world.generations if g.number == child.generation)
        word = {"generation": child.generation, "worker": child.worker, "release": release}
        how = foreign.settings_of(self.estate, child)
        if how.runs and (mail := foreign.open_mail(child)):
            word["notify"], child.watchdog = foreign.name_of(mail), how.watchdog
            self._watch.add(mail, lambda: self._read_mail(child))
        if how.runs:
            stored, word["stored"] = fdstore.give_all(self.estate, child)
            fds += stored
        child.channel.send({"type": "welcome", **word, "fds": len(fds)}, fds[: wire.MAX_FDS])
        for at in range(wire.MAX_FDS, len(fds), wire.MAX_FDS):
            child.channel.send({"type": "listeners"}, fds[at : at + wire.MAX_FDS])

    def _ask_to_leave(self, child: Child) -> None:
        child.leaving = True
        if foreign.ask_to_leave(self.estate, child):
            return
        child.channel.send({"type": "drain", "stops": self.estate.world.life is not Life.RUNNING})
        if not child.greeted or child.channel.ended:  # it cannot hear us: not yet, or not any more
            child.signal(signal.SIGTERM)

    def _apply(self, settings: Settings) -> None:
        """The restart signal and what is logged follow whoever serves."""
        number, before = settings.restart_signal, self._restart_signal
        self._restart_signal = number
        self.estate.signals.take(number)
        if number != before and signal.getsignal(number) is signal.SIG_IGN:
            self._say(f"signal {number} was ignored at our start: restarts by signal are off", WARNING)
        self.estate.journal.level = DEBUG if settings.debug else ERROR if settings.no_warn else INFO

    def _keep_updater(self) -> None:
        """One updater, of the release that is current, if whoever serves has a fetcher."""
        serving = machine.newest(self.estate.world, Phase.SERVING)
        if serving is None and self.estate.world.policy.restarts is Restarts.NEVER:
            serving = machine.newest(self.estate.world, Phase.STARTING)  # a command may be done at once
        if serving is None or self.estate.world.life is not Life.RUNNING:
            return
        if not self.estate.settings.get(serving.number, self.estate.launched).fetches:
            self.estate.updating.stop()
            return
        updating = self.estate.updating
        on_probation = serving.release != self.estate.world.current
        generation = updating.generation if on_probation else serving.number
        argv, environ = self.estate.command(self.estate.world.current)
        if child := updating.keep(argv, environ, generation, time.monotonic()):
            self._listen_to(child)

    def _answer(self, request: Request, outcome: Outcome, detail: str) -> None:
        self._operators.answer(request.name, outcome, detail)
        for child in self.estate.children.by_pid.values():
            if request.name == f"p{child.pid}":
                child.channel.send({"type": "answer", "outcome": outcome.value, "detail": detail})
        if (
            outcome is Outcome.FAILED and self.estate.world.unserved != self._told
        ):  # once, however many have asked
            self._told = self.estate.world.unserved
            serving = self._serving()
            stays = f"; generation {serving} serves on" if serving else ""
            self._say(f"a restart failed: {detail}{stays}", WARNING)

    # -- the next master -----------------------------------------------------------------------------------

    def _consider_heir(self, n: int) -> None:
        """A committed release that brings another overseer brings another master, too (D19)."""
        g = next((g for g in self.estate.world.generations if g.number == n), None)
        version, package, python = self.estate.editions.get(n, (VERSION, "", ""))
        known = version not in self._refused and python and package
        if g and g.release == self.estate.world.current and known:
            self._refused.add(version)
            self._say(f"generation {n} brings overseer {version}: the master, {VERSION}, becomes that")
            self._heir = (python, package)

    def _renew(self) -> None:
        self._heir = (self.estate.python, os.path.dirname(os.path.dirname(__file__)))

    def _succeed(self, python: str, package: str) -> None:
        self._heir = None
        mask = signalling.block()
        while self.estate.signals.waiting():  # came before, and would be lost with this process image
            signalling.restore(mask)
            self._take_signals()
            mask = signalling.block()
        state = self.estate.as_state()
        failure = succession.become(state | {"python": python}, python, package, self.estate.descriptors())
        signalling.restore(mask)
        self._say(f"the master stays as it is, {VERSION}: {failure}", WARNING)
        self.estate.chronicle.not_renewed(failure)
        self._operators.answer(ANEW, Outcome.FAILED, failure)

    # -- who is who ----------------------------------------------------------------------------------------

    def _serving(self) -> int:
        serving = machine.newest(self.estate.world, Phase.SERVING)
        return serving.number if serving else 0

    def _in_use(self) -> list[str]:
        """Return the releases whose files have to stay, whatever the store thinks of them."""
        world = self.estate.world
        return sorted({g.release for g in world.generations} | {world.wanted})

    def _workers(self, n: int, w: int = 0) -> list[Child]:
        children = self.estate.children.by_pid.values()
        return [child for child in children if child.generation == n and w in (0, child.worker)]

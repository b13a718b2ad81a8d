"""All that a master has, and how it goes from one master to the next.

The launcher leaves a state for the first master as a master leaves one for its successor; there is one format
and one way to read it.
"""

from __future__ import annotations

import os
import socket

from overseer import machine, settings, sockets, wire
from overseer.errors import ProtocolError
from overseer.facts import Phase, World
from overseer.master import memory
from overseer.master.children import Child, Children
from overseer.master.chronicle import BOUNDS, Chronicle
from overseer.master.control import Control
from overseer.master.fdstore import FdStore
from overseer.master.journal import Journal
from overseer.master.listening import Listening
from overseer.master.signals import Signals
from overseer.master.updating import Updating
from overseer.master.upwards import NOT_FOR_CHILDREN
from overseer.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FORMAT = 1
"""The version of the state; a master reads its own and older ones."""

_SHOWN = 5
"""Events in a status."""

_TIMES = ("ready_timeout", "terminate_timeout", "probation")


class Estate:
    """The parts of a master, each of which does one job, and the tables they share."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        """Take over what a state describes. Raises `ProtocolError` where it cannot be read."""
        self.world = read_world(state)
        self.name: str = state["name"]  # of the program, for people
        self.python: str = state["python"]
        self.args: list[str] = state["args"]  # the program's own
        self.job: bool = state["job"]  # of an interactive terminal
        self.reaper: bool = state["reaper"]
        self.began: float = state["began"]  # seconds since the epoch
        self.launched = settings.from_data(state["settings"])
        self.releases: dict[str, dict[str, Any]] = state[
            "releases"
        ]  # what to execute for each: argv, environ
        self.settings = {int(n): settings.from_data(data) for n, data in state["agreed"].items()}
        self.editions: dict[int, list[str]] = {int(n): list(e) for n, e in state["editions"].items()}
        self.signals = Signals()
        self.journal = Journal()
        self.listening = Listening(
            (text, sockets.adopt(fd, file=tuple(file) if file else None))
            for text, fd, file in state["sockets"]
        )
        for n, texts in state["users"].items():
            self.listening.claim(int(n), texts)
        self.fdstore = FdStore(state.get("stored", ()))
        self.kept: set[str] = set(state.get("kept", ()))  # listeners that the manager above keeps, by name
        self.unwanted: set[str] = set(state.get("unwanted", ()))  # and what it need not keep any more
        self.folder: str = state.get("folder", "")
        self.interrupted: bool = state.get("interrupted", False)  # the next SIGINT is the second
        self.owed: list[int] = list(state.get("owed", ()))  # signals for whoever serves next
        self.children = Children(self.signals, job=self.job, reaper=self.reaper, folder=self.folder)
        self.chronicle = Chronicle(state.get("chronicle"))
        if before := state.get("overseer"):
            self.chronicle.renewed(str(before))
        else:
            self.chronicle.add("launched", pid=os.getpid(), overseer=VERSION)
        self.updating = Updating(
            self.children, self.journal, state["binary"], _own(state["lock"]), state["stopped"]
        )
        self.updating.reasons = dict(state.get("reasons", {}))
        self.updating.trouble = str(state.get("trouble", ""))
        self.updating.ailment = str(state.get("ailment", ""))
        self.updating.looked = float(state.get("looked", 0.0))
        self.updating.progress = state.get("progress")
        self.updating.died = self.chronicle.died
        for left in state["children"]:
            self._adopt(left)
        self.control: Control | None = None
        if state["control"] is not None:
            fd, file = state["control"]
            self.control = Control(sockets.adopt(fd, file=tuple(file) if file else None))
            followed = {fd: (at, follows) for fd, at, follows in state.get("followers", ())}
            for fd, rest, queued, asked in state["callers"]:
                channel = wire.Channel(_socket(fd), rest.encode("latin-1"), queued.encode("latin-1"))
                caller = self.control.adopt(channel, asked)
                if fd in followed:
                    caller.at, caller.follows = followed[fd]

    def _adopt(self, left: dict[str, Any]) -> None:
        sock = _socket(left["channel"])
        channel = wire.Channel(sock, left["rest"].encode("latin-1"), left["queued"].encode("latin-1"))
        channel.fds = list(left.get("fds", ()))
        child = Child(left["pid"], channel, left["born"], leads=left["leads"])
        for name in _KEPT:
            setattr(child, name, left.get(name, getattr(child, name)))
        if left.get("mail") is not None:
            child.mail = _socket(left["mail"])
        self.children.by_pid[child.pid] = child
        if not child.generation:
            self.updating.child, self.updating.generation = child, left["updates"]

    def as_state(self) -> dict[str, Any]:
        """Return everything as data; the descriptors in it are to be kept open."""
        callers = self.control.callers.values() if self.control else ()
        return {
            "format": FORMAT,
            "overseer": VERSION,
            "name": self.name,
            "python": self.python,
            "args": self.args,
            "job": self.job,
            "reaper": self.reaper,
            "folder": self.folder,
            "owed": self.owed,
            "interrupted": self.interrupted,
            "began": self.began,
            "settings": settings.to_data(self.launched),
            "world": memory.to_json(self.world),
            "releases": self.releases,
            "binary": self.updating.binary,
            "lock": self.updating.lock,
            "stopped": self.updating.stopped,
            "reasons": self.updating.reasons,
            "trouble": self.updating.trouble,
            "ailment": self.updating.ailment,
            "looked": self.updating.looked,
            "progress": self.updating.progress,
            "chronicle": self.chronicle.as_state(),
            "agreed": {str(n): settings.to_data(agreed) for n, agreed in self.settings.items()},
            "editions": {str(n): edition for n, edition in self.editions.items()},
            "sockets": [
                [text, sock.fileno(), sockets.file_of(sock)] for text, sock in self.listening.bound()
            ],
            "stored": self.fdstore.as_state(),
            "kept": sorted(self.kept),
            "unwanted": sorted(self.unwanted),
            "users": {str(n): texts for n, texts in self.listening.users().items()},
            "children": [self._leave(child) for child in self.children.by_pid.values()],
            "control": self._leave_control(),
            "callers": [
                [c.channel.fileno(), _text(c.channel.lines.rest), _text(c.channel.queued), c.asked]
                for c in callers
            ],
            "followers": [[c.channel.fileno(), c.at, c.follows] for c in callers if c.at is not None],
        }

    def _leave_control(self) -> list[Any] | None:
        listener = self.control.listener if self.control else None
        return [listener.fileno(), sockets.file_of(listener)] if listener else None

    def _leave(self, child: Child) -> dict[str, Any]:
        return {
            "pid": child.pid,
            "channel": child.channel.fileno(),
            "rest": _text(child.channel.lines.rest),
            "queued": _text(child.channel.queued),
            "fds": child.channel.fds,
            "born": child.born,
            "leads": child.leads,
            "updates": self.updating.generation,
            "mail": child.mail.fileno() if child.mail else None,
            **{name: getattr(child, name) for name in _KEPT},
        }

    def descriptors(self) -> list[int]:
        """Return every descriptor the next master needs."""
        found = [sock.fileno() for _, sock in self.listening.bound()]
        found += [child.channel.fileno() for child in self.children.by_pid.values()]
        found += [entry.fd for entry in self.fdstore.entries]
        found += [fd for child in self.children.by_pid.values() for fd in child.channel.fds]
        found += [child.mail.fileno() for child in self.children.by_pid.values() if child.mail]
        if self.updating.lock is not None:
            found.append(self.updating.lock)
        if self.control:
            found += [self.control.listener.fileno()]
            found += [caller.channel.fileno() for caller in self.control.callers.values()]
        return found

    def learn(self, release: str, argv: list[str], environ: dict[str, str]) -> None:
        """Note how a release is started, and forget those that nobody will start any more."""
        world = self.world
        needed = {world.current, world.wanted, world.parked, world.installed}
        needed |= {g.release for g in world.generations}
        self.releases = {name: how for name, how in self.releases.items() if name in needed}
        self.releases[release] = {"argv": argv, "environ": environ}

    def command(self, release: str) -> tuple[list[str], dict[str, str]]:
        """Return what to execute for a release, and the environment it is to have."""
        known = self.releases[release]
        environ = {name: told for name, told in os.environ.items() if name not in NOT_FOR_CHILDREN}
        return [*known["argv"], *self.args], {**environ, **known["environ"]}

    def status(self, now: float) -> dict[str, Any]:
        """Return what an operator may want to know."""
        world = self.world
        newest = machine.newest(world, Phase.SERVING)
        serving = self.settings.get(newest.number, self.launched) if newest else self.launched
        return {
            "pid": os.getpid(),
            "overseer": VERSION,
            "name": self.name,
            "began": self.began,
            "current": world.current,
            "wanted": world.wanted,
            "held": sorted(world.held),
            "life": world.life.value,
            "generations": [
                {
                    "number": g.number,
                    "release": g.release,
                    "phase": g.phase.value,
                    "version": self.settings[g.number].version if g.number in self.settings else "",
                    "workers": [
                        {
                            "number": w.number,
                            "stage": w.stage.value,
                            "pid": child.pid,
                            "age": now - child.born,
                            "says": child.says,
                        }
                        for w in g.workers
                        for child in self.children.by_pid.values()
                        if (child.generation, child.worker) == (g.number, w.number)
                    ],
                }
                for g in world.generations
            ],
            "sockets": [text for text, _ in self.listening.bound()],
            "stored": len(self.fdstore.entries),
            "updater": self.updating.child.pid if self.updating.child else None,
            "reasons": {r: self.updating.reasons.get(r, "failed before") for r in sorted(world.held)},
            "trouble": self.updating.trouble,
            "ailment": self.updating.ailment,
            "looked": self.updating.looked,
            "progress": self.updating.progress,
            "store": os.path.dirname(self.updating.stopped),
            "binary": self.updating.binary,
            "args": self.args,
            "patience": {name: getattr(world.policy, name) for name in _TIMES},
            "source": [serving.source, serving.trust],
            "counts": self.chronicle.counts,
            "times": {**self.chronicle.times, "bounds": BOUNDS},
            "latest": self.chronicle.latest,
            "events": self.chronicle.latest_events(_SHOWN),
        }


_KEPT = (
    "leaving",
    "killed",
    "status",
    "generation",
    "worker",
    "several",
    "greeted",
    "let_in",
    "said_ready",
    "said_fail",
    "noise",
    "says",
    "watchdog",
    "fed",
    "goes",
)


def read_world(state: Mapping[str, Any]) -> World:
    """Read the world out of a state. Raises `ProtocolError` for one that this version cannot read."""
    if state.get("format", 0) > FORMAT:
        raise ProtocolError(f"state format {state['format']}; this master, {VERSION}, reads up to {FORMAT}")
    world = memory.from_json(state["world"])
    if not isinstance(world, World):
        raise ProtocolError("the state has no world in it")
    return world


def _socket(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    os.set_inheritable(fd, False)
    return sock


def _own(fd: int | None) -> int | None:
    if fd is not None:
        os.set_inheritable(fd, False)
    return fd


def _text(data: bytes) -> str:
    return data.decode("latin-1")

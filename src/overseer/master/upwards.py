"""What the service manager above us is told, exactly as sd_notify(3) has it.

    READY=1                          the first time that a generation serves, and at the end of each restart,
                                     also of one that failed: then the one before serves on
    RELOADING=1, MONOTONIC_USEC=     a generation has been started beside the one that serves
    STOPPING=1                       everybody drains
    STATUS=                          one line for `systemctl status`
    EXTEND_TIMEOUT_USEC=             how long a start or a stop may still take, where that has grown
    WATCHDOG=1                       twice in each interval, as long as somebody serves or is about to
    FDSTORE=1, FDNAME=, FDPOLL=0     here is a listener, to be kept for the next master (option `fdstore`);
                                     FDPOLL=0, for an error on it (of UDP, say) is not its end
    FDSTOREREMOVE=1, FDNAME=         it is not listened on any more

The master speaks for the service: it has the PID that the manager knows. Its children get none of this.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from math import inf

from overseer import notify
from overseer.facts import Life, Phase
from overseer.machine import newest
from overseer.master.journal import WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from overseer.facts import World
    from overseer.master.estate import Estate
    from overseer.master.journal import Journal

NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE")
"""Variables that are about the master."""

_LINE = 200
"""Letters of a reason in a status."""

_PATIENCE = 5.0
"""Seconds that we wait for a manager whose queue is full, or who is to close something."""

_GRACE = 5.0
"""Seconds that are asked for beside those which a generation may take: until all is reaped and told."""


class Upwards:
    """The socket of the manager, what it was told last, and when its watchdog wants to hear from us."""

    def __init__(self, environ: Mapping[str, str], journal: Journal) -> None:
        self._journal = journal
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._told: tuple[str, str] = ("", "")
        self._until = 0.0
        self._ready = False
        self._every = _watchdog(environ) / 2
        self._fed = -inf
        self._most = environ.get(
            "FDSTORE", ""
        )  # descriptors that the manager keeps; systemd tells from 254 on
        self._left = (-1, False)  # how often the listeners had changed, and whether they were left there
        if self._address is None:
            journal.say("NOTIFY_SOCKET is an address of a kind that is not known: nothing is told", WARNING)
            self._address = ""

    def alarm(self, world: World) -> float:
        """Return when the watchdog has to be fed."""
        return self._fed + self._every if self._address and _is_well(world) else inf

    def tell(self, estate: Estate, now: float) -> None:
        """Tell what has changed, if anybody listens, and leave the listeners there if that is wanted."""
        world = estate.world
        serving = newest(world, Phase.SERVING)
        wanted = estate.settings.get(serving.number if serving else 0, estate.launched).fdstore
        if self._left != (estate.listening.changes, wanted):
            self._left = (estate.listening.changes, wanted)
            self._leave_listeners(estate, wanted=wanted)
        if not self._address:
            return
        told = _state(world, ready=self._ready)
        said: dict[str, str] = {}
        if told != self._told:
            phase = told[0].partition(" ")[0]
            self._ready = self._ready or phase == "READY"
            said = {f"{phase}": "1"} if phase != "STARTING" else {}
            if phase == "RELOADING":
                said["MONOTONIC_USEC"] = str(int(now * 1e6))
            said["STATUS"] = told[1]
        until = _patience(world)
        if until > max(self._until, now) and until < inf:
            said["EXTEND_TIMEOUT_USEC"] = str(int((until - now + _GRACE) * 1e6))
        # More time for a start or a stop is more time for the watchdog, too, until it is fed the next time:
        # a master that hangs then shall not be found later than any other.
        due = now >= self._fed + self._every or "EXTEND_TIMEOUT_USEC" in said
        if self._every < inf and due and _is_well(world):
            said["WATCHDOG"] = "1"
            self._fed = now
        self._told, self._until = told, until
        if said:
            self._send(notify.write(said))

    def _leave_listeners(self, estate: Estate, *, wanted: bool) -> None:
        """Have the manager keep what is bound, if that is wanted, and nothing else of ours."""
        if not self._address:
            if wanted:
                self._journal.say(
                    "fdstore is asked for, and there is no service manager that keeps anything "
                    "(NOTIFY_SOCKET is not set): the listeners end with the master",
                    WARNING,
                )
            return
        lasting = estate.listening.lasting() if wanted else {}
        if self._most.isdecimal() and len(lasting) > int(self._most):
            self._journal.say(
                f"the service manager keeps {self._most} descriptors (FileDescriptorStoreMax=), and there "
                f"are {len(lasting)} listeners: the rest ends with the master",
                WARNING,
            )
        for name in (estate.kept | estate.unwanted) - (lasting.keys() - estate.unwanted):
            self._send(notify.write({"FDSTOREREMOVE": "1", "FDNAME": name}))
            estate.kept.discard(name)
        estate.unwanted = set()
        for name, sock in lasting.items():
            if name in estate.kept:
                continue
            if not notify.is_name(name):
                self._journal.say(f"{name} is too long a name for the service manager: not kept", WARNING)
            elif self._send(notify.write({"FDSTORE": "1", "FDPOLL": "0", "FDNAME": name}), sock.fileno()):
                estate.kept.add(name)

    def _send(self, data: bytes, *fds: int) -> bool:
        try:
            _send(self._address or "", data, *fds)
        except OSError as error:
            self._journal.say(f"the service manager could not be told: {error.strerror or error}", WARNING)
            return False
        return True


def give_up(environ: Mapping[str, str], names: Iterable[str]) -> None:
    """Have the manager close what it keeps under these names, and wait until it has.

    BARRIER=1 of sd_notify(3) tells when: it closes the descriptor that comes with that. Where nobody can be
    told, or nobody answers in time, nothing happens.
    """
    reader, writer = os.pipe()
    try:
        address = _address(environ.get("NOTIFY_SOCKET", "")) or ""
        for name in names:
            _send(address, notify.write({"FDSTOREREMOVE": "1", "FDNAME": name}))
        _send(address, notify.write({"BARRIER": "1"}), writer)
    except OSError:
        os.close(writer)
    else:
        os.close(writer)
        poll = select.poll()
        poll.register(reader, 0)  # POLLHUP comes unasked, when nobody has the other end any more
        poll.poll(_PATIENCE * 1000)
    finally:
        os.close(reader)


def _send(address: str, data: bytes, *fds: int) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as mail:
        mail.settimeout(_PATIENCE)
        mail.sendmsg([data], rights, 0, address)


def _address(text: str) -> str | None:
    """Return where notices go, nothing where none are wanted, None for a kind of socket that is not known."""
    if not text or text.startswith("/"):
        return text
    return f"\0{text[1:]}" if text.startswith("@") else None


def _watchdog(environ: Mapping[str, str]) -> float:
    """Return the seconds of the manager's watchdog, if it is about this process; else inf."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (usec.isdecimal() and int(usec)) or pid not in ("", str(os.getpid())):
        return inf
    return int(usec) / 1e6


def _state(world: World, *, ready: bool) -> tuple[str, str]:
    """Return in which phase the service is, with what makes two of them differ, and a line for people."""
    serving, starting = newest(world, Phase.SERVING), newest(world, Phase.STARTING)
    if world.life is not Life.RUNNING:
        return "STOPPING", "the program finishes what it has"
    if starting and (serving or ready):
        serves = f"generation {serving.number} serves, " if serving else ""
        return f"RELOADING {starting.number}", f"{serves}generation {starting.number} starts"
    if serving:
        failed = world.unserved > serving.number
        reason = " ".join(world.reason.split())[:_LINE]
        why = f"; generation {world.unserved} failed: {reason}" if failed else ""
        version = f", release {serving.release[:12]}"
        return f"READY {serving.number} {world.unserved}", f"generation {serving.number} serves{version}{why}"
    if ready:
        return "RELOADING 0", "nobody serves; the next generation is on its way"
    return "STARTING", "the first generation starts"


def _is_well(world: World) -> bool:
    """Whether somebody serves or is about to, or everybody is asked to leave."""
    serves = newest(world, Phase.SERVING) or newest(world, Phase.STARTING)
    return world.life is not Life.RUNNING or serves is not None


def _patience(world: World) -> float:
    """Return until when a start or a stop may last, by what the release asks for; 0 when there is neither."""
    if world.life is not Life.RUNNING:
        return max((g.until for g in world.generations), default=0.0)
    starting = newest(world, Phase.STARTING)
    return max((w.until for w in starting.workers if w.until < inf), default=0.0) if starting else 0.0

"""The words of the heart: what a world is made of, what can happen, and what can be done about it.

There is no logic here. A generation is a number, a release is a digest, a worker is a number within its
generation; nobody here has heard of a pid, a descriptor, a path or a clock. Times are seconds on a
monotonic clock that only the caller reads; `inf` means never.
"""

from __future__ import annotations

from enum import Enum
from math import inf

from overseer.values import value

Release = str
"""The SHA-256 of a verified release in the store, or a name for a program that runs where it stands."""


class Phase(Enum):
    """Where a generation is in its life."""

    STARTING = "starting"  # not all of its workers are ready
    SERVING = "serving"
    DRAINING = "draining"  # asked to leave; finishes what it has


class Stage(Enum):
    """Where a worker is in its life."""

    SPAWNED = "spawned"  # a process; it has not said hello
    WAITING = "waiting"  # said hello; has no listeners yet
    ADMITTED = "admitted"  # has its listeners; is not ready
    READY = "ready"
    KILLED = "killed"  # by us; its end is awaited


class Life(Enum):
    """Where the master is in its own life."""

    RUNNING = "running"
    STOPPING = "stopping"  # everybody drains
    HALTING = "halting"  # everybody is killed
    DONE = "done"


class Handover(Enum):
    """How a generation takes over from the one before."""

    OVERLAP = "overlap"  # started beside it, which drains only when the new one is ready
    SEQUENTIAL = "sequential"  # must be alone: started when it has left


class Restarts(Enum):
    """When a restart may happen."""

    ALWAYS = "always"
    NOT_AFTER_FETCH = "not-after-fetch"  # an upgrade is installed and waits for a restart by hand
    NEVER = "never"  # and the restart signal stops the program


@value
class Policy:
    """What a release asks for; it says so in its hello, so policy follows the release."""

    workers: int = 1
    handover: Handover = Handover.OVERLAP
    restarts: Restarts = Restarts.ALWAYS
    ready_after: float = 1.0  # seconds alive that count as ready; inf: only its own word counts
    ready_timeout: float = 60.0  # seconds to become ready
    terminate_timeout: float = 30.0  # seconds to finish connections
    probation: float = 30.0  # seconds to serve before a release becomes current
    max_draining: int = 4
    crash_limit: int = 5  # unexpected ends of workers in a row before the generation has failed
    crash_window: float = 60.0  # seconds without an unexpected end that make the next one the first


@value
class Worker:
    """One process of a generation."""

    number: int
    stage: Stage = Stage.SPAWNED
    until: float = inf  # when its patience ends: to be ready, or to be presumed so
    presumed: float = inf  # when being alive counts as ready


@value
class Generation:
    """One run of the program: one or several workers of one release."""

    number: int
    release: Release
    policy: Policy
    phase: Phase = Phase.STARTING
    until: float = inf  # when this phase has lasted long enough
    told: bool = False  # its own policy is known: a worker has said hello
    workers: tuple[Worker, ...] = ()
    spawned: int = 0  # workers so far
    crashes: int = 0  # unexpected ends of workers in a row
    crashed_at: float = -inf  # the last of them
    status: int = 0  # how it ended
    not_before: float = -inf  # when the next worker may be spawned
    failed: str = ""  # why it will not do


class Wish(Enum):
    """What can be asked for."""

    RESTART = "restart"
    STOP = "stop"


@value
class Request:
    """Somebody's wish; answered exactly once. A `name` of "" is a signal's: nobody waits for the answer."""

    name: str
    wish: Wish
    generation: int = 0  # no older one will do (restart)


class Outcome(Enum):
    """How a request ended."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"  # the master is stopping; the wish will not be granted


@value
class World:
    """All that the master knows. The status page, a crash dump and the next master get it as it is."""

    current: Release  # what a reboot would start
    wanted: Release  # what should be serving
    policy: Policy  # of whoever served last: what the next generation starts with
    life: Life = Life.RUNNING
    generations: tuple[Generation, ...] = ()  # oldest first
    started: int = 0  # generations so far
    requests: tuple[Request, ...] = ()
    held: frozenset[Release] = frozenset()  # failed once; never started again by themselves
    parked: Release = ""  # installed, and waiting for a restart by hand
    installed: Release = ""  # what was last put in the public place without being started
    failures: int = 0  # starts of the current release that came to nothing, in a row
    not_before: float = -inf  # when the next generation may be started
    unserved: int = 0  # the newest generation that failed before it served
    reason: str = ""  # why the last one failed, serving or not; it may be gone
    ended: int | None = None  # how the current release ended unasked, while nobody has served since
    heir: int = 0  # the generation whose end is the master's own
    status: int = 0  # of the heir: exit code, or minus a signal


# -- what happens ------------------------------------------------------------------------------------------


@value
class Hello:
    """A worker has said hello, and what its release asks for."""

    generation: int
    worker: int
    policy: Policy


@value
class Ready:
    """A worker serves."""

    generation: int
    worker: int


@value
class Exited:
    """A worker has ended: exit code, or minus the signal that killed it."""

    generation: int
    worker: int
    status: int


@value
class Failed:
    """A generation will not do: it said so itself, or something it needs could not be had."""

    generation: int
    reason: str


@value
class Extended:
    """A worker needs longer, to become ready or to leave: `seconds` from now, at least."""

    generation: int
    worker: int
    seconds: float


@value
class Staged:
    """A release was verified, checked and stored."""

    release: Release


@value
class Cleared:
    """The operator gave a held release another chance."""

    release: Release


@value
class Asked:
    """Somebody wants something."""

    name: str
    wish: Wish


@value
class Halt:
    """Stop now: no draining."""


@value
class Tick:
    """Time has passed."""


Event = Hello | Ready | Exited | Failed | Extended | Staged | Cleared | Asked | Halt | Tick

# -- what to do --------------------------------------------------------------------------------------------


@value
class Start:
    """Begin a generation; its workers are spawned one by one."""

    generation: int
    release: Release


@value
class Spawn:
    """Start one process."""

    generation: int
    worker: int
    release: Release


@value
class Admit:
    """Hand the listeners over: this worker may serve."""

    generation: int
    worker: int


@value
class Presume:
    """It has been alive long enough to count as ready."""

    generation: int
    worker: int


@value
class Serve:
    """All workers are ready: this generation serves."""

    generation: int


@value
class GiveUp:
    """This generation will not do."""

    generation: int
    reason: str


@value
class Drain:
    """Ask a generation to finish what it has and leave."""

    generation: int


@value
class Kill:
    """End a worker's whole process group, and say why."""

    generation: int
    worker: int
    reason: str


@value
class Promote:
    """Its release has served a whole probation: it is current now."""

    generation: int
    release: Release


@value
class Install:
    """Put a release in the public place without starting it."""

    release: Release


@value
class Answer:
    """Tell whoever asked how it ended."""

    request: Request
    outcome: Outcome
    detail: str


@value
class Finish:
    """The program ended by itself; so does the master."""

    status: int


@value
class Exit:
    """The last one has gone."""

    status: int


Action = (
    Start
    | Spawn
    | Admit
    | Presume
    | Serve
    | GiveUp
    | Drain
    | Kill
    | Promote
    | Install
    | Answer
    | Finish
    | Exit
)
Fact = Event | Action

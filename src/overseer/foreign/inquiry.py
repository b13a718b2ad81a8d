"""What a probe makes of what it sees. It decides, and does nothing: no socket, no process, no clock.

An inquiry is told one fact at a time (`hear`), and becomes the next one, perhaps with a line for the log. It
ends once, with the program being ready or with nobody waiting for it, and says nothing any more.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from enum import Enum
from math import inf

MOST_KNOCKS = 8
"""Connections of one try."""

_BAD = 400
"""The least status that is no good answer."""

_FORBIDDEN = {errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES, errno.EADDRNOTAVAIL, errno.ENETUNREACH}
"""What is said of a knock where walls do not let us, or not see who accepts; or where there is no way."""


class Phase(Enum):
    """Where an inquiry is."""

    ASKS = "asks"  # until the program answers, or accepts
    LIVES = "lives"  # it cannot be asked: it has to be alive for some time
    READY = "ready"  # and the master is to hear it
    OVER = "over"  # nobody waits for it


class Taken(Enum):
    """By whom knocks have been accepted that the program has not."""

    NOBODY = "nobody"
    UNSEEN = "unseen"  # each was closed before it was seen who has it
    OTHERS = "others"


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """All that is known, and how it was asked for. Without `alive` nothing but an answer counts."""

    url: str
    alive: float | None
    patience: float
    phase: Phase
    knocks: int = 1
    taken: Taken = Taken.NOBODY
    told: str = ""

    @property
    def ends(self) -> bool:
        """Whether there is nothing more to be seen."""
        return self.phase in (Phase.READY, Phase.OVER)


@dataclass(frozen=True)
class Word:
    """The master has said whether the program is ready, by whatever."""

    ready: bool


@dataclass(frozen=True)
class Left:
    """The program or the master has."""


@dataclass(frozen=True)
class Lived:
    """The program is there."""


@dataclass(frozen=True)
class Answered:
    """The program has accepted, and answered with this status."""

    status: int


@dataclass(frozen=True)
class Failed:
    """A try has."""

    number: int | None
    reason: str


@dataclass(frozen=True)
class Lost:
    """A knock is over, and the program has not accepted it."""

    seen: bool  # that somebody else has


@dataclass(frozen=True)
class Missed:
    """A try is over, of which knocks were lost."""

    hides: bool  # whether the program does, what it has accepted


Fact = Word | Left | Lived | Answered | Failed | Lost | Missed


def begin(url: str, *, patience: float, alive: float | None) -> Inquiry:
    """Begin to ask at `url`; where there is none, the program has to live."""
    return Inquiry(url=url, alive=alive, patience=patience, phase=Phase.ASKS if url else Phase.LIVES)


def hear(now: Inquiry, fact: Fact, age: float) -> tuple[Inquiry, str]:
    """Return what an inquiry becomes by a fact, `age` seconds after it began, and a line for the log."""
    if now.ends:
        return now, ""
    match fact:
        case Left() | Word(ready=True):
            return replace(now, phase=Phase.OVER), ""
        case Lived() if now.phase is Phase.LIVES and now.alive is not None and age >= now.alive:
            return replace(now, phase=Phase.READY), ""
    return _ask(now, fact, age) if now.phase is Phase.ASKS else (now, "")


def _ask(now: Inquiry, fact: Fact, age: float) -> tuple[Inquiry, str]:
    late = age > now.patience
    match fact:
        case Answered(status) if status < _BAD:
            return replace(now, phase=Phase.READY), ""
        case Answered(status):
            return _say(now, f"{now.url} answers with status {status}, which is not ready")
        case Lost(seen):
            others = seen or now.taken is Taken.OTHERS
            return replace(now, taken=Taken.OTHERS if others else Taken.UNSEEN), ""
        case Word() if late and not now.told and now.alive is not None and now.taken is not Taken.UNSEEN:
            return _say(
                now,
                f"the program has accepted nothing at {now.url}, its first address of TCP, and is ready "
                "when it does; --ready-url asks at another, and --ready alive asks nothing",
            )
        case Missed():
            now = replace(now, knocks=min(MOST_KNOCKS, now.knocks + 1))
    reason = _why_in_vain(now, fact, late=late)
    return _give_up(now, reason) if reason else (now, "")


def _why_in_vain(now: Inquiry, fact: Fact, *, late: bool) -> str:
    """Return why it is no use to ask here; an empty text if it may be."""
    match fact:
        case Failed(number, reason) if number in _FORBIDDEN:
            return reason
        case Failed(errno.ECONNREFUSED, reason) if now.alive is not None:
            return reason  # where it listens: this is another network (PrivateNetwork=)
        case Missed(hides=True):
            return "who accepts may not be seen, for want of CAP_SYS_PTRACE"
        case Missed() if late and now.taken is Taken.UNSEEN:
            return "each connection is closed before it is seen who has it"
    return ""


def _give_up(now: Inquiry, reason: str) -> tuple[Inquiry, str]:
    """Ask no more, where being alive counts instead; else go on, and have told why nothing may come of it."""
    if now.alive is not None:
        lives = f"it has been alive for {now.alive:g} s" if now.alive < inf else "it says READY=1"
        return _say(
            replace(now, phase=Phase.LIVES),
            f"knocking at {now.url} tells nothing here ({reason}): the program is ready when {lives}",
            warning=True,
        )
    if now.told:
        return now, ""
    return _say(
        now,
        f"{now.url} cannot be asked here ({reason}), and the program is ready when it answers",
        warning=True,
    )


def _say(now: Inquiry, text: str, *, warning: bool = False) -> tuple[Inquiry, str]:
    """Say what is not what has been said last."""
    line = f"warning: {text}" if warning else text
    return replace(now, told=line), "" if line == now.told else line

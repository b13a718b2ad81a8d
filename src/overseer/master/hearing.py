"""What children say, made into events; what means nothing is counted and logged, and does no harm."""

from __future__ import annotations

import os
import time
from math import inf

from overseer import wire
from overseer.errors import AddressError, ConfigError
from overseer.facts import Asked, Cleared, Event, Extended, Failed, Hello, Ready, Restarts, Staged, Wish
from overseer.master.fdstore import Entry
from overseer.master.journal import DEBUG, ERROR, INFO, WARNING
from overseer.notify import is_name
from overseer.settings import from_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from overseer.facts import Generation, World
    from overseer.master.children import Child
    from overseer.master.estate import Estate

_LOGGED = 10
"""Lines without meaning that are logged of one child; the rest is counted."""

_TIRESOME = 1000
"""Lines without meaning after which a child is not listened to any more."""

_TOLD = 1000
"""Letters of a reason that are kept; a worker may send more than anybody reads."""


def hear_worker(  # noqa: C901, PLR0911 - a table
    estate: Estate, child: Child, word: wire.Word | wire.Malformed
) -> Event | None:
    """Return what a worker's word means, if anything."""
    n, w = child.generation, child.worker
    if isinstance(word, wire.Malformed):
        _count(estate, child, word)
        return None
    match word:
        case {"type": "hello", "protocol": int(protocol), "config": dict(config)} if not child.greeted:
            child.greeted = True
            return _hello(estate, child, protocol, config, word)
        case {"type": "ready"} if child.let_in and not child.said_ready:
            child.said_ready = True
            child.fed = time.monotonic()
            return Ready(n, w)
        case {"type": "starting"} if child.let_in and not child.said_ready:
            return Extended(n, w, 0.0)  # no longer: it will say itself when it is ready
        case {"type": "alive"}:
            if child.fed < inf:
                child.fed = time.monotonic()
        case {"type": "fail", "reason": str(reason)} if not child.said_fail:
            child.said_fail = True
            estate.journal.say(f"{child.name} says that it will not do: {reason[:_TOLD]}", WARNING)
            return Failed(n, reason[:_TOLD])
        case {"type": "store", "name": str(name), "data": str(data)} if child.channel.fds:
            fd, owner = child.channel.fds.pop(0), (n, w)
            keep(estate, child, Entry(fd, name, data, owner, polled=bool(word.get("poll", True))))
        case {"type": "unstore", "name": str(name)}:
            estate.fdstore.remove(name, (n, w))
        case {"type": "restart"}:  # any number of them between two starts is one request
            return Asked(f"p{child.pid}", Wish.RESTART)
        case {"type": "stop"}:
            return Asked("", Wish.STOP)
        case _:
            _count(estate, child, word)
    return None


def keep(estate: Estate, child: Child, entry: Entry, *, by_file: bool = False) -> None:
    """Store a descriptor for the generation after, and say so if that cannot be."""
    if not is_name(entry.name):
        os.close(entry.fd)
        why = "it has no name that could be passed on"
    else:
        why = estate.fdstore.put(entry, by_file=by_file)
    if why:
        estate.journal.say(f"{child.name} stored {entry.name[:80]!r}, which is not kept: {why}", WARNING)


def _hello(
    estate: Estate, child: Child, protocol: int, config: dict[str, Any], word: wire.Word
) -> Hello | Failed:
    """The first worker of a generation speaks for its release: its addresses are bound first."""
    n = child.generation
    edition = [str(word.get(part, "")) for part in ("overseer", "package", "python")]
    try:
        if protocol > wire.PROTOCOL:
            raise ConfigError("overseer", f"speaks protocol {protocol}, not {wire.PROTOCOL}")  # noqa: TRY301
        settings = from_data(config)
        if n not in estate.settings:
            estate.listening.claim(n, settings.addresses)
            estate.settings[n] = settings
            estate.editions[n] = edition
            of = next((g.release for g in estate.world.generations if g.number == n), "")
            estate.chronicle.learn(of, settings.version)
    except (ConfigError, AddressError) as error:
        estate.journal.say(f"{child.name} cannot be let in: {error}", WARNING)
        return Failed(n, str(error))
    if not estate.settings[n].foreign.runs:  # a foreign one has it together with where to say it
        child.watchdog = estate.settings[n].foreign.watchdog
    policy = estate.settings[n].policy
    child.several = child.several or policy.workers > 1
    return Hello(n, child.worker, policy)


def hear_updater(  # noqa: C901, PLR0912 - a table
    estate: Estate, child: Child, word: wire.Word | wire.Malformed
) -> Event | None:
    """Return what the updater's word means, if anything."""
    if isinstance(word, wire.Malformed):
        _count(estate, child, word)
        return None
    match word:
        case {"type": "staged", "release": str(release), "argv": [str(), *_] as argv}:
            told = word.get("environ")
            environ = {str(k): str(v) for k, v in told.items()} if isinstance(told, dict) else {}
            estate.learn(release, [str(item) for item in argv], environ)
            estate.chronicle.learn(release, str(word.get("version") or ""))
            version = word.get("version") or "not told"
            estate.journal.say(f"release {release[:12]} is staged, version {version}")
            return Staged(release)
        case {"type": "say", "level": str(level), "text": str(text)}:
            levels = {"debug": DEBUG, "info": INFO, "error": ERROR}
            estate.journal.say(f"updater: {text}", levels.get(level, WARNING))
        case {"type": "hello"}:
            estate.updating.greeted(child, str(word.get("current", "")), estate.world)
        case {"type": "promoted" | "installed"}:
            estate.updating.published(child)
        case {"type": "trouble", "text": str(text)}:
            estate.updating.trouble, estate.updating.ailment = text[:_TOLD], str(word.get("kind", ""))[:20]
        case {"type": "progress", "step": str()}:
            estate.updating.goes_on(child, word)
        case {"type": "looked-well", "time": int() | float() as at}:
            estate.updating.looked = at
        case {"type": "noted", "what": "held" | "pinned" | "unpinned" as what}:
            told = {part: str(word.get(part, "")) for part in ("release", "version", "reason")}
            estate.chronicle.add(what, **told)
        case {"type": "rejected"}:
            pass
        case {"type": "cleared", "release": str(release)}:
            return Cleared(release)
        case {"type": "did", "for": str(name), "outcome": str(outcome), "detail": str(detail)}:
            if estate.control:
                estate.control.answer(name, outcome, detail)
        case _:
            _count(estate, child, word)
    return None


def is_tiresome(child: Child) -> bool:
    """Whether so much of what it sent meant nothing that reading on would only cost time."""
    return child.noise > _TIRESOME


def is_command(world: World, g: Generation) -> bool:
    """Whether a good end of this generation is that of a command which is done, and no news.

    It is the only one, and of the current release; or the program is one that never restarts.
    """
    alone = len(world.generations) == g.policy.workers == 1
    return alone and (g.release == world.current or g.policy.restarts is Restarts.NEVER)


def tell_noise(estate: Estate, child: Child) -> None:
    """Say, at its end, how much more there was than was logged."""
    if child.noise > _LOGGED:
        estate.journal.say(f"{child.name} sent {child.noise - _LOGGED} more words without meaning", WARNING)


def _count(estate: Estate, child: Child, word: wire.Word | wire.Malformed) -> None:
    child.noise += 1
    if child.noise <= _LOGGED:
        estate.journal.say(f"{child.name} sent a word that means nothing here: {str(word)[:100]}", WARNING)
    elif child.noise == _TIRESOME + 1:
        estate.journal.say(f"{child.name} sends words without meaning: they are not read any more", WARNING)

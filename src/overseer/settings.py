"""What the master has to know of a Config: plain data that travels in a hello and survives a re-exec.

The callables of a Config never leave the process they were made in; everything else does, so that timeouts,
addresses and signals follow the release (D20, D21).
"""

from __future__ import annotations

import signal
from math import inf

from overseer.errors import ConfigError
from overseer.facts import Handover, Policy, Restarts
from overseer.values import fields, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


MOST_WORKERS = 1024
"""Processes of one generation; more is a slip of the pen, and would be the end of the machine."""

RESERVED = frozenset(
    {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
    | {signal.SIGPIPE, signal.SIGXFSZ}  # which Python ignores
    | {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP}
    | {signal.SIGTSTP, signal.SIGCONT, signal.SIGTTIN, signal.SIGTTOU}
)
"""Signals that cannot be the restart signal: they mean something else."""


@value
class Foreign:
    """What is special about a program that does not speak our words but systemd's (`overseer run`)."""

    runs: bool = False  # such a program runs
    drain_signal: int = int(signal.SIGTERM)  # asks it to finish what it has and leave
    stop_signal: int = int(signal.SIGTERM)  # the same, when the whole service is to stop
    clean_exits: tuple[int, ...] = ()  # statuses beside 0 that mean a good end; minus a signal
    probed: bool = False  # only the word of our probe means that it is ready
    watchdog: float = inf  # seconds; whoever serves and is silent for longer is killed: native ones, too


@value
class Settings:
    """A Config as data; the fields have the names, units and meanings of `overseer.Config`."""

    addresses: tuple[str, ...] = ()
    restart_signal: int = int(signal.SIGUSR2)
    policy: Policy = Policy()
    version: str = ""
    debug: bool = False
    no_warn: bool = False
    fetches: bool = False  # there is a fetcher, so there has to be an updater
    fdstore: bool = False  # the listeners are left with the service manager, too
    foreign: Foreign = Foreign()
    source: str = ""  # what kind of fetcher it is, for people
    trust: str = ""  # and what releases have to show


def to_data(settings: Settings) -> dict[str, Any]:
    """Return settings as a JSON object. Infinity, which JSON has not, is written as null."""
    policy = {name: getattr(settings.policy, name) for name in fields(settings.policy)}
    policy["handover"] = policy["handover"].value
    policy["restarts"] = policy["restarts"].value
    policy["ready_after"] = None if policy["ready_after"] == inf else policy["ready_after"]
    data = {name: getattr(settings, name) for name in fields(settings)}
    foreign = {name: getattr(settings.foreign, name) for name in fields(settings.foreign)}
    foreign["watchdog"] = None if settings.foreign.watchdog == inf else settings.foreign.watchdog
    foreign["clean_exits"] = list(settings.foreign.clean_exits)
    return data | {"addresses": list(settings.addresses), "policy": policy, "foreign": foreign}


def from_data(data: Mapping[str, Any]) -> Settings:
    """Read settings from a JSON object that another version of overseer may have written.

    What is missing has its default and what is unknown is left out. Raises `ConfigError`, naming the
    field, for what can not be meant.
    """
    policy = _typed(Policy(), _mapping("policy", data.get("policy", {})))
    for field, least in (("workers", 1), ("max_draining", 1), ("crash_limit", 0)):
        if policy[field] < least:
            raise ConfigError(field, f"{policy[field]} is less than {least}")
    if policy["workers"] > MOST_WORKERS:
        raise ConfigError("workers", f"{policy['workers']} is more than {MOST_WORKERS}")
    for field in ("ready_after", "ready_timeout", "terminate_timeout", "probation", "crash_window"):
        if not policy[field] >= 0:  # also refuses NaN
            raise ConfigError(field, f"{policy[field]} s is no time to wait; use 0 or more seconds")
    foreign = _typed(Foreign(), _mapping("foreign", data.get("foreign", {})))
    for field in ("drain_signal", "stop_signal"):
        if foreign[field] not in signal.valid_signals():
            raise ConfigError(field, f"{foreign[field]} is no signal")
    if not foreign["watchdog"] > 0:
        raise ConfigError("watchdog", f"{foreign['watchdog']} s is no time to be silent; use more than 0")
    rest = _typed(
        Settings(), {name: told for name, told in data.items() if name not in ("policy", "foreign")}
    )
    _check_signal(rest["restart_signal"])
    return Settings(**rest | {"policy": Policy(**policy), "foreign": Foreign(**foreign)})


def _check_signal(number: int) -> None:
    if number not in signal.valid_signals():
        raise ConfigError("restart_signal", f"{number} is no signal")
    if number in RESERVED:
        name = signal.Signals(number).name
        raise ConfigError("restart_signal", f"{name} means something else; use SIGUSR2 or SIGHUP")


def _mapping(field: str, given: object) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise ConfigError(field, f"{given!r} is no object")
    return given


def _typed(defaults: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """Read every field of a value in the type of its default."""
    return {
        name: _as(name, getattr(defaults, name), given[name]) if name in given else getattr(defaults, name)
        for name in fields(defaults)
    }


def _as(field: str, default: object, given: Any) -> object:
    right = False
    match default:
        case bool():
            right = isinstance(given, bool)
        case Handover() | Restarts():
            known = [member.value for member in type(default)]
            if given not in known:
                raise ConfigError(field, f"{given!r} is none of {', '.join(known)}")
            return type(default)(given)
        case int():
            right = isinstance(given, int) and not isinstance(given, bool)
        case float():
            if given is None:
                return inf
            right = isinstance(given, int | float) and not isinstance(given, bool)
            given = _float(given) if right else given
        case str():
            right = isinstance(given, str)
        case tuple():
            kind = int if field == "clean_exits" else str
            right = isinstance(given, list | tuple) and all(type(item) is kind for item in given)
            given = tuple(given) if right else given
        case _:
            return given
    if not right:
        raise ConfigError(field, f"{given!r} is no {type(default).__name__}")
    return given


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of more than 308 digits
        return inf

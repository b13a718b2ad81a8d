"""Judge what systemd was told about the service."""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING

from overseer.doctor.facts import fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.doctor.facts import Facts, Finding

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def seconds(text: str) -> float:
    """Read a time span as `systemctl show` writes it (systemd.time(7)): `1min 30s`, `infinity`."""
    if text in ("infinity", ""):
        return inf
    parts = re.findall(r"([\d.]+)(us|ms|min|s|h|d|w)", text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else inf


def systemd(facts: Facts) -> Iterator[Finding]:
    """Whether the unit lets the service drain, say what goes on, and end as a whole."""
    unit = facts.unit
    if not unit:
        return
    found = list(_unit(facts))
    yield from found or [ok("systemd", f"{unit.get('Id', 'its unit')} fits")]


def _unit(facts: Facts) -> Iterator[Finding]:
    unit, status = facts.unit, facts.status
    kind, kill = unit.get("Type", ""), unit.get("KillMode", "")
    told = kind in ("notify", "notify-reload")
    if kind in ("forking", "oneshot"):
        yield fail(
            "systemd",
            f"Type={kind}: the master stays in the foreground, and systemd waits for an end of it",
            "write Type=notify",
        )
    elif not told:
        yield warn(
            "systemd",
            f"Type={kind}: systemd does not hear when the program is ready, nor of restarts",
            "write Type=notify",
        )
    if kill in ("process", "none"):
        yield warn(
            "systemd",
            f"KillMode={kill}: what is left after a stop stays for ever, and keeps the ports",
            "write KillMode=control-group, or mixed",
        )
    stop = seconds(unit.get("TimeoutStopUSec", ""))
    patience = status.get("patience", {}).get("terminate_timeout", 0.0)
    if stop < patience and not told:  # else the master asks for more time when it needs it
        yield warn(
            "systemd",
            f"TimeoutStopSec is {stop:g} s and terminate_timeout {patience:g} s: a stop may cut requests",
            f"write TimeoutStopSec={patience + 15:g}",
        )
    if unit.get("DynamicUser") == "yes" and not unit.get("StateDirectory"):
        yield fail(
            "systemd",
            "DynamicUser=yes without StateDirectory=: no folder stays its own, and releases have no place",
            "write StateDirectory=NAME",
        )

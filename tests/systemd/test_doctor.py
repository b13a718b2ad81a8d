"""The doctor reads what systemd has loaded of a unit, and names what does not fit, on real units."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.process.programs import HTTP, UPGRADES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.systemd.unit import Unit

pytestmark = pytest.mark.long


def told(app: Unit) -> dict[str, str]:
    """Ask the doctor inside about the unit; return what he says of it, with its level."""
    found = json.loads(app.overseer("doctor", "--json"))["findings"]
    return {each["says"]: each["level"] for each in found if each["check"] == "systemd"}


def test_a_unit_that_fits_is_told_to_fit(unit: Callable[..., Unit], port: int) -> None:
    """One line, with its name."""
    app = unit(HTTP, address=f"127.0.0.1:{port}")
    app.start()
    assert told(app) == {f"{app.name}.service fits": "ok"}


def test_each_fault_of_a_unit_is_named(unit: Callable[..., Unit], port: int) -> None:
    """As systemd has loaded them, wherever they were written; what works all the same is a warning."""
    faults = ("Type=exec", "KillMode=process", "TimeoutStopSec=7")
    app = unit(HTTP, *faults, address=f"127.0.0.1:{port}", terminate_timeout=30)
    app.start()
    found = told(app)
    assert {says.partition(":")[0]: level for says, level in found.items()} == {
        "Type=exec": "warn",
        "KillMode=process": "warn",
        "TimeoutStopSec is 7 s and terminate_timeout 30 s": "warn",
    }
    shown = app.overseer("doctor")
    assert "-> write TimeoutStopSec=45" in shown


def test_a_user_without_a_folder_is_a_fault_that_stops_upgrades(unit: Callable[..., Unit], port: int) -> None:
    """DynamicUser= without StateDirectory=: the exit status says it, and with one it is well."""
    app = unit(UPGRADES, "DynamicUser=yes", address=f"127.0.0.1:{port}", version="1")
    app.start()
    (says,) = [says for says, level in told(app).items() if level == "fail"]
    assert says.startswith("DynamicUser=yes without StateDirectory=")
    app.install("DynamicUser=yes", f"StateDirectory={app.name}")
    app.systemd.ctl("restart", app.name)
    assert told(app) == {f"{app.name}.service fits": "ok"}

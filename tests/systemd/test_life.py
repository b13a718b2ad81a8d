"""A whole life under a real systemd: what its verbs wait for, what they say, and what no request notices."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from bench.load import Fresh, Kept, LoadProcess, Plan

from tests.process.foreigners import SERVER
from tests.process.programs import HTTP, gated
from tests.process.service import DEADLINE, ECHO, until
from tests.systemd.manager import OVERSEER, SLOW
from tests.systemd.unit import greet, knock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.systemd.manager import Systemd
    from tests.systemd.unit import Unit

pytestmark = pytest.mark.long

RELOADS = ("Type=notify-reload", "ReloadSignal=SIGUSR2", "ExecReload=")


def can_wait_for_reloads(systemd: Systemd) -> None:
    """Skip where systemd is too old: it would take Type=notify-reload for Type=simple."""
    if systemd.version < 253:
        pytest.skip(
            f"systemd {systemd.version} does not know Type=notify-reload (make machine gets a newer one)"
        )


def test_a_start_is_over_when_the_program_serves(unit: Callable[..., Unit], port: int) -> None:
    """Whoever connects then is answered at once; the line of status tells who serves."""
    app = unit(gated("state.ready()"), address=f"127.0.0.1:{port}", ready_after=None)
    app.start()
    assert knock(port, 1)[0] == "1"
    assert app.show("StatusText") == "generation 1 serves, release in place"
    assert app.show("ActiveState") == "active"


def test_a_start_that_fails_is_a_failed_start(unit: Callable[..., Unit], port: int) -> None:
    """With the status of the program; and a wrong option is not tried again."""
    app = unit("raise SystemExit(7)", address=f"127.0.0.1:{port}")
    assert app.systemd.run("systemctl", "start", app.name).returncode == 1
    assert (app.show("Result"), app.show("ExecMainStatus")) == ("exit-code", "7")
    app.write(ECHO, address="nonsense")
    app.install("Restart=on-failure", "RestartSec=0", "RestartPreventExitStatus=78")
    assert app.systemd.run("systemctl", "start", app.name).returncode == 1
    assert (app.show("ActiveState"), app.show("ExecMainStatus")) == ("failed", "78")
    assert app.show("NRestarts") == "0"


@pytest.mark.parametrize("lines", [(), RELOADS], ids=["exec", "signal"])
def test_a_reload_is_over_when_the_next_generation_serves(
    systemd: Systemd, unit: Callable[..., Unit], port: int, lines: tuple[str, ...]
) -> None:
    """Five in a row under load: no request fails, and the new one serves whenever the verb comes back."""
    if lines:
        can_wait_for_reloads(systemd)
    app = unit(HTTP, *lines, address=f"127.0.0.1:{port}")
    app.start()
    plan = Plan(kinds=(Fresh(rate=60), Kept(rate=60, connections=10)), seconds=None, timeout=SLOW)
    with LoadProcess(f"http://127.0.0.1:{port}", plan) as load:
        load.wait_started()
        pid = app.show("MainPID")
        for generation in range(2, 7):
            systemd.ctl("reload", app.name)
            assert app.show("StatusText") == f"generation {generation} serves, release in place"
            load.wait_generation(str(generation))
        report = load.stop()
    assert report.failed == 0, report
    assert app.show("MainPID") == pid


def test_a_reload_that_fails_comes_back_and_the_status_says_why(
    systemd: Systemd, unit: Callable[..., Unit], port: int
) -> None:
    """By signal systemd cannot be told that it failed, but for the line; the old generation serves on."""
    can_wait_for_reloads(systemd)
    app = unit(ECHO, *RELOADS, address=f"127.0.0.1:{port}")
    app.start()
    app.write("raise SystemExit(7)")
    systemd.ctl("reload", app.name)
    told = app.show("StatusText")
    assert told.startswith("generation 1 serves, release in place; generation 2 failed: ended before it was")
    assert app.show("ActiveState") == "active"
    assert knock(port)[0] == "1"
    app.write(ECHO)
    systemd.ctl("reload", app.name)
    assert app.show("StatusText") == "generation 3 serves, release in place"


def test_a_reload_by_the_command_line_that_fails_has_failed(unit: Callable[..., Unit], port: int) -> None:
    """Then systemctl's exit status tells it, too."""
    app = unit(ECHO, address=f"127.0.0.1:{port}")
    app.start()
    app.write("raise SystemExit(7)")
    assert app.systemd.run("systemctl", "reload", app.name).returncode == 1
    assert "generation 2 failed: ended before it was ready (exit status 7)" in app.show("StatusText")
    assert (app.show("ActiveState"), knock(port)[0]) == ("active", "1")


def test_a_stop_answers_what_was_asked(unit: Callable[..., Unit], port: int) -> None:
    """A request that takes long is answered, within TimeoutStopSec; the end is a good one."""
    app = unit(ECHO, "TimeoutStopSec=40", address=f"127.0.0.1:{port}")
    app.start()
    held = hold(port)
    app.systemd.ctl("stop", "--no-block", app.name)
    app.is_("deactivating/stop-sigterm")
    held.sendall(b"go\n")
    assert held.makefile().readline().startswith("1 ")
    held.close()
    app.is_("inactive/dead")
    assert (app.show("Result"), app.show("ExecMainStatus")) == ("success", "0")


def test_a_stop_ends_what_does_not_end_in_time(unit: Callable[..., Unit], port: int) -> None:
    """The master keeps to `terminate_timeout`: systemd need not kill anybody after TimeoutStopSec."""
    app = unit(ECHO, "TimeoutStopSec=40", address=f"127.0.0.1:{port}", terminate_timeout=1)
    app.start()
    held = hold(port)
    app.systemd.ctl("stop", app.name)
    assert (app.show("Result"), app.show("ExecMainStatus")) == ("exit-code", "137")
    assert "is killed" in app.log
    held.close()


HELPED = ECHO.replace(
    "            connection.recv(1000)\n",
    "            helper = subprocess.Popen(['sh', '-c', 'read line; echo $line'], stdin=-1, stdout=-1)\n"
    "            print('helped', flush=True)\n"
    "            answer = helper.communicate(connection.recv(1000))[0].decode().strip()\n"
    "            connection.sendall(f'{answer} '.encode())\n",
).replace("import os,", "import subprocess, os,")
"""Leaves a part of its work to a process that dies of SIGTERM."""


@pytest.mark.parametrize(("mode", "answer"), [("mixed", "go 1 "), ("control-group", " 1 ")])
def test_helpers_are_spared_at_a_stop_with_killmode_mixed(
    unit: Callable[..., Unit], port: int, mode: str, answer: str
) -> None:
    """Only the master is asked to leave then, and the program with its helper finishes."""
    app = unit(HELPED, f"KillMode={mode}", address=f"127.0.0.1:{port}")
    app.start()
    held = hold(port)
    app.logged("helped")
    app.systemd.ctl("stop", "--no-block", app.name)
    app.is_("deactivating/stop-sigterm")
    app.logged("drains 1")
    held.sendall(b"go\n")
    assert held.makefile().readline().startswith(answer)
    held.close()
    app.is_("inactive/dead")
    assert app.show("Result") == "success"


def hold(port: int) -> socket.socket:
    """Begin a request that is answered when another line comes."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=SLOW)
    connection.sendall(b"hold\n")
    assert connection.recv(5) == b"held\n"
    return connection


def test_the_watchdog_spares_who_is_well_and_ends_a_master_that_hangs(
    unit: Callable[..., Unit], port: int
) -> None:
    """Fed through restarts, four intervals long; one that stands still is replaced, and nobody refused."""
    lines = (
        "WatchdogSec=2",
        "Restart=on-failure",
        "RestartSec=0",
        "FileDescriptorStoreMax=8",
        "TimeoutAbortSec=3",
    )
    app = unit(ECHO, *lines, address=f"127.0.0.1:{port}", fdstore=True)
    app.start()
    fed: set[str] = set()
    while len(fed) < 9:
        fed.add(app.show("WatchdogTimestampMonotonic"))
        if len(fed) % 4 == 0:
            app.systemd.ctl("reload", app.name)
    assert (app.show("ActiveState"), app.show("NRestarts")) == ("active", "0")
    pid = app.pid
    app.systemd.ctl("reload", app.name)  # whose timeout is a long one, and not the watchdog's
    os.kill(pid, signal.SIGSTOP)
    until(lambda: app.show("NRestarts") == "1", "it was replaced", SLOW)
    with socket.create_connection(("127.0.0.1", port), timeout=SLOW) as waiting:
        app.is_("active/running")
        assert greet(waiting)[0] == "1"
    assert "watchdog" in app.systemd.run("systemctl", "status", app.name).stdout + app.systemd.story()


HANGS = ECHO.replace(
    "    while True:\n        connection, _",
    "    import time\n"
    "    for _ in range(10):\n        state.alive()\n        time.sleep(0.1)\n"
    "    state.ready()\n    time.sleep(1000)\n"
    "    while True:\n        connection, _",
)
"""Serves nobody: it is alive for a second, and then it hangs."""


def test_a_native_program_that_hangs_is_ended_and_who_waited_is_answered(
    unit: Callable[..., Unit], port: int
) -> None:
    """With `watchdog` and `fdstore`, by the next one, which does not hang."""
    lines = ("WatchdogSec=5", "Restart=on-failure", "RestartSec=1", "FileDescriptorStoreMax=8")
    options = {"address": f"127.0.0.1:{port}", "fdstore": True, "watchdog": 1.5}
    app = unit(HANGS, *lines, **options)
    app.start()
    with socket.create_connection(("127.0.0.1", port), timeout=SLOW) as waiting:
        app.write(ECHO, watchdog=1e6)
        until(lambda: app.show("NRestarts") == "1", "it was started anew", SLOW)
        app.is_("active/running")
        assert greet(waiting)[0] == "1"
    assert "its watchdog allows 1.5 s: it is killed" in app.log


FALLS_SILENT = """
import time
notify("READY=1")
for _ in range(8):
    notify("WATCHDOG=1")
    time.sleep(0.2)
left.wait()
"""


def test_a_program_that_hangs_is_ended_and_the_service_starts_anew(
    unit: Callable[..., Unit], port: int
) -> None:
    """A program with a watchdog of its own, below `overseer run`: the master kills it, systemd goes on."""
    command = f"{OVERSEER} run --address 127.0.0.1:{port} --watchdog 1 -- {sys.executable} app.py 1 1"
    app = unit(
        SERVER.replace("BODY", FALLS_SILENT),
        "ExecStart=",
        f"ExecStart={command}",
        "WatchdogSec=2",
        "Restart=on-failure",
        "RestartSec=0",
    )
    app.start()
    until(lambda: int(app.show("NRestarts")) >= 1, "it was started anew", SLOW)
    app.logged("its watchdog allows 1 s: it is killed", DEADLINE)

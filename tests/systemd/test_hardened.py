"""What `overseer unit` prints, run with all its walls; and a program that upgrades itself between them."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from bench.load import Fresh, LoadProcess, Plan
from click.testing import CliRunner

from overseer.cli.main import cli
from tests.process.foreigners import QUIET, written
from tests.process.programs import HTTP, UPGRADES
from tests.process.service import until
from tests.systemd.manager import OVERSEER, SLOW
from tests.systemd.unit import Unit, knock

if TYPE_CHECKING:
    from tests.systemd.manager import Systemd

pytestmark = pytest.mark.long


class Printed(Unit):
    """A unit as `overseer unit` prints it, with its output where a test can read it."""

    def install(self, *lines: str, files: dict[str, str] | None = None) -> None:
        """Print it, and write it where systemd looks."""
        command = ["unit", "--name", self.name, "--directory", f"/srv/{self.name}", "--"]
        done = CliRunner().invoke(cli, [*command, sys.executable, f"/srv/{self.name}/app.py"])
        assert done.exit_code == 0, done.output
        log = f"append:/tmp/{self.name}.log"
        told = ("[Service]", f"StandardOutput={log}", f"StandardError={log}")
        drop_in = "\n".join([*told, *lines, ""])
        self.systemd.install(
            {
                f"{self.name}.service": done.stdout,
                f"{self.name}.service.d/proof.conf": drop_in,
                **(files or {}),
            }
        )


def test_the_printed_unit_is_taken_without_a_word(systemd: Systemd) -> None:
    """And its walls are high, by systemd's own measure."""
    app = Printed(systemd, "verified", HTTP)
    path = f"/etc/systemd/system/{app.name}.service"
    done = systemd.run("systemd-analyze", "verify", "--man=no", path)
    assert [line for line in done.stderr.splitlines() if app.name in line] == []
    judged = systemd.run("systemd-analyze", "security", "--no-pager", f"{app.name}.service")
    exposure = re.search(r"Overall exposure level for .*: ([0-9.]+)", judged.stdout)
    assert exposure, judged
    assert float(exposure[1]) < 3, judged.stdout


def test_a_program_upgrades_itself_behind_all_walls(
    systemd: Systemd, request: pytest.FixtureRequest, port: int
) -> None:
    """DynamicUser, StateDirectory, ProtectSystem=strict: releases under load, a bad one between good ones."""
    app = Printed(
        systemd, "walled", UPGRADES, address=f"127.0.0.1:{port}", version="1", probation=0.2, fdstore=True
    )
    request.addfinalizer(lambda: systemd.run("systemctl", "stop", app.name))
    app.start()
    plan = Plan(kinds=(Fresh(rate=60),), seconds=None, timeout=SLOW)
    with LoadProcess(f"http://127.0.0.1:{port}", plan) as load:
        load.wait_started()
        offer(app, "2")
        app.logged("is current: generation 2", SLOW)
        systemd.ctl("reload", app.name)
        offer(app, "3", "    raise SystemExit('not today')\n")
        app.logged("is held, and not started again by itself", SLOW)
        offer(app, "4")
        until(lambda: len(re.findall(r"is current: generation", app.log)) == 2, "the last is current", SLOW)
        report = load.stop()
    assert report.failed == 0, report
    also_where_a_release_listens_by_itself(app, port)
    assert "'version': '1'" in (app.folder / "app.py").read_text()
    assert " 5 " in app.overseer("status")
    store = systemd.root / "var" / "lib" / "private" / app.name / "app.py.overseer"
    assert (store / "state.json").exists()
    systemd.ctl("restart", app.name)  # and the next start takes the release from the store
    assert app.ask("status")["generations"][0]["version"] == "5"
    systemd.ctl("stop", app.name)
    assert app.show("Result") == "success"


def also_where_a_release_listens_by_itself(app: Unit, port: int) -> None:
    """The program that root has installed knows nothing of an address that came by an upgrade: it is kept."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        other = found.getsockname()[1]
    offer(app, "5", address="", addresses=[f"127.0.0.1:{port}", f"127.0.0.1:{other}"])
    until(lambda: len(re.findall(r"is current: generation", app.log)) == 3, "it is current", SLOW)
    os.kill(app.pid, signal.SIGKILL)
    until(lambda: app.show("NRestarts") == "1", "it is about to be started anew", SLOW)
    with socket.create_connection(("127.0.0.1", other), timeout=SLOW) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def offer(app: Unit, version: str, fault: str = "", **changed: object) -> None:
    """Put a release where the fetcher looks."""
    options = app.options | {"version": version} | changed
    text = app.source.replace("**OPTIONS", f"**{options!r}")
    if fault:
        text = text.replace("def program(state):\n", f"def program(state):\n{fault}")
    fresh = app.folder / "next.tmp"
    fresh.write_text(text)
    fresh.replace(app.folder / "next.py")


def test_behind_all_walls_it_is_seen_who_accepts(
    systemd: Systemd, request: pytest.FixtureRequest, port: int
) -> None:
    """The kernel may not be asked there (RestrictAddressFamilies=); its table of connections may be read."""
    command = f"{OVERSEER} run --address 127.0.0.1:{port} -- {sys.executable} app.py {{generation}} 1"
    app = Printed(systemd, "accepts", written(QUIET), "ExecStart=", f"ExecStart={command}")
    request.addfinalizer(lambda: systemd.run("systemctl", "stop", app.name))
    app.start()
    systemd.ctl("reload", app.name)
    until(lambda: knock(port)[0] == "2", "the second generation answers", SLOW)
    assert "tells nothing" not in app.log


def test_in_a_network_of_its_own_the_program_has_to_live(
    systemd: Systemd, request: pytest.FixtureRequest, port: int
) -> None:
    """It is given the socket of another network, where nobody of its own can knock."""
    command = f"{OVERSEER} run --address fd:web -- {sys.executable} app.py {{generation}} 1"
    walls = ("PrivateNetwork=yes", "ExecStart=", f"ExecStart={command}")
    app = Printed(systemd, "apart", written(QUIET), *walls)
    listens = f"[Socket]\nListenStream=127.0.0.1:{port}\nFileDescriptorName=web\n"
    app.systemd.install({f"{app.name}.socket": listens})
    request.addfinalizer(lambda: systemd.run("systemctl", "stop", f"{app.name}.socket", app.name))
    systemd.ctl("start", f"{app.name}.socket")
    assert knock(port, SLOW)[0] == "1"
    app.is_("active/running")
    app.logged(f"knocking at tcp://127.0.0.1:{port} tells nothing here (")

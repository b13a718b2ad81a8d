"""The doctor looks at real installations: as the service sees them, not as he does himself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.operators import environment, overseer
from tests.process.releases import Upgrading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.service import Service


def findings(app: Service, status: int = 0) -> dict[str, dict[str, Any]]:
    """Ask the doctor; return what he says of each check, the worst."""
    found = json.loads(overseer(app, "doctor", "--json", status=status))["findings"]
    worst = sorted(found, key=lambda each: ("ok", "warn", "fail").index(each["level"]))
    return {each["check"]: each for each in worst}


def test_a_healthy_service_is_told_healthy_and_an_open_folder_is_not(tmp_path: Path) -> None:
    """The exit status says it; a line says what it means, and the next what to do."""
    with Upgrading(tmp_path) as app:
        app.serves()
        well = findings(app)
        assert {each["level"] for each in well.values()} <= {"ok", "warn"}, well
        assert {well[check]["level"] for check in ("master", "control", "updater", "place", "lock")} == {"ok"}
        tmp_path.chmod(0o777)
        said = overseer(app, "doctor", status=1)
    assert f"fail  rights     everybody may write to {tmp_path}, and thereby run code as this service" in said
    assert f"-> chmod o-w {tmp_path}" in said


def test_an_interpreter_by_another_of_its_names_is_the_same(tmp_path: Path) -> None:
    """A virtual environment has `python`, `python3` and more; commands have whichever pip has written."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python", "python3"):
        (folder / name).symlink_to(sys.executable)
    (tmp_path / "pyvenv.cfg").write_text(
        f"home = {os.path.dirname(os.path.realpath(sys.executable))}\ninclude-system-site-packages = false\n"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    with Upgrading(tmp_path, python=str(folder / "python3"), env={"PYTHONPATH": path}) as app:
        app.serves()
        done = subprocess.run(
            [folder / "python", "-m", "overseer", "doctor"],
            env={**environment(app), "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
    assert "what its fetcher and its trust need is installed" in done.stdout, done


def test_a_socket_file_that_somebody_has_removed_is_missed(service: Callable[..., Service]) -> None:
    """The kernel has the socket still, and nothing else looks wrong; one without a file has none to lose."""
    path = f"/tmp/overseer-gone-{os.getpid()}.sock"
    body = "import overseer\ndef program(state):\n    print('serving 1 1 0', flush=True)\n    state.ready()\n"
    body += "    state.draining.wait()\noverseer.run(program, **OPTIONS)\n"
    app = service(body, addresses=["127.0.0.1:0", f"unix:@{path}", f"unix:{path}?mode=0600"])
    app.said("serving 1")
    assert findings(app)["sockets"]["level"] == "ok"
    os.unlink(path)
    found = findings(app, status=1)["sockets"]
    assert (found["level"], found["says"].partition(":")[0]) == ("fail", path)


@pytest.mark.long
def test_what_does_not_run_can_be_looked_at(tmp_path: Path) -> None:
    """Before it is started for the first time; and what is not there is said in one line."""
    (tmp_path / "app.py").write_text("print('hello')\n")
    (tmp_path / "app.py").chmod(0o666)
    command = [sys.executable, "-m", "overseer", "doctor"]
    done = subprocess.run([*command, tmp_path / "app.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "none was asked" in done.stdout
    assert "everybody may write to" in done.stdout
    done = subprocess.run([*command, tmp_path / "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"overseer: error: {tmp_path}/nothing is not there\n")
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"overseer: error: {tmp_path} is a folder; name the file that is started\n"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".app")]


_SANDBOX = """
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && mount --bind "$1" "$0/run" && shift && exec "$@"
"""
"""For sh(1): a folder that is read-only, but for one in it."""


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a mount namespace here")
def test_a_sandbox_is_seen_from_the_inside(tmp_path: Path) -> None:
    """The folder is read-only to the service only: it runs from a StateDirectory, and that is said."""
    home, run, state = tmp_path / "home", tmp_path / "run", tmp_path / "state"
    for folder in (home, home / "run", run, state):
        folder.mkdir()
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SANDBOX, str(home), str(run)]
    with Upgrading(home, prefix=prefix, env={"STATE_DIRECTORY": str(state)}) as app:
        app.run_folder = run
        app.serves()
        found = findings(app)
        assert found["place"]["level"] == "warn"
        assert (
            f"releases run from {state}/app.py.overseer: {home} is mounted read-only"
            in found["place"]["says"]
        )
        assert found["updater"]["level"] == "ok"

"""What is seen from outside of a life: events as they happen, and metrics, also when nobody reads them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.operators import begun, overseer
from tests.process.service import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.service import Service

FIRST = "overseer_generations_started_total"


def test_events_are_told_as_they_happen_over_another_master_to_the_end(
    service: Callable[..., Service],
) -> None:
    """Whoever follows hears each of them once and in order; the end of the master is the end of it."""
    app = service().serves()
    with begun(app, "events", "--follow", "--json") as follower:
        assert follower.stdout
        said = [follower.stdout.readline()]  # it follows by now
        app.restart()
        assert app.ask("reexec")["outcome"] == "done"
        app.restart()
        app.ask("stop")
        said += follower.stdout.read().splitlines()
        assert follower.wait(DEADLINE) == 69
    assert "the master has ended" in said.pop()
    told = [json.loads(line) for line in said]
    assert [event["number"] for event in told] == list(range(1, len(told) + 1))
    assert told[-1] == {**told[-1], "event": "ended", "status": 0}
    kinds = [f"{event['event']} {event.get('generation', '')}".strip() for event in told]
    for kind in (
        "launched",
        "ready 1",
        "ready 2",
        "drained 1",
        "renewed",
        "ready 3",
        "drained 2",
        "stopping",
    ):
        assert kinds.count(kind) == 1, kind


def test_a_reader_who_stands_still_is_in_nobodys_way(service: Callable[..., Service]) -> None:
    """He follows and does not read, others come and go, restarts are restarts; and then he may read on."""
    app = service().serves()
    with app.call() as still:
        still.sendall(b'{"type":"events","follow":true}\n{"type":"events"}\n')
        for _ in range(3):
            app.restart()
        assert app.status()["counts"]["generations_served"] == 4
        still.settimeout(DEADLINE)
        with still.makefile() as lines:
            heard = [json.loads(line)["type"] for line, _ in zip(lines, range(20), strict=False)]
    assert heard.count("error") == 1  # events are told on this connection already
    assert heard.count("event") == 19


def test_a_service_is_told_as_metrics(service: Callable[..., Service], tmp_path: Path) -> None:
    """On standard output and in a file, over a renewal of the master; one that has ended as not up."""
    app = service(version="1.5").serves()
    app.restart()
    app.ask("reexec")
    shown = overseer(app, "metrics")
    assert re.search(rf'^{FIRST}{{service="app.py"}} 2.0$', shown, re.MULTILINE)
    assert (
        'overseer_release_info{release="in place",role="serving",service="app.py",version="1.5"} 1' in shown
    )
    file = tmp_path / "overseer.prom"
    assert overseer(app, "metrics", "--textfile", str(file)) == ""
    assert "overseer_drain_duration_seconds_bucket" in file.read_text()
    assert os.listdir(tmp_path / "service0" / "run") == ["overseer.sock"]
    app.ask("stop")
    app.wait()
    assert "no master answers" in overseer(app, "metrics", "--textfile", str(file), status=69)
    assert [line for line in file.read_text().splitlines() if line[0] != "#"] == [
        'overseer_up{service="overseer"} 0.0'
    ]
    assert [name for name in os.listdir(tmp_path) if "prom" in name] == ["overseer.prom"]


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool here (tests/machine.sh)")
def test_promtool_has_nothing_to_say(service: Callable[..., Service]) -> None:
    """Names, units, help and types are as Prometheus wants them, and the text can be read."""
    app = service().serves()
    app.restart()
    shown = overseer(app, "metrics")
    check = ["promtool", "check", "metrics"]
    done = subprocess.run(check, input=shown, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.long
def test_metrics_are_answered_over_http_by_a_process_beside_the_master(
    service: Callable[..., Service],
) -> None:
    """While the service lives, and after: what an alarm waits for is an answer, not silence."""
    app = service().serves()
    with begun(app, "metrics", "--listen", "127.0.0.1:0") as beside:
        assert beside.stdout
        (where,) = re.findall(r"http://\S+", beside.stdout.readline())

        def scraped() -> str:
            with urllib.request.urlopen(where, timeout=DEADLINE) as answer:
                return str(answer.read().decode())

        assert 'overseer_up{service="app.py"} 1.0' in scraped()
        app.restart()
        assert f'{FIRST}{{service="app.py"}} 2.0' in scraped()
        app.ask("stop")
        app.wait()
        assert 'overseer_up{service="app.py"} 0.0' in scraped()
        beside.terminate()
        assert beside.wait(DEADLINE) == 0


@pytest.mark.long
def test_metrics_without_what_they_need_say_what_to_install(service: Callable[..., Service]) -> None:
    """One line, no traceback."""
    app = service().serves()
    hidden = "import sys; sys.modules['prometheus_client'] = None; from overseer.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "metrics"],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == "overseer: error: overseer metrics needs prometheus-client: pip install 'pyoverseer[metrics]'\n"
    )
    assert app.status()["pid"] == app.pid


# -- operators beside each other, and those who are none ---------------------------------------------------


def test_several_operators_at_once_get_an_answer_each(service: Callable[..., Service]) -> None:
    """Restarts that are asked for together are as few as can be, and nobody goes without his answer."""
    app = service().serves()
    callers = [app.call() for _ in range(8)]
    try:
        for caller in callers:
            caller.settimeout(DEADLINE)
            caller.sendall(b'{"type":"restart"}\n{"type":"status"}\n{"type":"restart"}\n')
        for caller in callers:
            with caller.makefile() as lines:
                answers = [json.loads(lines.readline()) for _ in range(3)]
            assert sorted(answer["type"] for answer in answers) == ["answer", "answer", "status"]
            assert {a["outcome"] for a in answers if a["type"] == "answer"} == {"done"}
    finally:
        for caller in callers:
            caller.close()
    assert app.status()["counts"]["restarts_done"] == 16
    assert app.status()["counts"]["generations_started"] <= 4


def test_a_slow_operator_holds_nobody_up(service: Callable[..., Service]) -> None:
    """One byte now and then; meanwhile others are answered, and so is he when his line is whole."""
    app = service().serves()
    with app.call() as slow:
        slow.settimeout(DEADLINE)
        for byte in b'{"type":"status"}\n':
            slow.sendall(bytes([byte]))
            assert app.ask("status")["pid"] == app.pid
        with slow.makefile() as lines:
            assert json.loads(lines.readline())["pid"] == app.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_refused_even_where_the_path_lets_him_in(service: Callable[..., Service]) -> None:
    """The kernel says who is there; the mode of a path is only the first door."""
    app = service().serves()
    ours, theirs = socket.socketpair()  # opened as root, for a folder of tests lets nobody else in
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            _ask_as(65534, str(app.run_folder), theirs)
        theirs.close()
        answer: dict[str, Any] = json.loads(ours.makefile().readline())
        os.waitpid(pid, 0)
    assert answer == {"type": "error", "reason": "only root and the user of the service may ask"}
    until(lambda: app.status()["life"] == "running", "it goes on")


def _ask_as(uid: int, folder: str, back: socket.socket) -> None:
    """Be another user, who stands in the folder already, and pass the answer on."""
    try:
        os.chdir(folder)
        os.chmod("overseer.sock", 0o666)
        os.setresuid(uid, uid, uid)
        with socket.socket(socket.AF_UNIX) as master:
            master.settimeout(DEADLINE)
            master.connect("overseer.sock")
            with contextlib.suppress(BrokenPipeError):  # he may be refused before he has asked
                master.sendall(b'{"type":"stop"}\n')
            back.sendall(master.makefile("rb").readline())
    finally:
        os._exit(0)

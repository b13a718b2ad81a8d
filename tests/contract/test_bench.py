"""The bench of the master measures what it says: one small sample of all, no judgement of times."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

import pytest
from bench import room, trust
from bench.master import endurance, growth, idle, peers, proc, report, start, traffic
from bench.master.__main__ import FULL, MEASUREMENTS, QUICK, main
from bench.master.running import BenchError, Running, ask, free_port, tiny, web
from bench.master.samples import AGAIN, Spread, in_turns, ratios, table
from bench.serve import __main__ as serve
from bench.serve import peers as peers_of_serve
from bench.serve.running import FAST

if TYPE_CHECKING:
    from pathlib import Path

    from bench.master.samples import Table

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="figures are read from /proc")


def test_subjects_take_turns_in_an_order_that_is_turned_round() -> None:
    """The baseline is first and last, so that a machine that slows down falls on both of its series."""
    order: list[str] = []
    subjects = {name: lambda name=name: order.append(name) for name in ("base", "other")}
    taken = in_turns(subjects, 2, baseline="base")
    assert order == ["base", "other", "base", "base", "other", "base"]
    assert {name: len(samples) for name, samples in taken.items()} == {
        "base": 2,
        "other": 2,
        "base" + AGAIN: 2,
    }


def test_a_table_tells_ratios_to_the_mean_of_both_baselines_and_the_noise_between_them() -> None:
    """The noise is the baseline against itself; the second series is no row of its own."""
    taken = {"base": [1.0, 1.0], "other": [6.0, 6.0], "base" + AGAIN: [3.0, 3.0]}
    found = table("key", "Title", "ms", taken, baseline="base", scale=1e3)
    assert [row.name for row in found.rows] == ["base", "other"]
    other = found.row("other")
    assert (other.value.median, other.ratio and other.ratio.median) == (6000, 3)
    assert found.noise is not None
    assert found.noise.median == 3


def test_a_spread_has_the_middle_the_quartiles_and_the_ends() -> None:
    """Quartiles are those within the samples, never beyond them."""
    assert Spread.of([5, 1, 2, 4, 3]) == Spread(3, 2, 4, 1, 5, 5)
    assert Spread.of([7]) == Spread(7, 7, 7, 7, 7, 1)


def test_there_is_no_ratio_to_nothing() -> None:
    """A baseline of 0 wake-ups divides nobody."""
    assert ratios([1.0], [0.0]) is None


def test_exponents_tell_constant_from_proportional_from_quadratic() -> None:
    """The power of the size that each step grows with."""
    assert growth.exponents((1, 10, 100), (5, 5, 50)) == [0, pytest.approx(1)]
    assert growth.exponents((1, 10), (2, 200)) == [pytest.approx(2)]


def test_each_answer_of_a_sleeping_server_is_a_wakeup() -> None:
    """It sleeps again before the next one is asked for, and nobody else wakes it."""
    with tiny("bare") as running:
        running.answers()
        _until_asleep(running.pid)
        before, used = proc.wakeups(running.pid), proc.cpu(running.pid)
        for _ in range(3):
            ask(running.port)
            _until_asleep(running.pid)
        assert proc.wakeups(running.pid) >= before + 3
        assert proc.cpu(running.pid) > used


def test_private_memory_is_a_part_of_all_memory() -> None:
    """What only a process has is in what it has mapped; its share of what others have too lies between."""
    with peers.floor() as running:
        found = proc.memory(running.pid)
    assert 0 < found.private <= found.pss <= found.rss


def test_starts_of_a_program_are_timed_bare_and_under_overseer() -> None:
    """Each subject of the measurement can be started and answers."""
    for mode in ("bare", "imports", "overseer"):
        seconds, cpu = start.start_cost(mode)
        assert seconds > 0
        assert cpu > 0


def test_a_handover_ends_with_an_answer_by_the_next_generation() -> None:
    """The one before has left when the sample is taken."""
    with tiny("overseer") as running:
        running.answers()
        assert start.handover(running) > 0
        assert [g["number"] for g in running.control("status")["generations"]] == [2]


def test_a_subject_that_ends_is_told_with_its_log() -> None:
    """Not as a time that is very short."""
    with Running([sys.executable, "-c", "raise SystemExit('no such thing')"], port=free_port()) as running:
        with pytest.raises(BenchError, match="no such thing"):
            running.answers()
        with pytest.raises(BenchError, match="no such thing"):
            running.said(1)


def test_what_a_subject_started_is_gone_at_the_end() -> None:
    """Also the generations of a master that was killed, and its folder."""
    with tiny("overseer", workers=2) as running:
        running.said(2)
        tree = proc.descendants(running.pid)
        folder = running.folder
    assert len(tree) == 2
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in tree):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not folder.exists()


def _alive(pid: int) -> bool:
    try:
        return _state(pid) != "Z"
    except OSError:
        return False


def _until_asleep(pid: int) -> None:
    deadline = time.monotonic() + 20
    while _state(pid) != "S":
        assert time.monotonic() < deadline


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


@pytest.mark.long
def test_traffic_is_measured_on_the_program_and_not_on_its_master() -> None:
    """One second of load, without a failed request."""
    with web("overseer") as running:
        running.said(1)
        found = traffic.one_run(running, 1.0)
    assert set(found) == {"capacity", "kept-p50", "kept-p99", "fresh-p50", "fresh-p99"}
    assert all(found.values())


@pytest.mark.long
@pytest.mark.parametrize("what", ["listeners", "workers"])
def test_growth_has_a_row_for_each_size(what: str) -> None:
    """Of start, restart, CPU and memory."""
    tables = growth.measure_growth(what, (1, 3), 1)
    assert [each.key for each in tables] == [
        f"{what}-{name}" for name in ("start", "restart", "cpu", "private")
    ]
    assert all([row.name for row in each.rows] == [f"1 {what[:-1]}", f"3 {what}"] for each in tables)


@pytest.mark.long
def test_restarts_and_re_execs_are_measured() -> None:
    """The master is the same process before and after."""
    with tiny("overseer") as running:
        running.answers()
        assert endurance.restarts(running, 2) > 0
        assert endurance.pause(running) > 0
        assert running.control("status")["pid"] == running.pid


@pytest.mark.long
@pytest.mark.parametrize("name", list(peers.MASTERS))
def test_a_peer_that_is_installed_can_be_started_and_weighed(name: str) -> None:
    """Ours among them; whoever is not installed is left out of the tables."""
    if name not in peers.installed():
        pytest.skip("not installed: make bench does that")
    assert idle.weigh(peers.installed()[name]).private > 0


def test_a_report_is_written_for_people_and_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tables on the terminal, in Markdown and in JSON are the same ones."""
    found = table("key", "How long it takes", "ms", {"a": [1.0, 2.0], "b": [2.0, 4.0]}, baseline="a")
    monkeypatch.setitem(MEASUREMENTS, "start", lambda _: [found])
    assert main(["--quick", "--only", "start", "--out", str(tmp_path)]) == 0
    assert "How long it takes" in capsys.readouterr().out
    assert "| b | 3 | 2…4 | 2.00x | 2.00…2.00 |" in (tmp_path / "master.md").read_text()
    data = json.loads((tmp_path / "master.json").read_text())
    assert data["tables"]["key"]["rows"][1]["ratio"]["median"] == 2
    assert set(report.machine()) <= set(data["machine"])


def test_nothing_is_written_when_overseer_was_edited_during_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of two versions are figures of none."""
    package = tmp_path / "overseer"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: _spec(name, package))

    def edit(_: object) -> list[Table]:
        (package / "__init__.py").write_text("edited = True")
        return [table("key", "Title", "ms", {"a": [1.0]}, baseline="a")]

    monkeypatch.setitem(MEASUREMENTS, "start", edit)
    assert main(["--quick", "--only", "start", "--out", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()


def _spec(name: str, package: Path) -> ModuleSpec | None:
    return ModuleSpec(name, None, origin=str(package / "__init__.py")) if name == "overseer" else None


@pytest.mark.long
def test_what_signatures_cost_is_measured_on_updates_that_arrive(capsys: pytest.CaptureFixture[str]) -> None:
    """A poll is one request; a patch is a small part of the whole, and both become the release."""
    assert trust.main(["--quick"]) == 0
    told = capsys.readouterr().out
    assert "| requests | 1 |" in told
    rows = [line.split("|") for line in told.splitlines() if line.startswith("| overseer")]
    whole, patch = (int(row[7].replace(",", "")) for row in rows)
    assert patch < whole / 100


def test_room_for_descriptors_is_measured_beside_a_table_that_grows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each sort of process has a row, and making room takes time where room is made."""
    assert room.main(["--rounds", "1"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0].lstrip("| ") for row in rows] == ["as it is", "as it is", "room"]
    assert [row[-1] == "0.000 ms |" for row in rows] == [True, True, False]


def test_the_quick_run_is_never_larger_than_the_full_one() -> None:
    """Otherwise it would not be quick."""
    for field in FULL.__dataclass_fields__:
        assert getattr(QUICK, field) <= getattr(FULL, field)


def test_an_unknown_measurement_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """With the status of a command that makes no sense."""
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "speed"])
    assert "speed: there are start" in capsys.readouterr().err


@pytest.mark.long
def test_restarts_of_ours_and_of_a_peer_are_measured_and_written_where_it_was_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two restarts of each, every one by somebody new; the committed results stay as they are.

    Whether a kept connection is lost in the moment its linger ends is for the storms to say.
    """
    before = {path: path.read_bytes() for path in serve.RESULTS.glob("serve.*")}
    ours, peer = "overseer.serve.wsgi", "gunicorn gthread, USR2 and TERM"
    assert serve.main(["--fast", "--only", ours, peer, "--out", str(tmp_path)]) == 0
    found = {row["subject"]: row for row in json.loads((tmp_path / "serve.json").read_text())["rows"]}
    assert list(found) == [ours, peer]
    assert found[ours]["by_kind"]["fresh"] == 0
    for row in found.values():
        assert row["restarts"] == 2
        assert row["failed"] == sum(row["by_kind"].values()) == sum(row["outcomes"].values())
        assert len(row["samples"][0]["until_new"]) == 2
        assert row["samples"][0]["around_answers"] > 0
    assert found[ours]["closed"] == 0, "connections that rest are handed over"
    told = capsys.readouterr().out
    assert f"| {ours} | 2 |" in told
    assert f"| {peer} | 2 |" in (tmp_path / "serve.md").read_text()
    assert (tmp_path / "serve.svg").read_text().startswith("<svg")
    assert {path: path.read_bytes() for path in serve.RESULTS.glob("serve.*")} == before


@pytest.mark.long
@pytest.mark.parametrize("name", ["overseer.serve.wsgi", "uvicorn --workers 2, HUP", "nginx reload"])
def test_a_restart_that_brings_nobody_new_is_no_row(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told, and nobody's figures are those of a server that was never restarted."""
    (subject,) = peers_of_serve.chosen([name])
    if subject.missing:
        pytest.skip(subject.missing)
    idle = replace(subject, restart=lambda *_: None)
    taken, missed = serve.rounds([idle], 1, replace(FAST, restarts=1, patience=2))
    assert (taken, missed) == ({}, {name: "a restart brought nobody new in 2 s"})
    assert "brought nobody new in 2 s" in capsys.readouterr().err

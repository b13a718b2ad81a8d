"""One server under load, through its restarts.

A restart is waited for by facts: somebody has answered whose program was imported after it was asked for, and
who answered before has left. One that brings nobody new is an error of the bench, and no row of its table.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.load import Drip, Fresh, Kept, Late, LoadError, LoadProcess, Pipeline, Plan, Upload
from bench.master import proc
from bench.master.running import PATIENCE, BenchError, ask, free_port, until
from bench.serve.peers import LINGER, ROOT, UPLOADS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.load import Report
    from bench.serve.peers import Restart, Subject

KINDS: Final = (
    Fresh(rate=100),
    Kept(rate=150, connections=75, pause=(0.0, 2 * LINGER)),
    Late(rate=20, wait=0.1),
    Drip(rate=10, over=0.5),
    Upload(rate=10, size=20_000, over=0.5, path=UPLOADS),
    Pipeline(rate=10),
)
WARM_UP, RESTART = "warm-up", "restart"
"""What windows are called; what is in none of them is steady."""
_EVERY: Final = 0.02
"""Seconds between two looks at whether somebody has left."""


@dataclass(frozen=True)
class Course:
    """What each server goes through in one round. Times are in seconds."""

    restarts: int
    warm_up: float
    """after the first answer; what is answered in it is no steady answer"""
    quiet: float
    """before each restart, and after the last"""
    after: float
    """what is under way so long after the first new answer is under way around the restart"""
    imports: float
    """of the program"""
    patience: float = PATIENCE
    """for somebody new"""
    leave: float = 20.0
    """for those who answered before; who is there still is told, and not waited for again"""


FULL: Final = Course(restarts=2, warm_up=1.5, quiet=2.0, after=1.0, imports=1.0)
FAST: Final = Course(restarts=2, warm_up=0.3, quiet=0.2, after=0.3, imports=0.2)


@dataclass
class Sample:
    """What clients of one server saw in one round. Times are seconds."""

    restarts: int
    sent: int
    failed: int
    steady: float
    """99.9 of 100 answers took no longer, where there was no restart"""
    steady_answers: int
    around: float
    """the same, around restarts"""
    around_answers: int
    worst: float
    """the longest, around restarts"""
    closed: int
    """connections that were closed while they were idle"""
    busy: float
    """share of the machine's CPUs that was in use, by whomever"""
    lag: float
    """how late the load itself was, 99 of 100 times at most"""
    until_new: list[float]
    """from asking for each restart to the first new answer"""
    until_left: list[float]
    """and until all had left who answered before"""
    stayed: int
    """how many of those never left"""
    by_kind: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)


class Running:
    """One server, started; `pid` is whom an operator would signal."""

    def __init__(self, folder: Path, command: Sequence[str], imports: float) -> None:
        """Start it, with what it says in a log."""
        self.folder = folder
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "RUNTIME_DIRECTORY": str(folder),
                    "PYTHONPATH": str(ROOT),
                    "IMPORT_SECONDS": str(imports),
                },
                start_new_session=True,
            )
        self.pid = self.process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        os.kill(self.pid, number)

    def said(self, words: str) -> int:
        """Return how often it has said that."""
        return self.log.read_text(errors="replace").count(words)

    def end(self) -> None:
        """End it with everything below it: this is no measurement of a graceful stop."""
        below = {each for pid in (self.pid, self.process.pid) for each in proc.descendants(pid)}
        for pid in (self.pid, self.process.pid, *below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # who was left by the one that was started
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def measure(subject: Subject, course: Course) -> Sample:
    """Run a server through its restarts under load.

    Raises:
        BenchError: when it does not answer, when a restart brought nobody new, or did not end; with its log.

    """
    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        running = Running(Path(name), subject.command(Path(name), port), course.imports)
        try:
            return _under_load(subject, running, port, course)
        except (BenchError, LoadError, OSError) as error:
            log = running.log.read_text(errors="replace")[-2000:]
            raise BenchError(f"{subject.name}: {error}\n{log}") from error
        finally:
            running.end()


def _under_load(subject: Subject, running: Running, port: int, course: Course) -> Sample:
    kinds = tuple(kind for kind in KINDS if kind.word not in subject.without)
    plan = Plan(kinds=kinds, seconds=None, timeout=30)
    _until_listening(running, port)
    with LoadProcess(f"http://127.0.0.1:{port}", plan) as load:
        with load.mark(WARM_UP):
            load.wait_started(PATIENCE)
            time.sleep(course.warm_up)
        before, took, stayed = _cpu(), list[tuple[float, float]](), set[str]()
        for _ in range(course.restarts):
            time.sleep(course.quiet)
            if subject.restart:
                took.append(_restart(subject.restart, running, load, course, stayed))
            else:  # it is left alone for as long as a restart takes
                with load.mark(RESTART):
                    time.sleep(course.imports + course.after)
        time.sleep(course.quiet)
        after = _cpu()
        report = load.stop()
    busy = 1 - (after[1] - before[1]) / (after[0] - before[0])
    return _sample(report, took, len(stayed), busy)


def _until_listening(running: Running, port: int) -> None:
    """Wait until somebody answers: what is refused before that is no failure of a restart."""

    def answers() -> bool:
        if running.process.poll() is not None:
            raise BenchError(f"it ended with {running.process.returncode}")
        with contextlib.suppress(OSError):
            return bool(ask(port))
        return False

    until(answers, "an answer", every=_EVERY)


def _restart(
    restart: Restart, running: Running, load: LoadProcess, course: Course, stayed: set[str]
) -> tuple[float, float]:
    """Restart it; return the seconds to the first new answer, and until all had left who answered before.

    `stayed` are those who are not waited for; who never leaves becomes one of them.
    """
    known = load.generations
    with load.mark(RESTART) as mark:

        def heard() -> str:
            return load.wait_one(lambda name: is_new(name, known, mark.start), course.patience)

        try:
            restart(running, heard)
            first = load.wait_generation(heard())
        except TimeoutError as error:
            raise BenchError(f"a restart brought nobody new in {course.patience:g} s: {error}") from error
        deadline = time.monotonic() + course.leave
        while (here := {name for name in known if _is_there(name)} - stayed) and time.monotonic() < deadline:
            time.sleep(_EVERY)
        left = time.monotonic()
        stayed |= here
        time.sleep(max(0.0, first + course.after - left))
    return first - mark.start, left - mark.start


def is_new(generation: str, known: Sequence[str], since: float) -> bool:
    """Return whether who answers was imported after that moment; without a time, if it is not known yet."""
    _, _, born = generation.partition("@")
    return float(born) > since if born else generation not in known


def _is_there(generation: str) -> bool:
    return os.path.exists(f"/proc/{generation.partition('@')[0]}")


def _cpu() -> tuple[int, int]:
    """Return how much time the machine's CPUs have had, and how much of it they were idle (proc(5))."""
    fields = list(map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]))
    return sum(fields), fields[3] + fields[4]


def _sample(report: Report, took: Sequence[tuple[float, float]], stayed: int, busy: float) -> Sample:
    inside, outside = report.labels[RESTART], report.total.outside
    return Sample(
        restarts=len(took),
        sent=report.sent,
        failed=report.failed,
        steady=outside.p999,
        steady_answers=outside.ok,
        around=inside.p999,
        around_answers=inside.ok,
        worst=inside.most,
        closed=report.connections.get("closed while idle", 0),
        busy=busy,
        lag=report.lag.p99,
        until_new=[new for new, _ in took],
        until_left=[left for _, left in took],
        stayed=stayed,
        by_kind={kind: split.all.failed for kind, split in report.kinds.items()},
        outcomes={str(name): count for name, count in report.total.outcomes.items() if name != "ok"},
    )

"""A load in a process of its own, as tests and benches want it: started, marked, stopped, reported.

with LoadProcess("http://127.0.0.1:8000", Plan(kinds=(Fresh(rate=500),), seconds=60)) as load:
    load.wait_started()
    with load.mark("restart"):
        server.send_signal(signal.SIGUSR2)
        load.wait_generation("2")
    report = load.stop()
assert report.failed == 0, report
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.load.marks import Mark
from bench.load.outcomes import Failure
from bench.load.plan import Plan, Target
from bench.load.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_ROOT: Final = Path(__file__).resolve().parents[2]
_GRACE: Final = 15.0
"""Seconds on top of the plan's own times after which a load that does not end is killed."""


class LoadError(Exception):
    """The load's process could not do its work; what it said stands above on its stderr."""


class LoadProcess:
    """`python -m bench.load` as a context manager. On leaving it the process is gone, whatever happened.

    Args:
        target: `http://HOST:PORT[/path]`, the same with `https`, or `unix:/path`.
        plan: what load; its `seconds` bound it even when nobody stops it.
        timeline: put the course of latency over time into the report.

    """

    def __init__(self, target: str, plan: Plan, *, timeline: bool = False) -> None:
        self._target = Target.parse(target)
        self._plan = plan
        self._timeline = timeline
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._news = threading.Condition()
        self._said = threading.Lock()
        self._started: float | None = None
        self._failures: list[Failure] = []
        self._generations: dict[str, float] = {}
        self._heard: dict[tuple[str, str], float] = {}
        self._report: Report | None = None
        self._ended = False

    def start(self) -> Self:
        """Start sending; returns at once."""
        command = [sys.executable, "-m", "bench.load", self._target.text, "--json", "--control"]
        command += ["--plan", json.dumps(self._plan.to_json())]
        if self._timeline:
            command.append("--timeline")
        # A session of its own: a Ctrl-C meant for the test reaches it through `stop` only, with its report.
        self._process = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, name="load events", daemon=True)
        self._reader.start()
        return self

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What has failed until now (the first thousand)."""
        with self._news:
            return tuple(self._failures)

    @property
    def generations(self) -> tuple[str, ...]:
        """Who has answered until now, in the order of their first answers."""
        with self._news:
            return tuple(self._generations)

    @property
    def pid(self) -> int:
        """The process that sends."""
        assert self._process is not None, "start it first"
        return self._process.pid

    def wait_started(self, timeout: float = 20.0) -> float:
        """Wait for the first answer; return when it came, on the monotonic clock.

        Raises:
            TimeoutError: when none came within `timeout` seconds; the message says what failed until then.
            LoadError: when the process ended instead.

        """
        self._wait(lambda: self._started is not None, timeout, "an answer")
        assert self._started is not None
        return self._started

    def wait_generation(self, name: str | int, timeout: float = 20.0, *, kind: str | None = None) -> float:
        """Wait for the first answer by that generation; return when it came, on the monotonic clock.

        Args:
            name: of the generation.
            timeout: seconds.
            kind: the name of a kind of client in the plan: the first answer to that one.

        Raises:
            TimeoutError: when none came within `timeout` seconds; the message says what failed until then.
            LoadError: when the process ended instead.

        """
        if kind is not None:
            what = f"an answer by generation {name} to {kind}"
            self._wait(lambda: (str(name), kind) in self._heard, timeout, what)
            return self._heard[str(name), kind]
        self._wait(lambda: str(name) in self._generations, timeout, f"an answer by generation {name}")
        return self._generations[str(name)]

    def wait_one(self, wanted: Callable[[str], bool], timeout: float = 20.0) -> str:
        """Wait for the first answer by a generation of that sort; return its name.

        Raises:
            TimeoutError: when none came within `timeout` seconds; the message says what failed until then.
            LoadError: when the process ended instead.

        """
        found: list[str] = []

        def known() -> bool:
            found[:] = filter(wanted, self._generations)
            return bool(found)

        self._wait(known, timeout, "an answer by a generation as wanted")
        return found[0]

    def wait_failures(self, count: int = 1, timeout: float = 20.0) -> None:
        """Wait until so many requests have failed.

        Raises:
            TimeoutError: when fewer did within `timeout` seconds.
            LoadError: when the process ended instead.

        """
        self._wait(lambda: len(self._failures) >= count, timeout, f"{count} failures")

    def mark(self, label: str = "") -> Mark:
        """Start a window now; its `close`, or the end of a `with`, ends it. Without an end it counts not."""
        return Mark(label, time.monotonic(), told=self._tell_mark)

    def wait(self) -> Report:
        """Let the load go on for the plan's `seconds` (which must not be None), and return the report.

        Raises:
            LoadError: when the process ended without one, or had to be killed because it did not end.

        """
        assert self._plan.seconds is not None, "it would wait for ever"
        return self._end(self._plan.seconds)

    def stop(self) -> Report:
        """Begin nothing more, await what is under way, and return the report, the same each time.

        Raises:
            LoadError: when the process ended without one, or had to be killed because it did not end.

        """
        self._tell({"stop": True})
        return self._end(0.0)

    def _end(self, seconds: float) -> Report:
        assert self._process is not None, "start it first"
        assert self._reader is not None
        lead = max(getattr(kind, "over", 0.0) for kind in self._plan.kinds)
        self._reader.join(seconds + lead + self._plan.timeout + _GRACE)
        if self._reader.is_alive():
            self._process.kill()
            self._reader.join()
        status = self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._report is None:
            raise LoadError(f"the load ended with status {status} and without a report")
        return self._report

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if error is None:
            self.stop()
            return
        self._process.kill()
        self._process.wait()
        if self._reader is not None:
            self._reader.join()

    def _wait(self, known: Any, timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        with self._news:
            while not known():
                if self._ended:
                    raise LoadError(f"the load ended before {what} came; {self._told()}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no sign of {what} in {timeout:g} s; {self._told()}")
                self._news.wait(left)

    def _told(self) -> str:
        heard = ", ".join(self._generations) or "none"
        failed = f"last {self._failures[-1]}" if self._failures else "none"
        return f"generations heard: {heard}; failures: {len(self._failures)}, {failed}"

    def _tell_mark(self, mark: Mark) -> None:
        self._tell({"mark": {"label": mark.label, "start": mark.start, "end": mark.end}})

    def _tell(self, words: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        line = json.dumps(words).encode() + b"\n"
        # The process may have ended by itself; its report says until when.
        with self._said, contextlib.suppress(BrokenPipeError, ValueError):
            os.write(self._process.stdin.fileno(), line)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                words = json.loads(line)
                with self._news:
                    self._hear(words.pop("event"), words)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _hear(self, event: str, words: dict[str, Any]) -> None:
        if event == "started":
            self._started = words["at"]
        elif event == "generation":
            self._generations[words["generation"]] = words["at"]
        elif event == "heard":
            self._heard[words["generation"], words["kind"]] = words["at"]
        elif event == "failure":
            self._failures.append(Failure(**words))
        elif event == "report":
            self._report = Report.from_json(words)

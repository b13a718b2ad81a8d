"""Runs a plan: the pacer that begins each request when it is due, and the three ways to have it run.

`run` in a loop of the caller's, `Load` in a thread, and `process.LoadProcess` in a process of its own, which
is the one to trust for figures: nothing else competes for its interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import selectors
import threading
from typing import TYPE_CHECKING, Any, Final

from bench.load.answers import Dialect
from bench.load.clients import CLIENTS
from bench.load.histogram import LEAST
from bench.load.ledger import Ledger
from bench.load.marks import Mark, Marks
from bench.load.plan import Plan, Target
from bench.load.schedule import merged
from bench.load.setting import Setting

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from bench.load.report import Report

_SWEEP: Final = 0.050
"""Seconds between two looks for what has waited too long."""
_BATCH: Final = 32
"""Requests begun at most before the loop reads answers again, when the pacer is behind."""
_FINE: Final = 0.002
"""Seconds. Waits shorter than this are made with microseconds."""


class FineSelector(selectors.EpollSelector):
    """Waits to the microsecond: `epoll_wait` rounds up to milliseconds, which every latency would show."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, as every selector does."""
        if timeout is not None and 0 < timeout < _FINE:
            # The epoll descriptor was made first and its number is small: select's limit of 1,024 is far.
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def fine_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop that keeps time to the microsecond, for `asyncio.Runner(loop_factory=...)`."""
    return asyncio.SelectorEventLoop(FineSelector())


async def run(
    target: str | Target,
    plan: Plan,
    *,
    marks: Marks | None = None,
    stop: asyncio.Event | None = None,
    told: Callable[[dict[str, Any]], None] | None = None,
    timeline: bool = False,
) -> Report:
    """Put the plan's load on the target and return what it found.

    It ends after `plan.seconds`, or when `stop` is set: nothing new is begun then, and what is under way is
    awaited, each request at most for its timeout.

    Args:
        target: `http://HOST:PORT[/path]`, the same with `https`, or `unix:/path`, on this machine
            (see `Target.parse`).
        plan: what load.
        marks: windows of time, added while it runs, from any thread.
        stop: ends the load early.
        told: called in the loop with every event as it happens: `started`, `generation`, `heard` (a
            generation, by one more kind of client), `failure`.
        timeline: put the course of latency over time into the report.

    Raises:
        ValueError: for a target that is none.
        OSError: when its name cannot be looked up.

    """
    loop = asyncio.get_running_loop()
    place = Target.parse(target) if isinstance(target, str) else target
    pattern = None if plan.generation_body is None else re.compile(plan.generation_body.encode())
    started = loop.time()
    ledger = Ledger(place.text, tuple(kind.label for kind in plan.kinds), started=started, told=told)
    setting = Setting(loop, place, plan, Dialect(header=plan.generation_header, body=pattern), ledger)
    pacer = _Pacer(setting, started)
    try:
        await _until(stop, plan.seconds)
        pacer.stop()
        await pacer.over.wait()
    finally:
        pacer.close()
    return ledger.report(marks or Marks(), now=loop.time(), timeline=timeline)


async def _until(stop: asyncio.Event | None, seconds: float | None) -> None:
    try:
        await asyncio.wait_for((stop or asyncio.Event()).wait(), seconds)
    except TimeoutError:
        return


class _Pacer:
    """Begins requests when they are due, and knows when the last has ended."""

    def __init__(self, setting: Setting, started: float) -> None:
        self.over = asyncio.Event()
        plan = setting.plan
        self._setting = setting
        self._loop = setting.loop
        self._started = started
        self._clients = [CLIENTS[type(kind)](setting, kind) for kind in plan.kinds]
        self._schedule = merged([kind.rate for kind in plan.kinds], shape=plan.arrivals, seed=plan.seed)
        self._next = next(self._schedule)
        self._stopped = False
        self._timer: asyncio.Handle = self._loop.call_at(started + self._next[0], self._tick)
        self._sweeper: asyncio.Handle = self._loop.call_later(_SWEEP, self._sweep)

    def stop(self) -> None:
        """Begin nothing more; `over` is set when what is under way has ended."""
        self._stopped = True
        self._timer.cancel()
        for client in self._clients:
            client.stop()
        self._look()

    def close(self) -> None:
        """Close every connection."""
        self._timer.cancel()
        self._sweeper.cancel()
        for client in self._clients:
            client.close()
        for connection in list(self._setting.open):
            connection.close()

    def _tick(self) -> None:
        ledger, loop = self._setting.ledger, self._loop
        seconds = self._setting.plan.seconds
        for _ in range(_BATCH):
            at, which = self._next
            if seconds is not None and at >= seconds:
                return
            due = self._started + at
            late = loop.time() - due
            if late < 0:
                self._timer = loop.call_at(due, self._tick)
                return
            client = self._clients[which]
            ledger.lag.record(max(late, LEAST))
            ledger.sent += client.weight
            client.arrive(due)
            self._next = next(self._schedule)
        self._timer = loop.call_soon(self._tick)

    def _sweep(self) -> None:
        now = self._loop.time()
        self._setting.sweep()
        for client in self._clients:
            client.sweep(now)
        self._look()
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)

    def _look(self) -> None:
        ledger = self._setting.ledger
        if self._stopped and ledger.ended == ledger.sent:
            self.over.set()


class Load:
    """A load in a thread of this process: `start`, marks, `stop`. Also a context manager.

    Its figures suffer from whatever else this interpreter does; for measuring use `process.LoadProcess`.
    """

    def __init__(
        self, target: str | Target, plan: Plan, *, told: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        self.marks = Marks()
        self._target = Target.parse(target) if isinstance(target, str) else target
        self._plan = plan
        self._told = told
        self._first = threading.Event()
        self._running = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._report: Report | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="load", daemon=True)

    def start(self) -> Self:
        """Start sending."""
        self._thread.start()
        self._running.wait()
        return self

    def wait_started(self, timeout: float = 10.0) -> None:
        """Wait until the first answer has come.

        Raises:
            TimeoutError: when none came within `timeout` seconds.

        """
        if not self._first.wait(timeout):
            raise TimeoutError(f"{self._target.text} gave no answer in {timeout:g} s")

    def mark(self, label: str = "") -> Mark:
        """Start a window now; its `close`, or the end of a `with`, ends it."""
        return self.marks.open(label)

    def stop(self) -> Report:
        """Begin nothing more, await what is under way, and return the report, the same each time."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it ended by itself in this moment
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._report is not None
        return self._report

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=fine_loop) as runner:
                self._report = runner.run(self._run())
        except BaseException as error:  # noqa: BLE001 - handed to the caller of stop
            self._error = error
        finally:
            self._running.set()

    async def _run(self) -> Report:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._running.set()
        return await run(self._target, self._plan, marks=self.marks, stop=self._stop, told=self._hear)

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "started":
            self._first.set()
        if self._told is not None:
            self._told(event)

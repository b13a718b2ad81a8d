"""A bar for what takes long, on a terminal only. Its cursor stays in sight, whatever ends the command."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from overseer.cli import table, terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from rich.console import Console
    from rich.progress import Progress, TaskID


_SOON = 1.0
"""Seconds within which most of what is asked for is done: nothing is drawn of that."""


@contextmanager
def bar(length: int) -> Iterator[tuple[Callable[[int], object], Callable[[str], object]]]:
    """Give two functions, which draw on standard error.

    The one is told how many more of `length` bytes have gone, the other in a sentence what goes on.
    """
    if not terminal.moves(sys.stderr):
        yield (lambda _: None), (lambda _: None)
        return
    with _drawn() as shown:
        task = shown.add_task("", total=length, bytes=True)
        yield (lambda more: shown.advance(task, more)), shown.console.print


class Following:
    """What goes on in a service while an operator waits for it: one line on his terminal that moves.

    On what is no terminal, and on one that wants letters only, nothing is shown.
    """

    def __init__(self, idle: str = "") -> None:
        self.idle = idle  # what to show when nothing is told
        self.wanted = terminal.moves(sys.stderr)
        self._since = time.monotonic()
        self._shown: Progress | None = None
        self._task: TaskID | None = None
        self._step = ""

    def tell(self, status: dict[str, Any], aim: str = "") -> None:
        """Show what a status says of the release that is fetched, or of the one that is to be current."""
        if not self.wanted:
            return
        going: dict[str, Any] = status.get("progress") or {}  # an older master tells none
        if not going and not aim and time.monotonic() < self._since + _SOON:
            return
        step, bytes_ = _step_of(status, going, aim) or self.idle, going.get("step") == "fetching" and not aim
        if not step:
            self._drop()
            return
        if self._shown is None:
            self._shown = _drawn()
            self._shown.start()
        total, here = (going["size"], going["arrived"]) if bytes_ else (None, 0)
        if step != self._step or self._task is None:
            self._drop()
            self._step = step
            self._task = self._shown.add_task(step, total=total, completed=here, bytes=bytes_)
        elif bytes_:
            self._shown.update(self._task, total=total, completed=here)

    def say(self, text: str) -> None:
        """Print a line that stays, above what moves."""
        if self._shown:
            self._shown.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(text, err=True)

    def _drop(self) -> None:
        if self._shown and self._task is not None:
            self._shown.remove_task(self._task)
        self._task = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        if self._shown:
            self._shown.stop()


def _step_of(status: dict[str, Any], going: dict[str, Any], aim: str) -> str:
    if not aim:
        return f"{going['step']} {table.printable(going['name'])}".rstrip() if going else ""
    for g in reversed(status["generations"]):
        if g["release"] == aim and g["phase"] in _PHASES:
            return f"generation {g['number']} {_PHASES[g['phase']]}"
    return f"release {table.release(aim)} is started"


_PHASES = {"starting": "starts", "serving": "serves its probation"}


def _drawn() -> Progress:
    from rich import progress  # noqa: PLC0415 - slow to import
    from rich.text import Text  # noqa: PLC0415

    class Bytes(progress.DownloadColumn):
        def render(self, task: progress.Task) -> Text:
            return super().render(task) if task.fields["bytes"] else Text("")

    class Speed(progress.TransferSpeedColumn):
        def render(self, task: progress.Task) -> Text:
            return super().render(task) if task.fields["bytes"] else Text("")

    what = progress.TextColumn("{task.description}", markup=False)
    columns = (what, progress.BarColumn(20), Bytes(), Speed(), progress.TimeElapsedColumn())
    return progress.Progress(
        *columns, console=_console(), transient=True, redirect_stdout=False, redirect_stderr=False
    )


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - slow to import

    class Steady(Console):
        def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002 - rich's signature
            return False  # who is killed, or stopped by Ctrl-Z, could not bring it back

    return Steady(stderr=True)

"""A bar for what takes long, on a terminal only."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def bar(length: int) -> Iterator[tuple[Callable[[int], object], Callable[[str], object]]]:
    """Give two functions, which draw on standard error.

    The one is told how many more of `length` bytes have gone, the other in a sentence what goes on.
    """
    if not sys.stderr.isatty():
        yield (lambda _: None), (lambda _: None)
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=length)
        yield (lambda more: shown.advance(task, more)), shown.console.print

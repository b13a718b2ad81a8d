"""The end of a program that has raised: whose error it is, and that nothing of the process stays for ever."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from typing import TYPE_CHECKING

from overseer.program.link import start_deaf

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("overseer")

_SOON = 0.5
"""Seconds in which a process that has nothing left to wait for is gone."""


def is_ours(error: BaseException) -> bool:
    """Whether overseer itself has raised it, for a wrong option of a server, say, and not the program."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__")).startswith("overseer.")


def end_within(seconds: float, error: BaseException, tell: Callable[[str], None]) -> None:
    """See to it that a program that has failed ends, in so many seconds at most.

    Python waits for threads that are no daemons, for ever, though nobody serves any more and the master knows
    nothing of it. `tell` is called with what was raised when there are any.
    """
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return
    status = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
    ends = time.monotonic() + seconds
    reason = f"{type(error).__name__}: {error}"

    def see(_usual: set[int]) -> None:
        time.sleep(min(_SOON, seconds))
        _log.warning("the program has failed, and waits for %s, %g s at most", _threads(), seconds)
        tell(reason)
        time.sleep(max(0.0, ends - time.monotonic()))
        _log.error("the program has failed, and still waits for %s: it is ended", _threads())
        os._exit(status)

    start_deaf(see, "overseer-end")


def _threads() -> str:
    """Name what Python waits for."""
    main = threading.main_thread()
    names = [f"thread {each.name}" for each in threading.enumerate() if each is not main and not each.daemon]
    return ", ".join(names) or "what it has to do at its exit"

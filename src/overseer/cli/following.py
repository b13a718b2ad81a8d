"""Ask for what takes its time, and wait for how it ends: what is fetched, started, and on probation."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from overseer.cli import table
from overseer.cli.asking import OFTEN, ask
from overseer.cli.command import end
from overseer.cli.progress import Following

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REPLACED = 15.0
"""Seconds that the updater may take to come back."""


def follow(path: str, kind: str, *, timeout: float, patience: float | None = None, **more: str) -> None:
    """Ask for another release, and end when it is current, or has failed.

    `timeout` is in seconds, for all of it; `patience` for the answer alone. On a terminal it is seen how far
    it is. Raises as `ask` does.
    """
    with _left_alone():
        answer = _followed(path, kind, timeout=timeout, patience=patience, **more)
    end(answer)


def wait(path: str, kind: str, says: str) -> None:
    """Ask for something, and end as it ends, however long it takes; a terminal shows what is waited for."""
    with _left_alone(), Following(says) as seen:
        answer = ask(path, kind, timeout=None, meanwhile=(lambda: seen.tell({})) if seen.wanted else None)
    end(answer)


@contextmanager
def _left_alone() -> Iterator[None]:
    """Whoever presses Ctrl-C stops waiting, and nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\noverseer: what was asked for goes on; overseer status tells how far it is", err=True)
        raise SystemExit(130) from None


def _followed(path: str, kind: str, *, timeout: float, patience: float | None, **more: str) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    with Following("the source is asked" if kind == "fetch" else "") as seen:

        def look() -> None:
            seen.tell(ask(path, "status"))

        watch = look if seen.wanted else None
        answer = of_the_updater(path, kind, timeout=patience, meanwhile=watch, **more)
        found = ask(path, "status")
        on_its_way = answer["outcome"] == "done" and found["wanted"] != found["current"]
        if on_its_way:
            newly = " is staged" in answer["detail"] or " is started" in answer["detail"]
            wanted = f"release {table.release(found['wanted'])} is on its way already"
            seen.say(answer["detail"] if newly else wanted)
            answer = _await(path, found["wanted"], deadline, seen)
    return answer


def of_the_updater(
    path: str,
    kind: str,
    *,
    timeout: float | None = None,
    meanwhile: Callable[[], None] | None = None,
    **more: str,
) -> dict[str, Any]:
    """Ask for what the updater does; it is gone for a moment whenever the program has been replaced."""
    patience = time.monotonic() + _REPLACED
    while True:
        answer = ask(path, kind, timeout=timeout, meanwhile=meanwhile, **more)
        gone = answer["detail"].endswith("started anew")
        cut = (
            answer["detail"].endswith("ask again") and kind != "rollback"
        )  # which may have begun: to be seen
        if not (gone or cut) or time.monotonic() > patience:
            return answer
        time.sleep(OFTEN)


def _await(path: str, aim: str, deadline: float, seen: Following) -> dict[str, Any]:
    """Wait until a release is current, or is not wanted any more."""
    while time.monotonic() < deadline:
        found = ask(path, "status")
        if aim in found["held"]:
            reason = found["reasons"].get(aim, "")
            return {"outcome": "failed", "detail": f"release {table.release(aim)} went back: {reason}"}
        if found["current"] == aim:
            return {"outcome": "done", "detail": f"release {table.release(aim)} is current"}
        seen.tell(found, aim)
        time.sleep(OFTEN)
    return {"outcome": "failed", "detail": f"release {table.release(aim)} is still not current"}

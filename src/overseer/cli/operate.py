"""What operators do with a running service: look, restart, upgrade, roll back, stop."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from overseer.cli import connections, kept, table
from overseer.cli.asking import ask, find
from overseer.cli.command import Command, end, of_a_service
from overseer.cli.events import told
from overseer.errors import OverseerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.store.ledger import Ledger

_EVERY = 1.0
"""Seconds between two looks of --watch."""

_OFTEN = 0.2
"""Seconds between two looks while something is waited for."""

_REPLACED = 15.0
"""Seconds that the updater may take to come back."""


@click.command(cls=Command, short_help="What a service is doing.")
@of_a_service
@click.option("--json", "as_json", is_flag=True, help="As one line of JSON, for programs.")
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
def status(name: str, control: str, *, as_json: bool, watch: bool) -> None:
    """Show what a service is doing: its generations, releases, workers and sockets."""
    path = find(name, control)
    while True:
        found = ask(path, "status")
        connections.tell(found)
        ledger = kept.ledger_of(found)
        more = {"pinned": kept.pinned(ledger), "held_in_store": dict(ledger.held)}
        lines = [json.dumps(found | more)] if as_json else list(_shown(found, ledger))
        if watch and not as_json and sys.stdout.isatty():
            click.clear()
        click.echo("\n".join(lines))
        if not watch:
            return
        time.sleep(_EVERY)


def _shown(found: dict[str, Any], ledger: Ledger) -> Iterator[str]:
    yield table.headline(found)
    yield from table.facts(found, kept.held(found, ledger), kept.pinned(ledger))
    if rows := list(table.workers(found)):
        yield ""
        head, *rest = table.columns([table.HEADS, *rows])
        yield click.style(head, bold=True)
        yield from rest
    if found.get("events"):  # an older master tells none
        yield ""
        yield click.style("last events", bold=True)
        yield from map(told, found["events"])


@click.command(cls=Command, short_help="Start the next generation, and have this one drain.")
@of_a_service
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until it is known how it ended.")
def restart(name: str, control: str, *, wait: bool) -> None:
    """Start the next generation beside the present one, which leaves when the new one is ready.

    Ends with 0 when a generation serves that was started after this request, with 1 when it will not do
    (the old one serves on), with 69 when no master answers.
    """
    path = find(name, control)
    if wait:
        end(ask(path, "restart", timeout=None))
        return
    ask(path, "status")
    _send_off(path, "restart")
    click.echo("asked for")


def _send_off(path: str, kind: str) -> None:
    import socket  # noqa: PLC0415 - only here

    with socket.socket(socket.AF_UNIX) as master:
        master.connect(path)
        master.sendall(json.dumps({"type": kind}).encode() + b"\n")
        master.shutdown(socket.SHUT_WR)


@click.command(cls=Command, short_help="Look for a release now, and follow it.")
@of_a_service
@click.option("--now", is_flag=True, help="What this command does in any case; for those who expect it.")
@click.option("--timeout", default=3600.0, show_default=True, metavar="SECONDS", help="How long to wait.")
def upgrade(name: str, control: str, *, now: bool, timeout: float) -> None:  # noqa: ARG001 - --now is for the eye
    """Look for a release now, and wait until it is current or has failed.

    Ends with 0 when it has served its probation, or when there is nothing newer; with 1 when it was not taken
    or went back.
    """
    path = find(name, control)
    deadline = time.monotonic() + timeout
    _follow(path, _of_the_updater(path, "fetch", timeout=timeout), deadline)


def _follow(path: str, answer: dict[str, Any], deadline: float) -> None:
    """Where another release is on its way now, wait for it to become current or to fail."""
    found = ask(path, "status")
    if answer["outcome"] != "done" or found["wanted"] == found["current"]:
        end(answer)
        return
    click.echo(answer["detail"], err=True)
    end(_await(path, found["wanted"], deadline))


def _of_the_updater(path: str, kind: str, *, timeout: float | None = None, **more: str) -> dict[str, Any]:
    """Ask for what the updater does; it is gone for a moment whenever the program has been replaced."""
    patience = time.monotonic() + _REPLACED
    while True:
        answer = ask(path, kind, timeout=timeout, **more)
        gone = answer["detail"].endswith("started anew")
        cut = (
            answer["detail"].endswith("ask again") and kind != "rollback"
        )  # which may have begun: to be seen
        if not (gone or cut) or time.monotonic() > patience:
            return answer
        time.sleep(_OFTEN)


def _await(path: str, aim: str, deadline: float) -> dict[str, Any]:
    """Wait until a release is current, or is not wanted any more."""
    while time.monotonic() < deadline:
        found = ask(path, "status")
        if aim in found["held"]:
            reason = found["reasons"].get(aim, "")
            return {"outcome": "failed", "detail": f"release {table.release(aim)} went back: {reason}"}
        if found["current"] == aim:
            return {"outcome": "done", "detail": f"release {table.release(aim)} is current"}
        time.sleep(_OFTEN)
    return {"outcome": "failed", "detail": f"release {table.release(aim)} is still not current"}


@click.command(cls=Command, short_help="Go back to the release before.")
@of_a_service
@click.argument("release", default="")
@click.option("--timeout", default=3600.0, show_default=True, metavar="SECONDS", help="How long to wait.")
def rollback(name: str, control: str, release: str, *, timeout: float) -> None:
    """Go back: from a release on probation to the current one, else to the one that was current before.

    RELEASE, a version or the beginning of a digest, names another one of those that are still in the store.
    What is left is held: it is not taken again by itself. The way back is a restart like any other, with a
    probation; the command waits for its end.
    """
    path = find(name, control)
    _follow(path, _of_the_updater(path, "rollback", release=release), time.monotonic() + timeout)


@click.command(cls=Command, short_help="Never take a release by itself.")
@of_a_service
@click.argument("release")
def hold(name: str, control: str, release: str) -> None:
    """Never take RELEASE by itself: a version, the beginning of a digest, or any whole digest."""
    end(_of_the_updater(find(name, control), "hold", release=release))


@click.command(cls=Command, short_help="Give a held release another chance.")
@of_a_service
@click.argument("release")
def unhold(name: str, control: str, release: str) -> None:
    """Give a held RELEASE another chance; the source is asked at once."""
    end(_of_the_updater(find(name, control), "unhold", release=release))


@click.command(cls=Command, short_help="Stay on a release.")
@of_a_service
@click.argument("release", default="")
def pin(name: str, control: str, release: str) -> None:
    """Stay on a release until `overseer unpin`: no other is taken, restarts work.

    Without RELEASE it is the current one. RELEASE may be a version, the beginning of a digest, or a whole
    digest; one that is not here yet is the only one that is taken when the source offers it. It is remembered
    in the store, so that no restart of anything forgets it. To go to one that was here before, `overseer
    rollback` to it first.
    """
    end(_of_the_updater(find(name, control), "pin", release=release))


@click.command(cls=Command, short_help="Take releases again.")
@of_a_service
def unpin(name: str, control: str) -> None:
    """Take releases again; the source is asked at once."""
    end(_of_the_updater(find(name, control), "unpin"))


@click.command(cls=Command, short_help="What happened to releases, when and why.")
@of_a_service
@click.option("--json", "as_json", is_flag=True, help="As lines of JSON, for programs.")
@click.option("--last", default=20, show_default=True, metavar="N", help="Only the last N; 0 for all.")
def history(name: str, control: str, *, as_json: bool, last: int) -> None:
    """Show what has happened to releases, when and why, oldest first."""
    from overseer.store import history as kept  # noqa: PLC0415 - only here

    folder = table.store_of(ask(find(name, control), "status"))
    if not folder:
        raise OverseerError("this service has no releases: it has no fetcher")
    entries = list(kept.read(f"{folder}history"))[-last:]
    lines = (json.dumps(asdict(e)) for e in entries) if as_json else table.columns(map(table.told, entries))
    for line in lines:
        click.echo(line)


@click.command(cls=Command, short_help="Have everybody finish, and end.")
@of_a_service
def stop(name: str, control: str) -> None:
    """Stop a service: everybody finishes what he has, and leaves. Waits for it."""
    end(ask(find(name, control), "stop", timeout=None))


@click.command(cls=Command, short_help="Start the master anew, with the same PID.")
@of_a_service
def reexec(name: str, control: str) -> None:
    """Start the master itself anew: same PID, same sockets, same children."""
    end(ask(find(name, control), "reexec", timeout=None))

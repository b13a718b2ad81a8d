"""What operators do with a running service: look, restart, upgrade, roll back, stop."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from overseer.cli import connections, kept, table, terminal
from overseer.cli.asking import ask, find
from overseer.cli.command import Command, end, of_a_service
from overseer.cli.completion import held, releases
from overseer.cli.events import INDENT, told
from overseer.cli.following import follow, of_the_updater
from overseer.cli.following import wait as wait_for
from overseer.errors import OverseerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.store.ledger import Ledger

_EVERY = 1.0
"""Seconds between two looks of --watch."""

_COUNT = click.IntRange(min=0)

_TIMEOUT = click.option(
    "--timeout",
    default=3600.0,
    type=click.FloatRange(min=0, min_open=True),
    show_default=True,
    metavar="SECONDS",
    help="How long to wait.",
)


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
        if not watch or as_json or not terminal.moves(sys.stdout):
            click.echo("\n".join([*lines, ""] if watch and not as_json else lines))
        else:
            terminal.redraw(lines)
        if not watch:
            return
        time.sleep(_EVERY)


def _shown(found: dict[str, Any], ledger: Ledger) -> Iterator[str]:
    yield table.headline(found)
    facts = table.facts(found, kept.held(found, ledger), kept.pinned(ledger))
    yield from (terminal.fold(fact, table.INDENT) for fact in facts)
    if rows := list(table.workers(found)):
        yield ""
        head, *rest = table.columns(table.fitting([table.HEADS, *rows], terminal.width()))
        yield click.style(head, bold=True)
        yield from rest
    if found.get("events"):  # an older master tells none
        yield ""
        yield click.style("last events", bold=True)
        yield from (terminal.fold(told(event), INDENT) for event in found["events"])


@click.command(cls=Command, short_help="Start the next generation, and have this one drain.")
@of_a_service
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until it is known how it ended.")
def restart(name: str, control: str, *, wait: bool) -> None:
    """Start the next generation beside the present one, which leaves when the new one is ready.

    Ends with 0 when a generation serves that was started after this request, with 1 when it will not do
    (the old one serves on), with 69 when no master answers. A program with `no_restart` is stopped, as by
    the signal: that ends with 1.
    """
    path = find(name, control)
    if wait:
        wait_for(path, "restart", "the next generation is waited for")
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
@_TIMEOUT
def upgrade(name: str, control: str, *, now: bool, timeout: float) -> None:  # noqa: ARG001 - --now is for the eye
    """Look for a release now, and wait until it is current or has failed.

    Ends with 0 when it has served its probation, or when there is nothing newer; with 1 when it was not taken
    or went back.
    """
    follow(find(name, control), "fetch", timeout=timeout, patience=timeout)


@click.command(cls=Command, short_help="Go back to the release before.")
@of_a_service
@click.argument("release", default="", shell_complete=releases)
@_TIMEOUT
def rollback(name: str, control: str, release: str, *, timeout: float) -> None:
    """Go back: from a release on probation to the current one, else to the one that was current before.

    RELEASE, a version or the beginning of a digest, names another one of those that are still in the store.
    What is left is held: it is not taken again by itself. The way back is a restart like any other, with a
    probation; the command waits for its end.
    """
    follow(find(name, control), "rollback", timeout=timeout, release=release)


@click.command(cls=Command, short_help="Never take a release by itself.")
@of_a_service
@click.argument("release", shell_complete=releases)
def hold(name: str, control: str, release: str) -> None:
    """Never take RELEASE by itself: a version, the beginning of a digest, or any whole digest."""
    end(of_the_updater(find(name, control), "hold", release=release))


@click.command(cls=Command, short_help="Give a held release another chance.")
@of_a_service
@click.argument("release", shell_complete=held)
def unhold(name: str, control: str, release: str) -> None:
    """Give a held RELEASE another chance; the source is asked at once."""
    end(of_the_updater(find(name, control), "unhold", release=release))


@click.command(cls=Command, short_help="Stay on a release.")
@of_a_service
@click.argument("release", default="", shell_complete=releases)
def pin(name: str, control: str, release: str) -> None:
    """Stay on a release until `overseer unpin`: no other is taken, restarts work.

    Without RELEASE it is the current one. RELEASE may be a version, the beginning of a digest, or a whole
    digest; one that is not here yet is the only one that is taken when the source offers it. It is remembered
    in the store, so that no restart of anything forgets it. To go to one that was here before, `overseer
    rollback` to it first.
    """
    end(of_the_updater(find(name, control), "pin", release=release))


@click.command(cls=Command, short_help="Take releases again.")
@of_a_service
def unpin(name: str, control: str) -> None:
    """Take releases again; the source is asked at once."""
    end(of_the_updater(find(name, control), "unpin"))


@click.command(cls=Command, short_help="What happened to releases, when and why.")
@of_a_service
@click.option("--json", "as_json", is_flag=True, help="As lines of JSON, for programs.")
@click.option(
    "--last",
    default=20,
    type=_COUNT,
    show_default=True,
    metavar="N",
    help="Only the last N; 0 for all.",
)
def history(name: str, control: str, *, as_json: bool, last: int) -> None:
    """Show what has happened to releases, when and why, oldest first."""
    from overseer.store import history as kept  # noqa: PLC0415 - only here

    status = ask(find(name, control), "status")
    folder = table.store_of(status)
    if not folder and any(status.get("source", ())):
        off = "upgrades are off since this service was started; overseer doctor says why"
        raise OverseerError(str(status["trouble"] or off))
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
    wait_for(find(name, control), "stop", "everybody finishes what he has")


@click.command(cls=Command, short_help="Start the master anew, with the same PID.")
@of_a_service
def reexec(name: str, control: str) -> None:
    """Start the master itself anew: same PID, same sockets, same children."""
    end(ask(find(name, control), "reexec", timeout=None))

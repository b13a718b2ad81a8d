"""`overseer events`: what has happened in the life of a service, and what goes on to happen."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from overseer.cli import table, terminal
from overseer.cli.asking import NobodyError, find, listen
from overseer.cli.command import Command, of_a_service

if TYPE_CHECKING:
    from collections.abc import Iterator

INDENT = 33
"""Columns of an event's time and kind."""

_ALWAYS = ("type", "number", "time", "event")


@click.command(cls=Command, short_help="What has happened, and what happens.")
@of_a_service
@click.option("--follow", "-f", is_flag=True, help="Go on with those to come, until Ctrl-C.")
@click.option("--after", type=int, default=None, metavar="NUMBER", help="Only those after this one.")
@click.option("--json", "as_json", is_flag=True, help="As lines of JSON, for programs.")
def events(name: str, control: str, *, follow: bool, after: int | None, as_json: bool) -> None:
    """Show what has happened in a service: started, ready, drained, killed, promoted, rolled back, and so on.

    The master remembers the last 256 events of its life. Whoever reads too slowly is told how many he has
    missed. With --follow it ends with 69 when the master has ended, or has dropped the connection in favour
    of others.
    """
    wish = {"follow": follow} if after is None else {"follow": follow, "after": after}
    for word in listen(find(name, control), "events", **wish):
        if word["type"] == "end":
            return
        click.echo(json.dumps(_bare(word)) if as_json else terminal.fold(told(word), INDENT))
        sys.stdout.flush()
    raise NobodyError("the master has ended, or has made room for others")


def _bare(word: dict[str, Any]) -> dict[str, Any]:
    """Return an event as programs get it; what was missed is an event of its own."""
    if word["type"] == "missed":
        return {"event": "missed", "events": word["events"]}
    return {name: value for name, value in word.items() if name != "type"}


def told(word: dict[str, Any]) -> str:
    """Tell one event to people: when, what, and what it says beside, in one line."""
    if word.get("type") == "missed":
        return f"... {word['events']} events were missed: they came faster than they were read"
    at = datetime.fromtimestamp(word["time"]).astimezone()
    return " ".join([f"{at:%Y-%m-%d %H:%M:%S}", f"{word['event']:<12}", *_parts(word)]).rstrip()


def _parts(word: dict[str, Any]) -> Iterator[str]:
    """Tell the fields of an event; what says nothing is left out."""
    for name, value in word.items():
        match name, value:
            case _ if name in _ALWAYS or value in ("", [], None):
                continue
            case (("release" | "to"), _):
                yield f"{name} {table.release(str(value))}"
            case "duration", _:
                yield f"after {value:g} s"
            case "reason", _:
                yield f"({table.printable(str(value))})"
            case "unasked", bool():
                yield from ["unasked"] if value else []
            case "killed", 0:
                continue
            case _, list():
                yield f"{name} {', '.join(table.printable(str(each)) for each in value)}"
            case _:
                yield f"{name} {table.printable(str(value))}"

"""`overseer doctor`: what would stop an upgrade here, and what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from overseer.cli import table, terminal
from overseer.cli.asking import ask, find
from overseer.cli.command import Command, of_a_service
from overseer.cli.completion import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.doctor.facts import Finding

_INDENT = 17
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(cls=Command, short_help="What would stop an upgrade here.")
@of_a_service
@click.option("--json", "as_json", is_flag=True, help="As one line of JSON, for programs.")
@click.argument("binary", default="", metavar="[PROGRAM]", shell_complete=files)
def doctor(name: str, control: str, binary: str, *, as_json: bool) -> None:
    """Look for what would stop an upgrade: rights, mounts, room, owners, locks, extras, the unit's settings.

    A running service is looked at as it sees the disk itself; with PROGRAM, the file of one that does not
    run, as the user of this command would. One line for each check: ok, warn (it works, and might be better)
    or fail, with what it means and what to do. Nothing is changed. Ends with 0 when nothing fails, with 1
    when something does, with 69 when no master answers. Root sees most.
    """
    from overseer.doctor.gather import gather  # noqa: PLC0415 - only here
    from overseer.doctor.judge import judge  # noqa: PLC0415
    from overseer.updater.kinds import KINDS  # noqa: PLC0415

    interpreted = {kind.name: kind.interpreted for kind in KINDS.values()}
    status: dict[str, Any] = {}
    path = ""
    if not binary:
        path = find(name, control)
        status = ask(path, "status")
    found = judge(gather(status, control=path, binary=binary, interpreted=interpreted))
    if as_json:
        click.echo(json.dumps({"findings": [asdict(each) for each in found]}))
    else:
        click.echo("\n".join(_shown(found)))
    if any(each.level == "fail" for each in found):
        raise SystemExit(1)


def _shown(found: list[Finding]) -> Iterator[str]:
    for each in found:
        level = click.style(f"{each.level:<4}", fg=_COLOURS[each.level], bold=each.level == "fail")
        says = terminal.fold(f"{each.level:<4}  {each.check:<9}  {table.printable(each.says)}", _INDENT)
        yield level + says[len(each.level.ljust(4)) :]
        if each.do:
            yield terminal.fold(f"{'':>{_INDENT}}-> {table.printable(each.do)}", _INDENT + 3)

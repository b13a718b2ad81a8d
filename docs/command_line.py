"""Tell the commands of a click group: how each is called, what it does, and its options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


BAR = r"\|"
"""What a bar is in a cell of a table, in code, too."""


def commands(group: click.Group, name: str) -> Iterator[str]:
    """Yield Markdown for every command of a group, and of the groups in it."""
    for called, command, context in each_command(group, name):
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"### `{called} {usage}`"
        yield ""
        yield from paragraphs(command.help or "")
        yield from options(command, context)


def paragraphs(told: str) -> Iterator[str]:
    """Yield the paragraphs of a help; what must not be filled, behind a backspace, is an example."""
    for part in re.split(r"\n\s*\n", told.strip()):
        if part.startswith("\b"):
            yield from (f"    {line.strip()}" for line in part.splitlines()[1:])
        else:
            yield " ".join(part.split())
        yield ""


def each_command(group: click.Group, name: str) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command of a group, and of the groups in it, as it is called."""
    with click.Context(group, info_name=name) as context:
        for each in group.list_commands(context):
            command = group.get_command(context, each)
            assert command is not None
            if isinstance(command, click.Group):
                yield from each_command(command, f"{name} {each}")
                continue
            with click.Context(command, info_name=f"{name} {each}") as inner:
                yield f"{name} {each}", command, inner


def rows(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    """Return each option of a command, and what it means."""
    given = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    told = [record for each in given if (record := each.get_help_record(context))]
    return [(option, text) for option, text in told if option not in ("--help", "-h, --help")]


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the table of a command's options, nothing when it has none."""
    if found := rows(command, context):
        yield "| option | meaning |"
        yield "|---|---|"
        for option, text in found:
            cells = (f"`{option}`", " ".join(text.split()))
            yield " | ".join(["", *(cell.replace("|", BAR) for cell in cells), ""]).strip()
        yield ""

"""Tell the commands of a click group: how each is called, what it does, and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(group: click.Group, name: str) -> Iterator[str]:
    """Yield Markdown for every command of a group, and of the groups in it."""
    with click.Context(group, info_name=name) as context:
        for each in group.list_commands(context):
            command = group.get_command(context, each)
            assert command is not None
            if isinstance(command, click.Group):
                yield from commands(command, f"{name} {each}")
                continue
            with click.Context(command, info_name=f"{name} {each}") as inner:
                usage = " ".join(command.collect_usage_pieces(inner))
                yield f"### `{name} {each} {usage}`"
                yield ""
                yield " ".join((command.help or "").split())
                yield ""
                yield from options(command, inner)


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the table of a command's options, nothing when it has none."""
    given = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    rows = [record for each in given if (record := each.get_help_record(context))]
    rows = [(option, text) for option, text in rows if option not in ("--help", "-h, --help")]
    if rows:
        yield "| option | meaning |"
        yield "|---|---|"
        for option, text in rows:
            yield f"| `{option}` | {' '.join(text.split()).replace('|', '&#124;')} |"
        yield ""

"""`overseer`: which commands there are; each is a module of its own, imported only when it is used."""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib import import_module

import click

from overseer.cli.terminal import is_plain
from overseer.version import VERSION

COMMANDS: dict[str, str] = {
    "run": "overseer.cli.run:run",
    "status": "overseer.cli.operate:status",
    "restart": "overseer.cli.operate:restart",
    "upgrade": "overseer.cli.operate:upgrade",
    "rollback": "overseer.cli.operate:rollback",
    "hold": "overseer.cli.operate:hold",
    "unhold": "overseer.cli.operate:unhold",
    "history": "overseer.cli.operate:history",
    "pin": "overseer.cli.operate:pin",
    "unpin": "overseer.cli.operate:unpin",
    "events": "overseer.cli.events:events",
    "metrics": "overseer.cli.metrics:metrics",
    "doctor": "overseer.cli.doctor:doctor",
    "stop": "overseer.cli.operate:stop",
    "reexec": "overseer.cli.operate:reexec",
    "unit": "overseer.cli.unit:unit",
    "completion": "overseer.cli.completion:completion",
    "repo": "overseer.cli.repo:repo",
}
"""The name of each command, in the order of the help, and where it is: `module:attribute`."""


class _Lazy(click.Group):
    """A group whose commands are imported when they are asked for: `overseer status` needs no boto3."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        return load(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; where there is none, say which one that may be."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = get_close_matches(args[0], COMMANDS, 2)
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)


def load(name: str) -> click.Command:
    """Import a command and return it."""
    module, _, attribute = COMMANDS[name].partition(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


_FIRST = """Begin with one of

\b
  overseer run --address :8000 -- ./server
  overseer run --address :8000 -- uvicorn --fd {fd} app:app

or with a program that calls overseer.run. Then look at it with overseer status, from anywhere.
`overseer COMMAND --help` tells more of each command."""


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_FIRST)
@click.version_option(VERSION, prog_name="overseer")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Monitorable, gracefully restarting, self-upgrading programs: one PID, no lost request."""
    if is_plain(os.environ):
        ctx.color = False

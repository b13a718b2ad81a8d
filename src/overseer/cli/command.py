"""What the commands for operators have in common: how they end, and how a service is named."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from overseer.cli.asking import NOBODY, NobodyError
from overseer.cli.completion import files, names
from overseer.errors import ConfigError, OverseerError

if TYPE_CHECKING:
    from collections.abc import Callable


class Command(click.Command):
    """Says a mistake in one line, and ends with a status that tells whose it is."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; no error of ours becomes a traceback."""
        try:
            return super().invoke(ctx)
        except OverseerError as error:
            click.echo(f"overseer: error: {error}", err=True)
            status = NOBODY if isinstance(error, NobodyError) else 2 if isinstance(error, ConfigError) else 1
            raise SystemExit(status) from None
        except KeyboardInterrupt:
            if sys.stderr.isatty():  # it shows ^C; what comes next begins a line
                click.echo(err=True)
            raise SystemExit(130) from None


def of_a_service(command: Callable[..., None]) -> Callable[..., None]:
    """Add the two options that say which service is meant."""
    command = click.option(
        "--control",
        default="",
        metavar="PATH",
        help="The path of its control socket.",
        shell_complete=files,
    )(command)
    return click.option(
        "--name",
        "-n",
        default="",
        metavar="NAME",
        help="The service's name; not needed where there is only one.",
        shell_complete=names,
    )(command)


def end(answer: dict[str, Any]) -> None:
    """Say how a wish ended; the exit status says it as well."""
    click.echo(answer["detail"], err=answer["outcome"] != "done")
    if answer["outcome"] != "done":
        raise SystemExit(1)

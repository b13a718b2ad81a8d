"""`overseer completion`: what a shell has to read once to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_OVERSEER_COMPLETE"


@click.command(short_help="What a shell has to know.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what SHELL has to read to complete this command: commands, options and their values.

    For bash put `eval "$(overseer completion bash)"` into ~/.bashrc, for zsh the same with zsh into ~/.zshrc;
    for fish let `overseer completion fish` write ~/.config/fish/completions/overseer.fish.
    """
    from overseer.cli.main import cli  # noqa: PLC0415 - it imports us

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "overseer", _VARIABLE).source())

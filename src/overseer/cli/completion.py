"""`overseer completion`: what a shell has to read once; and what it is told when it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from overseer.errors import OverseerError

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLE = "_OVERSEER_COMPLETE"


@click.command(short_help="What a shell has to know.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what SHELL has to read to complete this command: commands, options, names of services, releases.

    For bash put `eval "$(overseer completion bash)"` into ~/.bashrc, for zsh the same with zsh into ~/.zshrc
    (after compinit); for fish let `overseer completion fish` write ~/.config/fish/completions/overseer.fish.
    """
    from overseer.cli.main import cli  # noqa: PLC0415 - it imports us

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "overseer", _VARIABLE).source())


def files(_context: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Leave it to the shell: a file's name is meant."""
    return [CompletionItem(begun, type="file")]


def folders(_context: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Leave it to the shell: a folder's name is meant."""
    return [CompletionItem(begun, type="dir")]


def names(_context: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Tell the services of this user that have a name."""
    from overseer.cli.asking import services  # noqa: PLC0415 - only here

    return [CompletionItem(name) for name in services() if name.startswith(begun)]


def releases(context: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Tell the releases that the service which is meant remembers, by their versions."""
    return _those(_remembered(context), begun)


def held(context: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Tell the releases that it holds."""
    return _those(_held(context), begun)


def _those(found: Iterator[tuple[str, str]], begun: str) -> list[CompletionItem]:
    """Offer what begins so; a shell that completes has no place for a failure."""
    try:
        told = dict(found)
    except (OverseerError, OSError, ValueError):
        return []
    return [CompletionItem(release, help=why) for release, why in told.items() if release.startswith(begun)]


def _status(context: click.Context) -> dict[str, Any]:
    """Ask the service that is meant by what stands before."""
    from overseer.cli.asking import ask, find  # noqa: PLC0415 - only here

    given = context.params
    return ask(find(given.get("name") or "", given.get("control") or ""), "status")


def _remembered(context: click.Context) -> Iterator[tuple[str, str]]:
    from overseer.cli import table  # noqa: PLC0415 - only here
    from overseer.store import history  # noqa: PLC0415

    status = _status(context)
    if folder := table.store_of(status):
        for entry in history.read(f"{folder}history"):
            yield entry.version or table.release(entry.release), table.release(entry.release)


def _held(context: click.Context) -> Iterator[tuple[str, str]]:
    from overseer.cli import kept, table  # noqa: PLC0415 - only here

    status = _status(context)
    for release, why in kept.held(status, kept.ledger_of(status)).items():
        yield table.release(release), why

"""Which part this process of `overseer run` plays, and the playing of it."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, NoReturn

from overseer import role
from overseer.command import Command, this_command
from overseer.edition import edition
from overseer.errors import ConfigError, NotSupportedError
from overseer.foreign import shim
from overseer.foreign.document import Document, find
from overseer.foreign.hasty import is_hasty
from overseer.foreign.known import needs_address
from overseer.foreign.options import Options
from overseer.launch import launch

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger("overseer")


def play(config: str, given: Mapping[str, Any]) -> NoReturn:
    """Become the master, or what this process of it has to be; never return.

    `config` is the file of options that was named, `given` what the command line says, which goes first.
    Raises `OverseerError` in the first process, before anything is started.
    """
    mine = role.spend()

    def read() -> Options:
        return options_of(find(config), given)

    files = [config] if config else ["overseer.toml", "pyproject.toml"]

    if mine.part == "program" and mine.channel is not None:
        shim.become_program(mine.channel, read, edition())
    if mine.part != "launcher":
        raise NotSupportedError(f"overseer run has no part {mine.part!r}")
    document = find(config)
    options = options_of(document, given)
    try:
        shim.find_executable(options)
    except ConfigError as error:
        raise _placed(error, document, given) from None
    asks = options.ready_url or options.knocks
    alone = "" if options.listens_on or options.no_warn else needs_address(options.command)
    if alone:
        _log.warning(
            "%s is given no --address, and binds one itself: the next generation finds it in use, and what "
            "comes when this one has left is refused; see overseer run --help",
            alone,
        )
    if not asks and not options.no_warn and is_hasty(options.command, os.environ):
        _log.warning(
            "gunicorn says that it is ready before its workers have imported the application: "
            "give it --preload, or a restart may end what serves for a release that does not"
        )
    launch(options, _command(), [os.path.abspath(file) for file in files])


def options_of(document: Document | None, given: Mapping[str, Any]) -> Options:
    """Put the two sources together. Raises `ConfigError`, whose beginning tells where the fault stands."""
    values = dict(document.values) if document else {}
    if given.keys() & {"address", "addresses"}:
        values = {name: told for name, told in values.items() if name not in ("address", "addresses")}
    values |= given
    if "ready_after" in values:
        values.setdefault("ready", "alive")  # who says how long it has to live wants that to count
    try:
        return Options(**values)
    except ConfigError as error:
        raise _placed(error, document, given) from None


def _placed(error: ConfigError, document: Document | None, given: Mapping[str, Any]) -> ConfigError:
    """Name an option as whoever gave it did: by its place on the command line, or in the file."""
    message = str(error).removeprefix(f"{error.field}: ")
    if error.field in given:
        place = "command" if error.field == "command" else f"--{option_of(error.field)}"
    elif document and error.field in document.values:
        place = document.place(error.field)
    else:
        place = option_of(error.field)
    return ConfigError(place, message)


def option_of(field: str) -> str:
    """Return what a field is called on the command line."""
    singular = {"addresses": "address", "env_files": "env-file", "clean_exits": "clean-exit"}
    return singular.get(field, field.replace("_", "-"))


def _command() -> Command:
    """How the shim is started again, for whatever command."""
    this = this_command()
    return Command(this.argv, this.args, "", "foreign")

"""`overseer run`: its options are made of the fields, so that none is forgotten and none differs."""

from __future__ import annotations

import inspect
import sys
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import click

from overseer.cli.completion import files, folders
from overseer.config import Config
from overseer.errors import AddressError, ConfigError, OverseerError
from overseer.foreign.document import KNOWN, SIGNALS, find, signal_number
from overseer.foreign.options import Options
from overseer.foreign.run import option_of, options_of, play

if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_OPTION = frozenset({"command", "addresses"})


def _sentences() -> dict[str, str]:
    """Return what each field's own docstring says."""
    import ast  # noqa: PLC0415 - only for help and for the start, not in the master

    found = {}
    for kind in (Config, Options):
        (described,) = ast.parse(inspect.getsource(kind)).body
        assert isinstance(described, ast.ClassDef)
        for field, text in zip(described.body, described.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[ast.unparse(field.target)] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _signal(_context: object, option: click.Parameter, given: str | None) -> int | None:
    if given is None:
        return None
    try:
        return signal_number(str(option.name), given)
    except ConfigError as error:
        raise click.BadParameter(str(error).partition(": ")[2]) from None


def _ready_after(_context: object, _option: object, given: str | None) -> float | str | None:
    if given is None or given == "never":
        return given
    try:
        return float(given)
    except ValueError:
        raise click.BadParameter(f"{given!r} is neither a number of seconds nor never") from None


def _options() -> list[click.Parameter]:
    sentences = _sentences()
    made = []
    for field in fields(Options):
        name = field.name
        if name in KNOWN and name not in _NO_OPTION:
            default = None if field.default is MISSING else field.default
            flag, how = f"--{option_of(name)}", _kind(name, default)
            if how.get("is_flag") and not name.startswith("no_"):
                flag += f"/--no-{option_of(name)}"
            how = {"help": sentences[name].replace("`", ""), "default": None} | how
            short = ["-n"] if name == "name" else []  # as for the other commands
            made.append(click.Option([*short, flag, name], **how))
    return list(made)


def _kind(name: str, default: object) -> dict[str, Any]:
    """Return how an option is read: by its name where that is special, else by its default."""
    if name in _SPECIAL:
        return _SPECIAL[name]
    if name in SIGNALS:
        return {"callback": _signal, "metavar": "SIGNAL"}
    match default:
        case bool():
            return {"is_flag": True}
        case int():
            return {"type": int}
        case float():
            return {"type": float, "metavar": "SECONDS"}
        case _:
            return {}


_SPECIAL: dict[str, dict[str, Any]] = {
    "address": {
        "multiple": True,
        "metavar": "ADDRESS",
        "help": "Where to listen, as :3000 or unix:/run/app.sock; may be given several times.",
    },
    "env_files": {"multiple": True, "metavar": "FILE", "shell_complete": files},
    "directory": {"metavar": "FOLDER", "shell_complete": folders},
    "control": {"metavar": "PATH", "shell_complete": files},
    "clean_exits": {"multiple": True, "metavar": "STATUS", "type": int},
    "ready_after": {
        "callback": _ready_after,
        "metavar": "SECONDS|never",
        "help": "Seconds alive that count as ready when the program says nothing; chooses --ready alive.",
    },
    "handover": {"type": click.Choice(["overlap", "sequential"])},
    "ready": {"type": click.Choice(["accept", "alive", "notify"])},
}
"""Options that their defaults do not tell."""


def _chosen(command: tuple[str, ...], address: tuple[str, ...], **given: Any) -> dict[str, Any]:
    """Return what the command line says, by the names of the fields."""
    chosen = {name: told for name, told in given.items() if told is not None and told != ()}
    if command:
        chosen["command"] = command
    if address:
        chosen["addresses"] = address
    if chosen.get("ready_after") == "never":
        chosen["ready_after"] = None
    return chosen


def options_in(folder: str, words: Sequence[str]) -> Options:
    """Return the options with which `overseer run WORDS` would run in `folder`. Raises `ConfigError`."""
    try:
        told = run.make_context("run", list(words)).params
    except click.UsageError as error:
        raise ConfigError("overseer run", error.format_message()) from None
    config = told.pop("config")
    return options_of(find(config or "", folder), _chosen(**told))


def _play(config: str | None, **told: Any) -> None:
    try:
        play(config or "", _chosen(**told))
    except OverseerError as error:
        sys.stderr.write(f"overseer: error: {error}\n")
        raise SystemExit(
            69 if isinstance(error, AddressError) or not isinstance(error, ConfigError) else 78
        ) from None


_HELP = """Run any program under a master: restarted without being noticed, whatever it is written in.

The master binds every --address and keeps its PID for ever; the program inherits the sockets as under
systemd: from descriptor 3, with LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, and a private NOTIFY_SOCKET.
In COMMAND, {fd:NAME}, {port:NAME} and {host:NAME} stand for a listener.

\b
  overseer run --address :8000 -- gunicorn app:app
  overseer run --address :8000 --ready-url 'http://127.0.0.1:{port}/health' -- uvicorn --fd {fd} app:app

A restart (SIGUSR2, or overseer restart) starts the next generation beside the old one, waits until it is
ready, and only then asks the old one to drain. That is when it accepts a connection or says READY=1; with
--ready-url when it answers. Without an address of TCP it is when it has been alive for --ready-after.

Every option may stand in overseer.toml, or under [tool.overseer] in pyproject.toml, with _ for -. What
may be given several times is a list there: addresses, env_files, clean_exits. So is command."""

run = click.Command(
    "run",
    callback=_play,
    help=_HELP,
    short_help="Run any program under a master.",
    params=[
        click.Option(
            ["--config"],
            metavar="FILE",
            help="The file of options; else overseer.toml or pyproject.toml.",
            shell_complete=files,
        ),
        *_options(),
        click.Argument(["command"], nargs=-1, type=click.UNPROCESSED, shell_complete=files),
    ],
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)

"""overseer.toml, and [tool.overseer] in pyproject.toml: the options of `overseer run` in a file.

The keys are the fields' names. An unknown one, or a value that cannot be meant, is an error that names the
file and the line.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
import tomllib
from dataclasses import fields
from typing import Any

from overseer.errors import ConfigError, reason
from overseer.foreign.options import Options

_ABOUT_RELEASES = frozenset(
    [
        "pre_upgrade",
        "fetcher",
        "trust",
        "min_fetch_interval",
        "allow_downgrade",
        "max_boot_attempts",
        "no_restart_after_fetch",
    ]
)
"""Fields of `Config` that are about releases, which a foreign program has not."""

NOT_IN_A_FILE = _ABOUT_RELEASES | {"program", "required"}
"""And those that are about a program that can be called; `overseer run` never goes on without a master."""

KNOWN = tuple(field.name for field in fields(Options) if field.name not in NOT_IN_A_FILE)
"""What may be asked for, in a file and on the command line."""

SIGNALS = frozenset({"restart_signal", "drain_signal", "stop_signal"})


class Document:
    """The options of one file, and where each stands in it."""

    def __init__(self, path: str, text: str, table: tuple[str, ...] = ()) -> None:
        """Read a file's text; `table` is where in it our options are. Raises `ConfigError`."""
        self.path = path
        try:
            found: Any = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(path, f"is not TOML: {error}") from None
        for name in table:
            found = found.get(name, {}) if isinstance(found, dict) else {}
        self._lines = _lines(text, table)
        self.values: dict[str, Any] = dict(found) if isinstance(found, dict) else {}
        for key in self.values:
            if key in _ABOUT_RELEASES:
                why = "is about releases, which are for a program that calls overseer.run"
                raise ConfigError(self.place(key), why)
            if key not in KNOWN:
                near = difflib.get_close_matches(key, KNOWN, n=1)
                meant = f"; was {near[0]} meant?" if near else ""
                raise ConfigError(self.place(key), f"is no option{meant}")
        if self.values.get("ready_after") == "never":  # as on the command line; TOML has no None
            self.values["ready_after"] = None
        for key in SIGNALS & self.values.keys():
            self.values[key] = signal_number(self.place(key), self.values[key])

    def place(self, field: str) -> str:
        """Tell where an option stands, as the beginning of an error."""
        line = self._lines.get(field)
        return f"{self.path}, line {line}: {field}" if line else f"{self.path}: {field}"


def signal_number(field: str, given: object) -> int:
    """Return the number of a signal: TERM, SIGTERM or 15. Raises `ConfigError`."""
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    text = str(given).upper()
    if text.isdecimal():
        return int(text)
    name = text if text.startswith("SIG") else f"SIG{text}"
    member = signal.Signals.__members__.get(name)
    if member is None:
        raise ConfigError(field, f"{given!r} is no signal; use a name such as SIGTERM, or a number")
    return int(member)


def find(explicit: str = "", folder: str = "") -> Document | None:
    """Read the file that was named, or the one that lies here: overseer.toml before pyproject.toml.

    Both are looked for in `folder`, if it is said.

    Raises `ConfigError` for one that was named and cannot be read, and for one that is wrong.
    """
    for name in (explicit,) if explicit else ("overseer.toml", "pyproject.toml"):
        path = os.path.join(folder, name)
        table = ("tool", "overseer") if os.path.basename(path) == "pyproject.toml" else ()
        try:
            with open(path, encoding="utf-8") as file:
                document = Document(path, file.read(), table)
        except FileNotFoundError:
            if explicit:
                raise ConfigError("config", f"{path} is not there") from None
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("config", f"{path} cannot be read: {reason(error)}") from None
        if document.values or not table:
            return document
    return None


def _lines(text: str, table: tuple[str, ...]) -> dict[str, int]:
    """Find the line of each key of a table; good enough for a message, tomllib tells none."""
    found: dict[str, int] = {}
    here: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            here = tuple(part.strip().strip("\"'") for part in header[1].split("."))
        elif key := re.match(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*(?:\.[^=]*)?=", line):
            if here == table:
                found.setdefault(key[1], number)
        elif (header := re.match(r"\s*\[\[", line)) is not None:
            here = ("",)
        if here[: len(table)] == table and len(here) == len(table) + 1:
            found.setdefault(here[-1], number)
    return found

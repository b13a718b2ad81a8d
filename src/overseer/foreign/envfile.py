"""Files of environment variables: a NAME=VALUE a line, quoted as in a shell, nothing expanded."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from overseer.errors import ConfigError, reason

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(text: str, path: str) -> dict[str, str]:
    """Read the text of a file; empty lines, comments and `export` in front mean nothing.

    Raises `ConfigError`, naming the line, for what is no NAME=VALUE.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ConfigError("env_files", f"{path}, line {number}: {error}") from None
        words = words[1:] if words[:1] == ["export"] else words
        if not words:
            continue
        name, equals, told = words[0].partition("=")
        if len(words) > 1 or not equals or not name.isidentifier() or "\0" in told:
            raise ConfigError("env_files", f"{path}, line {number}: {line.strip()[:60]!r} is no NAME=VALUE")
        found[name] = told
    return found


def read(paths: Sequence[str]) -> dict[str, str]:
    """Read all of them; a later one has the last word. Raises `ConfigError` for one that cannot be read."""
    found: dict[str, str] = {}
    for given in paths:
        path = given.removeprefix("-")
        try:
            with open(path, encoding="utf-8") as file:
                found |= parse(file.read(), path)
        except FileNotFoundError:
            if given == path:
                raise ConfigError("env_files", f"{path} is not there") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("env_files", f"{path} cannot be read: {reason(error)}") from None
    return found

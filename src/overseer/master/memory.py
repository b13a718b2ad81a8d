"""The master as data, for the master that replaces it: values to JSON and back, through a memory file.

Written by one version and read by another: a field that is unknown is left out, one that is missing has its
default, so only a field without a default may never be added.
"""

from __future__ import annotations

import json
import os
from enum import Enum

from overseer import facts
from overseer.errors import ProtocolError
from overseer.values import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VALUES = (facts.World, facts.Generation, facts.Worker, facts.Policy, facts.Request)
_ENUMS = (facts.Phase, facts.Stage, facts.Life, facts.Handover, facts.Restarts, facts.Wish)
_KNOWN = {known.__name__: known for known in (*_VALUES, *_ENUMS)}


def to_json(given: Any) -> Any:
    """Return a value of the heart as JSON can write it."""
    if isinstance(given, _ENUMS):
        return {"is": type(given).__name__, "value": given.value}
    if isinstance(given, _VALUES):
        return {"is": type(given).__name__, **{name: to_json(getattr(given, name)) for name in fields(given)}}
    if isinstance(given, frozenset):
        return {"is": "frozenset", "of": sorted(given)}
    if isinstance(given, tuple):
        return [to_json(item) for item in given]
    return given


def from_json(given: Any) -> Any:
    """Read it back. Raises `ProtocolError` for what is no value of the heart."""
    if isinstance(given, list):
        return tuple(from_json(item) for item in given)
    if not isinstance(given, dict):
        return given
    kind = given.get("is")
    if kind == "frozenset":
        return frozenset(given["of"])
    made: Any = _KNOWN.get(str(kind))
    if made is None:
        raise ProtocolError(f"{kind!r} is no value this master knows")
    if issubclass(made, Enum):
        return made(given["value"])
    known = {name: from_json(item) for name, item in given.items() if name in made.__match_args__}
    return made(**known)


def write(state: dict[str, Any]) -> int:
    """Put a state into a memory file and return its descriptor, which survives execve."""
    fd = os.memfd_create("overseer") if hasattr(os, "memfd_create") else _unlinked_file()
    with open(fd, "w", encoding="utf-8", closefd=False) as file:
        json.dump(state, file)
    os.set_inheritable(fd, True)
    return fd


def read(fd: int) -> dict[str, Any]:
    """Read a state; the file can be read again, by a trial of the next master and then by itself."""
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, encoding="utf-8", closefd=False) as file:
        state: dict[str, Any] = json.load(file)
    return state


def _unlinked_file() -> int:
    import tempfile  # noqa: PLC0415 - only where there is no memfd

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())

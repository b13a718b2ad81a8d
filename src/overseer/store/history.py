"""What happened to releases, for people: one line of JSON each, only ever appended.

Nothing is decided by it. A power cut may tear the last line off in the middle: the reader passes over it,
the writer begins a new line after it. A disk that is full costs a line of history, never an upgrade.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIZE = 1 << 20
"""Bytes; beyond this the older half is dropped."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line: `what` happened to which release, `at` which time (ISO 8601, UTC), and why."""

    at: str
    what: str
    release: str = ""
    version: str = ""
    why: str = ""


def append(path: str, what: str, *, release: str = "", version: str = "", why: str = "") -> None:
    """Add one line. Raises `OSError`."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = Entry(at=at, what=what, release=release, version=version, why=why)
    line = json.dumps({k: v for k, v in asdict(entry).items() if v}).encode() + b"\n"
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        size = os.fstat(fd).st_size
        if size > MAX_SIZE:
            _shorten(path, fd, size)
            os.close(fd)
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        os.write(fd, b"\n" + line if torn else line)
    finally:
        os.close(fd)


def read(path: str) -> Iterator[Entry]:
    """Yield what happened, oldest first, passing over lines that make no sense."""
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines:
        try:
            raw = json.loads(line)
            yield Entry(**{str(k): str(v) for k, v in raw.items() if k in Entry.__dataclass_fields__})
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue


def _shorten(path: str, fd: int, size: int) -> None:
    tail = os.pread(fd, size // 2, size - size // 2)
    temporary = f"{path}.tmp"
    with open(temporary, "wb") as file:
        file.write(tail.partition(b"\n")[2])
    os.rename(temporary, path)

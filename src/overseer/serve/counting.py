"""Whether a request on a connection is the last one, by the bytes that have come. Does no I/O.

For a server that does not say whether another request has come behind one. The kernel has counted all bytes;
those of a request are known by what it says. What is not known is how many have come before: that is found
out where a connection rests, or where a request comes behind the answer to the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overseer.serve.outside import Key

_LEAST = 18
"""Bytes of the shortest request: `GET / HTTP/1.0` and two ends of lines."""


class Counting:
    """Bytes on connections of plain HTTP/1; `received` is how many have come on one, ever."""

    def __init__(self) -> None:
        self._read: dict[Key, int] = {}  # all before it is of requests that are over
        self._seen: dict[
            Key, int
        ] = {}  # so it is if nothing is on its way in the server: what comes will tell

    def rest(self, key: Key, received: int) -> None:
        """Know that nothing is under way on a connection."""
        self._read[key] = received

    def begin(self, key: Key, received: int) -> None:
        """Hear that a request has begun. If nothing had come for it, it came before the last answer went."""
        if received <= self._seen.get(key, -1):
            del self._seen[key]

    def end(self, key: Key, received: int) -> None:
        """Hear that a request is about to have all of its answer."""
        self._seen[key] = received

    def is_last(self, key: Key, received: int, size: int) -> bool:
        """Whether nothing has come behind a request of this size; if that is not known, it has."""
        before = self._read.get(key)
        if before is None and received > self._seen.get(key, received):
            before = self._seen[key]
        if before is None:
            return received - size < _LEAST  # there never was another one
        self._read[key] = before + size
        return received - before - size < _LEAST


def size_of(scope: Mapping[str, Any]) -> int:
    """Return how many bytes a request has, spelled as clients do; 0 where that cannot be said.

    That is under TLS, and where the body is of unknown length.
    """
    if scope["scheme"] == "https":
        return 0
    size = len(scope["method"]) + len(scope["raw_path"]) + len("  HTTP/1.1\r\n\r\n")
    if scope["query_string"]:
        size += 1 + len(scope["query_string"])
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return 0
        size += len(name) + len(value) + len(": \r\n")
        if name == b"content-length":
            size += int(value)
    return size

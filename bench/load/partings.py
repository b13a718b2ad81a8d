"""GOAWAY, taken out of the bytes of an HTTP/2 connection before h2 reads them. It does no I/O.

h2 takes GOAWAY for the end of the connection and refuses everything that comes after it, also the answers of
streams that the server has promised to finish (RFC 9113, 6.8). So h2 never hears it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from bench.load.answers import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

_GOAWAY: Final = 7
_HEAD: Final = 9
MOST_FRAME: Final = 1 << 14
"""Bytes; nobody may send a longer one unless he was allowed to, and here nobody is."""


class Parting(NamedTuple):
    """What a GOAWAY frame says."""

    last: int
    """the highest stream that the server has processed, or may yet process"""
    code: int
    """0: nothing is wrong"""
    text: bytes = b""


class Partings:
    """Splits what comes on one connection into GOAWAYs and the rest."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def part(self) -> bool:
        """Whether some bytes of a frame are here that is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes | Parting]:
        """Take what came; yield the frames that are complete now, in order, GOAWAYs by what they say.

        One that is too short for its numbers is left among the bytes, for h2 to refuse.

        Raises:
            Malformed: for a frame that is longer than any may be, which is most often another language.

        """
        data = self._buffer + data if self._buffer else data
        start = place = 0
        while len(data) - place >= _HEAD:
            size = int.from_bytes(data[place : place + 3], "big")
            if size > MOST_FRAME:
                # h2 would wait for all of it before it says so.
                if place > start:
                    yield data[start:place]
                raise Malformed(f"not a frame: {data[place : place + 80]!r}")
            end = place + _HEAD + size
            if end > len(data):
                break
            if data[place + 3] == _GOAWAY and size >= 8:
                if place > start:
                    yield data[start:place]
                yield _read(data[place + _HEAD : end])
                start = end
            place = end
        self._buffer = data[place:]
        if place > start:
            yield data[start:place]


def _read(payload: bytes) -> Parting:
    last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
    return Parting(last, int.from_bytes(payload[4:8], "big"), payload[8:])

"""Server-sent events out of bytes as they come, as the HTML standard reads them. It does no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event."""

    id: bytes | None
    """None: it has none of its own"""
    data: bytes

    @property
    def number(self) -> int | None:
        """Its place in the stream, when it tells one: the id, else the data, if that is a whole number."""
        text = self.data if self.id is None else self.id
        return int(text) if text.isdigit() and len(text) < 20 else None


class EventStream:
    """Reads one stream. Lines end with CR LF, LF or CR, and an event ends with an empty line."""

    __slots__ = ("_buffer", "_data", "_id", "_open", "_skip", "_start")

    def __init__(self) -> None:
        self._buffer = b""
        self._start = True
        self._skip = False  # the LF of a CR LF whose CR was the last byte of a piece
        self._open = False  # fields have come since the last empty line
        self._id: bytes | None = None
        self._data: list[bytes] = []

    @property
    def part(self) -> bool:
        """Whether an event has begun that has not ended: an end here cuts it. Comments are no events."""
        return self._open or bool(self._buffer)

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Take what came and yield the events that are complete now."""
        if self._skip and piece:
            self._skip = False
            piece = piece.removeprefix(b"\n")
        data = self._buffer + piece if self._buffer else piece
        self._buffer = b""
        if self._start and data:
            if len(data) < len(_MARK) and _MARK.startswith(data):
                self._buffer = data
                return
            self._start = False
            data = data.removeprefix(_MARK)
        if data.endswith(b"\r"):
            self._skip = True
        # splitlines would also split at other bytes than these two.
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            if line:
                self._field(line)
            elif self._open:
                event = Event(self._id, b"\n".join(self._data))
                self._open, self._id, self._data = False, None, []
                yield event

    def _field(self, line: bytes) -> None:
        name, _, text = line.partition(b":")
        if not name:
            return
        self._open = True
        text = text.removeprefix(b" ")
        if name == b"data":
            self._data.append(text)
        elif name == b"id" and b"\0" not in text:
            self._id = text


def gap(last: int | None, event: Event) -> str:
    """Return what is wrong with an event's number after the last one that was told; empty: nothing."""
    number = event.number
    if last is None or number is None or number == last + 1:
        return ""
    return f"event {number} after event {last}"

"""HTTP/1 answers out of bytes as they come. It does no I/O and knows nothing of connections.

It is strict where a browser is lenient: a stranger's oddity would be forgiven, but this reads the answers of
servers under test, and an answer that two clients could read differently is a fault worth a line in the
report.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MOST_HEAD: Final = 65536
"""Bytes; a head, a chunk's size line or a trailer that is longer is malformed."""
MOST_BODY_KEPT: Final = 4096
"""Bytes of a body that are kept to look for the generation in."""

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\x00]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\x00]*?)[ \t]*")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")


class Malformed(Exception):  # noqa: N818 - it is what the bytes are
    """The bytes are not an HTTP/1 answer; its message says where they leave the road."""


class Answer(NamedTuple):
    """One complete answer."""

    status: int
    generation: str | None
    close: bool
    """nothing more can come on this connection"""


class Head(NamedTuple):
    """What a head says."""

    status: int
    generation: str | None
    close: bool
    length: int
    """of the body; or one of the two below"""
    media: bytes
    """the type of the body, in small letters, without its parameters"""

    @property
    def until_eof(self) -> bool:
        """Whether the body lasts as long as the connection, so that its end looks like a cut."""
        return self.length == _UNTIL_EOF


_CHUNKED: Final = -1
_UNTIL_EOF: Final = -2


class Dialect:
    """What all connections of a run share: where the generation is written, and the heads read lately.

    Args:
        header: the name of the header that names the generation.
        body: a pattern with one group, sought in the body's first 4 KiB when the header is not there.

    """

    __slots__ = ("_heads", "body", "header")

    def __init__(self, *, header: str = "X-Generation", body: re.Pattern[bytes] | None = None) -> None:
        self.header = header.lower().encode("latin-1")
        self.body = body
        self._heads: dict[bytes, Head] = {}

    def read(self, raw: bytes) -> Head:
        """Return what a head says.

        Heads repeat word for word until the second in their Date changes, so the last few are remembered.
        """
        head = self._heads.get(raw)
        if head is None:
            head = _read_head(raw, self.header)
            if len(self._heads) >= 16:
                self._heads.clear()
            self._heads[raw] = head
        return head

    def in_body(self, body: bytes) -> str | None:
        """Return the generation that these bytes name, if one is sought in them and found."""
        match = None if self.body is None else self.body.search(body)
        return match[1].decode("latin-1") if match else None


class Answers:
    """Reads the answers of one connection in the order of its requests."""

    __slots__ = ("_buffer", "_dialect", "_head", "_kept", "_left", "_trailer")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._buffer = b""
        self._head: Head | None = None
        self._left = 0  # bytes of the body (or of this chunk, with its line end) still to come
        self._trailer = False
        self._kept = b""

    @property
    def part(self) -> bool:
        """Whether some bytes of an answer are here that is not complete."""
        return self._head is not None or bool(self._buffer)

    def feed(self, data: bytes, complete: list[Answer]) -> None:
        """Take what came and append every answer that is complete now to `complete`.

        Raises:
            Malformed: after the good answers before the fault were appended.

        """
        self._buffer = self._buffer + data if self._buffer else data
        while self._step(complete):
            pass

    def eof(self) -> Answer | None:
        """Say that nothing more comes; return the answer whose end that was, if it was one's."""
        head = self._head
        if head is None or head.length != _UNTIL_EOF:
            return None
        return self._done(head)

    def _step(self, complete: list[Answer]) -> bool:
        """Go one step; False when that needs more bytes."""
        head = self._head
        if head is None:
            head = self._take_head()
            if head is None:
                return False
            if head.status < 200 and head.status != 101:
                return True  # 100, 103: the answer itself is still to come
            self._head = head
            self._left = max(head.length, 0)
            self._trailer = False
        if head.length == _CHUNKED:
            return self._step_chunk(head, complete)
        if head.length == _UNTIL_EOF:
            self._keep(self._buffer)
            self._buffer = b""
            return False
        taken = self._buffer[: self._left] if len(self._buffer) > self._left else self._buffer
        self._keep(taken)
        self._left -= len(taken)
        self._buffer = self._buffer[len(taken) :]
        if self._left:
            return False
        complete.append(self._done(head))
        return bool(self._buffer)

    def _step_chunk(self, head: Head, complete: list[Answer]) -> bool:
        if self._left:
            taken = self._buffer[: self._left]
            self._keep(taken[: max(self._left - 2, 0)])  # the last two bytes are the line end
            # Its two bytes can come in two pieces: each is looked at where it stands.
            for place in range(max(self._left - 2, 0), len(taken)):
                if taken[place] != b"\r\n"[place - (self._left - 2)]:
                    raise Malformed("a chunk is longer than its size says")
            self._left -= len(taken)
            self._buffer = self._buffer[len(taken) :]
            return not self._left
        line = self._take_line()
        if line is None:
            return False
        if self._trailer:
            if not line:
                complete.append(self._done(head))
                return bool(self._buffer)
            if not _FIELD.fullmatch(line):
                raise Malformed(f"a trailer that is none: {line[:80]!r}")
            return True
        match = _CHUNK_SIZE.fullmatch(line)
        if not match:
            raise Malformed(f"a chunk's size that is none: {line[:80]!r}")
        size = int(match[1], 16)
        if size:
            self._left = size + 2
        else:
            self._trailer = True
        return True

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MOST_HEAD:
                raise Malformed(f"a line of more than {MOST_HEAD} bytes")
            return None
        line = self._buffer[:end]
        self._buffer = self._buffer[end + 2 :]
        return line

    def _take_head(self) -> Head | None:
        data = self._buffer
        end = data.find(b"\r\n\r\n")
        if end < 0:
            # Said as soon as it is known: rubbish without a line end must not look like a cut answer.
            if not data.startswith(b"HTTP/1."[: len(data)]):
                raise Malformed(f"not an answer: {data[:80]!r}")
            if len(data) > MOST_HEAD:
                raise Malformed(f"a head of more than {MOST_HEAD} bytes")
            return None
        raw = data[:end]
        self._buffer = data[end + 4 :]
        return self._dialect.read(raw)

    def _keep(self, body: bytes) -> None:
        if self._dialect.body is not None and len(self._kept) < MOST_BODY_KEPT:
            self._kept += body[: MOST_BODY_KEPT - len(self._kept)]

    def _done(self, head: Head) -> Answer:
        generation = head.generation
        if generation is None and self._dialect.body is not None:
            generation = self._dialect.in_body(self._kept)
        self._head = None
        self._kept = b""
        return Answer(head.status, generation, head.close)


class Streamed(Answers):
    """Reads one answer whose body is wanted as it comes, and perhaps never ends."""

    __slots__ = ("_pieces", "head")

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.head: Head | None = None
        """of the answer, from when it is here"""
        self._pieces: list[bytes] = []

    def pieces(self) -> list[bytes]:
        """Return what has come of the body since this was last asked."""
        found, self._pieces = self._pieces, []
        return found

    def _take_head(self) -> Head | None:
        head = super()._take_head()
        if head is not None and head.status >= 200:
            self.head = self.head or head
        return head

    def _keep(self, body: bytes) -> None:
        if body:
            self._pieces.append(body)


def read_head(raw: bytes) -> tuple[int, bool, dict[bytes, list[bytes]]]:
    """Return the status of a head, whether it is HTTP/1.1, and its fields by their names in small letters.

    Raises:
        Malformed: when it is none.

    """
    lines = raw.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(lines[0])
    if not match:
        raise Malformed(f"not a status line: {lines[0][:80]!r}")
    return int(match[2]), match[1] == b"1", _read_fields(lines[1:])


def _read_head(raw: bytes, header: bytes) -> Head:
    status, keeps, fields = read_head(raw)
    named = fields.get(header)
    generation = None if named is None else named[-1].decode("latin-1")
    words = {word.strip() for text in fields.get(b"connection", ()) for word in text.lower().split(b",")}
    close = b"close" in words or (not keeps and b"keep-alive" not in words)
    length = _read_length(fields)
    if status < 200 or status in (204, 304):
        length = 0
    media = fields.get(b"content-type", [b""])[-1].partition(b";")[0].strip().lower()
    return Head(status, generation, close or length == _UNTIL_EOF, length, media)


def _read_fields(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if not field:
            raise Malformed(f"not a header: {line[:80]!r}")
        fields.setdefault(field[1].lower(), []).append(field[2])
    return fields


def _read_length(fields: dict[bytes, list[bytes]]) -> int:
    lengths = set(fields.get(b"content-length", ()))
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if [text.lower() for text in coding] != [b"chunked"]:
            raise Malformed(f"a transfer encoding nobody asked for: {coding[0][:80]!r}")
        if lengths:
            raise Malformed("a length and chunks: two clients would read two different answers")
        return _CHUNKED
    if not lengths:
        return _UNTIL_EOF
    text = lengths.pop()
    if lengths or not text.isdigit() or len(text) > 15:
        raise Malformed(f"a length that is none, or two of them: {text[:80]!r}")
    return int(text)

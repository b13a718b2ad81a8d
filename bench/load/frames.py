"""WebSocket frames (RFC 6455) out of bytes as they come, and into bytes. It does no I/O.

Strict as `answers` is: what a server may not send is malformed, and never passed over.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.load.answers import Malformed, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_MESSAGE: Final = 1 << 24
"""Bytes; a longer message is malformed here."""
ORDERLY: Final = frozenset({1000, 1001, 1012})
"""What a close may say so that its client simply comes back: done, going away, service restart."""
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Opcode(enum.IntEnum):
    """What a frame is."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Said(NamedTuple):
    """One whole message, or one control frame."""

    opcode: Opcode
    data: bytes


class Closed(NamedTuple):
    """What a close frame says."""

    code: int | None
    reason: str

    @property
    def orderly(self) -> bool:
        """Whether the client is told to leave, and nothing is wrong."""
        return self.code in ORDERLY

    def __str__(self) -> str:
        return f"{self.code or 'a close without a code'} {self.reason}".rstrip()


def key_of(nonce: bytes) -> str:
    """Return the Sec-WebSocket-Key of 16 bytes."""
    return base64.b64encode(nonce).decode()


def accept_of(key: str) -> bytes:
    """Return the Sec-WebSocket-Accept that answers this key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest())


def fault_of_opening(raw: bytes, key: str) -> str:
    """Return what is wrong with the head of a 101, the answer to this key; empty: nothing.

    Raises:
        Malformed: when it is no head.

    """
    _, _, fields = read_head(raw)
    if [text.lower() for text in fields.get(b"upgrade", ())] != [b"websocket"]:
        return "101 without Upgrade: websocket"
    words = {word.strip() for text in fields.get(b"connection", ()) for word in text.lower().split(b",")}
    if b"upgrade" not in words:
        return "101 without Connection: upgrade"
    if fields.get(b"sec-websocket-accept") != [accept_of(key)]:
        return "101 with another key's Sec-WebSocket-Accept"
    if b"sec-websocket-extensions" in fields:
        return "101 with an extension nobody asked for"
    return ""


def frame(opcode: Opcode, data: bytes, mask: bytes) -> bytes:
    """Return a whole frame as a client sends it, masked with these four bytes."""
    size = len(data)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + mask + masked(data, mask)


def masked(data: bytes, mask: bytes) -> bytes:
    """Return the bytes, each changed by the mask; done twice it changes nothing."""
    size = len(data)
    whole = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(data, "big") ^ whole).to_bytes(size, "big")


def closed(data: bytes) -> Closed:
    """Return what the payload of a close frame says.

    Raises:
        Malformed: for half a code, one that may not be sent, or a reason that is no UTF-8.

    """
    if not data:
        return Closed(None, "")
    code = int.from_bytes(data[:2], "big")
    if len(data) < 2 or not 1000 <= code < 5000 or code in (1004, 1005, 1006, 1015):
        raise Malformed(f"a close with {data[:2].hex()} for a code")
    try:
        return Closed(code, data[2:].decode())
    except UnicodeDecodeError as error:
        raise Malformed("a close whose reason is no UTF-8") from error


class Frames:
    """Reads what a server sends on one connection, in order."""

    __slots__ = ("_buffer", "_opcode", "_pieces", "_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._opcode: Opcode | None = None  # of the message whose frames are coming
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def part(self) -> bool:
        """Whether there are some bytes of a frame, or some frames of a message, that is not complete."""
        return bool(self._buffer) or self._opcode is not None

    def feed(self, data: bytes) -> Iterator[Said]:
        """Take what came and yield what is complete now.

        Raises:
            Malformed: after what came before the fault.

        """
        self._buffer = self._buffer + data if self._buffer else data
        while (found := self._take()) is not None:
            last, opcode, payload = found
            if opcode >= Opcode.CLOSE:
                yield Said(opcode, payload)
                continue
            said = self._join(opcode, payload, last=last)
            if said is not None:
                yield said

    def _join(self, opcode: Opcode, payload: bytes, *, last: bool) -> Said | None:
        if (opcode is Opcode.CONTINUATION) is (self._opcode is None):
            raise Malformed("a frame that continues nothing, or a message within a message")
        if self._opcode is None:
            self._opcode = opcode
        self._pieces.append(payload)
        self._size += len(payload)
        if self._size > MOST_MESSAGE:
            raise Malformed(f"a message of more than {MOST_MESSAGE} bytes")
        if not last:
            return None
        said = Said(self._opcode, b"".join(self._pieces))
        self._opcode = None
        self._pieces = []
        self._size = 0
        return said

    def _take(self) -> tuple[bool, Opcode, bytes] | None:
        """Return one whole frame: whether it is its message's last, what it is, and what is in it."""
        data = self._buffer
        if len(data) < 2:
            return None
        last, opcode = _read_kind(data[0])
        if data[1] & 0x80:
            raise Malformed("a frame of a server that is masked")
        size, start = data[1], 2
        if opcode >= Opcode.CLOSE and (size > 125 or not last):
            raise Malformed("a control frame that is long, or in pieces")
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(data) < start:
                return None
            size = _read_size(data[2:start])
        if len(data) < start + size:
            return None
        self._buffer = data[start + size :]
        return last, opcode, data[start : start + size]


def _read_kind(byte: int) -> tuple[bool, Opcode]:
    if byte & 0x70:
        raise Malformed("a frame with bits that no extension has asked for")
    try:
        return bool(byte & 0x80), Opcode(byte & 0x0F)
    except ValueError:
        raise Malformed(f"a frame of no known kind: {byte & 0x0F}") from None


def _read_size(data: bytes) -> int:
    size = int.from_bytes(data, "big")
    if size < (126 if len(data) == 2 else 1 << 16):
        raise Malformed("a length in more bytes than it needs")
    if size > MOST_MESSAGE:
        raise Malformed(f"a frame of more than {MOST_MESSAGE} bytes")
    return size

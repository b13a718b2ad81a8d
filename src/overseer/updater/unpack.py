"""Unpack a release that travels compressed: gzip or zstd, told by its first bytes, bounded in size.

Only what has been verified comes here. Memory does not grow with the release, and a bomb of a few kilobytes
is stopped at the limit, not at the end of the disk.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from typing import TYPE_CHECKING, Protocol

from overseer.errors import FetchError
from overseer.store import durable
from overseer.updater import zstd
from overseer.updater.kinds import NotAReleaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 18


class _Decoder(Protocol):
    """What the standard library's decompressors have in common, as far as it is needed."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what becomes of some bytes, in pieces of bounded size."""

    def close(self) -> None:
        """Raise `FetchError` unless this was the end."""


def packing(head: bytes) -> str:
    """Tell how a file is packed from its first bytes; nothing when it is not."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    return "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") else ""


def unpack(source: int, target: int, how: str, *, limit: int) -> tuple[str, int]:
    """Write what `source` unpacks to into `target`; return its SHA-256 and its size.

    Raises `FetchError` when it is cut short or damaged, `NotAReleaseError` when it would be more than
    `limit` bytes or cannot be unpacked here.
    """
    decoder: _Decoder = _Gzip() if how == "gzip" else _Zstd()
    sha, size, at = hashlib.sha256(), 0, 0
    while data := os.pread(source, _CHUNK, at):
        at += len(data)
        for piece in decoder.feed(data):
            size += len(piece)
            if size > limit:
                raise NotAReleaseError(f"it unpacks to more than {limit} bytes, which is the limit")
            sha.update(piece)
            durable.write_all(target, piece)
    decoder.close()
    return sha.hexdigest(), size


class _Gzip:
    """One or several members; zeros after the last are padding, anything else is damage."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)
        self._begun = False
        self._padding = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                if self._padding or data[0] == 0:
                    self._padding = True
                    if data.strip(b"\0"):
                        raise FetchError("the release is gzip with something else behind it; it is damaged")
                    return
                self._stream = zlib.decompressobj(wbits=31)
            self._begun = True
            try:
                piece = self._stream.decompress(data, _CHUNK)
            except zlib.error as error:
                raise FetchError(f"the release is damaged gzip ({error})") from error
            data = self._stream.unconsumed_tail or (self._stream.unused_data if self._stream.eof else b"")
            if piece:
                yield piece

    def close(self) -> None:
        if not self._stream.eof:
            raise FetchError("the release is gzip that was cut short")


class _Zstd:
    """Frames of zstd, one after the other."""

    def __init__(self) -> None:
        try:
            self._module = zstd.module()
        except zstd.NoZstdError as error:
            raise NotAReleaseError(f"it is packed with zstd, and {error}") from error
        self._stream = self._module.ZstdDecompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or not self._stream.needs_input:
            if self._stream.eof:
                data = self._stream.unused_data + data
                if not data:
                    return
                self._stream = self._module.ZstdDecompressor()
            try:
                piece = self._stream.decompress(data, max_length=_CHUNK)
            except self._module.ZstdError as error:
                raise FetchError(f"the release is damaged zstd ({error})") from error
            data = b""
            if piece:
                yield piece

    def close(self) -> None:
        if not self._stream.eof:
            raise FetchError("the release is zstd that was cut short")

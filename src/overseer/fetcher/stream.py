"""Anything that reads as bytes, as a download: shared by `Func` and by fetchers of the original's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from overseer.errors import FetchError, OverseerError
from overseer.fetcher.offer import CHUNK, Download, Offer, Partial

if TYPE_CHECKING:
    from collections.abc import Iterator


@runtime_checkable
class Readable(Protocol):
    """A binary stream: an open file, a response, a pipe."""

    def read(self, size: int, /) -> bytes:
        """Read `size` bytes at most; nothing is the end."""


def offer_of_stream(stream: Readable) -> Offer:
    """Offer what `stream` yields until its end; there is nothing to tell it from others but its bytes."""
    unopened = [stream]

    def start(partial: Partial | None) -> Download:
        del partial  # a stream begins where it begins
        if not unopened:
            raise FetchError("a stream can be read once; the fetcher is asked for another one later")
        return Download(0, _drain(unopened.pop()))

    name = getattr(stream, "name", "")
    return Offer(seen={}, open=start, name=_last_part(name) if isinstance(name, str) else "")


def _drain(stream: Readable) -> Iterator[bytes]:
    try:
        while chunk := bytes(stream.read(CHUNK)):  # refuses text with a TypeError
            yield chunk
    except OverseerError:
        raise
    except Exception as error:  # a stranger's stream may raise whatever it likes
        raise FetchError(f"a fetcher's stream broke off: {type(error).__name__}: {error}") from error
    finally:
        close = getattr(stream, "close", None)
        if callable(close):
            close()


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]

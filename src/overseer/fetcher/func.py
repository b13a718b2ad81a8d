"""A plain function as a source."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.errors import ConfigError, FetchError, OverseerError
from overseer.fetcher.file import identity, offer_of
from overseer.fetcher.offer import CHUNK, Download, Offer, Partial
from overseer.fetcher.stream import Readable, offer_of_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass
class Func:
    """Call `function` every `interval` seconds; what it returns is the release.

    It may return bytes, the path of a file, a binary stream (anything with `read(size)`; it is closed when
    read), or None when there is nothing new. Bytes and paths are remembered and not taken twice; a stream
    is read every time, and dropped when its bytes turn out to be known. An exception it raises counts as a
    failed look. Raises `ConfigError` when it cannot be called, or for a negative interval.
    """

    function: Callable[[], bytes | str | os.PathLike[str] | Readable | None]
    interval: float = 1.0

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ConfigError("function", f"must be callable, not {type(self.function).__name__}")
        if not self.interval >= 0:
            raise ConfigError("interval", f"must not be less than 0 seconds, not {self.interval!r}")

    def latest(self, seen: Mapping[str, str] | None) -> Offer | None:
        """Call the function once and offer what it returns, unless that is `seen`."""
        try:
            found = self.function()
        except OverseerError:
            raise
        except Exception as error:  # the user's code may raise whatever it likes
            raise FetchError(f"the fetch function raised {type(error).__name__}: {error}") from error
        if found is None:
            return None
        if isinstance(found, (bytes, bytearray, memoryview)):
            offer = _offer_of_bytes(bytes(found))
        elif isinstance(found, (str, os.PathLike)):
            offer = offer_of_path(found)
        elif isinstance(found, Readable):
            return offer_of_stream(found)
        else:
            raise FetchError(
                f"the fetch function returned {type(found).__name__}; "
                "bytes, a path, a binary stream or None is expected",
                permanent=True,
            )
        return None if offer.seen == seen else offer


def offer_of_path(path: str | os.PathLike[str]) -> Offer:
    """Offer the finished file that somebody's code or program named.

    Raises `FetchError` when it is missing, empty or not a regular file: whoever names it promises it.
    """
    absolute = os.path.abspath(path)
    found = identity(absolute)
    if found is None:
        raise FetchError(f"{absolute} was named as a release, but is missing or empty")
    return offer_of(absolute, found, {**found, "path": absolute})


def _offer_of_bytes(content: bytes) -> Offer:
    if not content:
        raise FetchError("the fetch function returned no bytes; return None when there is nothing new")
    digest = hashlib.sha256(content).hexdigest()

    def start(partial: Partial | None) -> Download:
        del partial  # they are all here
        return Download(0, _pieces(content))

    return Offer(seen={"sha256": digest}, open=start, digest=digest, size=len(content))


def _pieces(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), CHUNK):
        yield content[at : at + CHUNK]

"""Fetchers of the original's shape: `init()` once, then `fetch()` again and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from overseer.errors import ConfigError, FetchError, OverseerError
from overseer.fetcher.stream import Readable, offer_of_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overseer.fetcher.offer import Offer


@runtime_checkable
class InitFetch(Protocol):
    """The original's shape: it throttles itself, and may block for as long as it likes."""

    def init(self) -> None:
        """Prepare; an exception turns the fetcher off."""

    def fetch(self) -> Readable | None:
        """Wait for news, and hand over a binary stream of the whole release, or None when there is none."""


@dataclass
class Legacy:
    """Make a `Fetcher` of `fetcher`, which has `init()` and `fetch()`.

    The interval is 0 by default: it throttles itself, and `min_fetch_interval` is the floor.
    Raises `ConfigError` when it has not both methods.
    """

    fetcher: InitFetch
    interval: float = 0.0
    _ready: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.fetcher, InitFetch):
            raise ConfigError("fetcher", f"{type(self.fetcher).__name__} has no init() and fetch()")

    def latest(self, seen: Mapping[str, str] | None) -> Offer | None:
        """Ask `fetch()` once, after `init()` the first time; a fetcher of this shape remembers by itself."""
        del seen
        if not self._ready:
            self._call_init()
            self._ready = True
        try:
            stream = self.fetcher.fetch()
        except OverseerError:
            raise
        except Exception as error:  # the user's code may raise whatever it likes
            raise FetchError(f"fetch() raised {type(error).__name__}: {error}") from error
        if stream is None:
            return None
        if not isinstance(stream, Readable):
            raise FetchError(f"fetch() returned {type(stream).__name__}, not a binary stream", permanent=True)
        return offer_of_stream(stream)

    def _call_init(self) -> None:
        try:
            self.fetcher.init()
        except OverseerError:
            raise
        except Exception as error:  # the user's code may raise whatever it likes
            raise FetchError(f"init() raised {type(error).__name__}: {error}", permanent=True) from error

"""What a source of releases says: the words between fetchers and the updater.

A fetcher answers one question, `latest(seen)`: is there something else than what you saw? It never
sleeps, never retries and remembers nothing that must outlive its process: *when* to look is the updater's
to decide, and what was seen is the updater's to keep. It is kept, and given back, only once the offer was
staged or refused for good; so a download that failed half-way is offered again at the next look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CHUNK = 256 * 1024
"""How many bytes a fetcher reads at once, at most: one unit of progress, one unit of memory."""


@dataclass(frozen=True)
class Partial:
    """An interrupted download that waits in staging.

    `size` is how many bytes are safely there; `seen` is that of the offer they came from.
    """

    size: int
    seen: Mapping[str, str]


@dataclass(frozen=True)
class Download:
    """The bytes of an offer, on their way.

    `start` is where they begin: the size of the partial download when the source could resume it, else 0,
    and then what waits in staging is to be thrown away. `chunks` yields every byte from there on, in pieces
    of `CHUNK` at most, and raises `FetchError` when the transfer is cut, short or stalled: an iterator that
    ends without an error is a whole release. Closing it (it is a generator) lets go of the connection.
    """

    start: int
    chunks: Iterator[bytes]


@dataclass(frozen=True, kw_only=True)
class PatchOffer:
    """A patch that makes the offered release of another: `base` is the SHA-256 of that one.

    `digest` and `size` are those of the patch itself, and have to be right; `open` starts its download, from
    its first byte.
    """

    base: str
    digest: str
    size: int
    open: Callable[[], Download]
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A release that differs from what was seen.

    `seen` is what tells it from others: validators of the source or an identity, plain text, ready for JSON.
    `open` starts the download; it may be called once per offer, with the partial download that waits (or
    None), and raises `FetchError`. `name` is the file name as the source calls it: its ending tells how it
    is packed. `version`, `digest` (SHA-256 in hexadecimal, of the bytes as downloaded) and `size` (bytes, as
    downloaded) are what the source says of it, None where it says nothing. `patches` are a quicker way to the
    same bytes; only an offer that says its digest and its size may have them. `signed`: somebody whom we
    trust has signed all of this; a release that says another version of itself is then refused. `notes` are a
    few words for people.
    """

    seen: Mapping[str, str]
    open: Callable[[Partial | None], Download]
    name: str = ""
    version: str | None = None
    digest: str | None = None
    size: int | None = None
    patches: tuple[PatchOffer, ...] = ()
    signed: bool = False
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class LookAgain:
    """Something is there but cannot be judged yet, a copy in progress for instance: look again soon.

    `after` is in seconds, counted from now; it goes before the fetcher's interval and counts neither as a
    failure nor as news. `reason` is for a log at debug level.
    """

    after: float = 0.25
    reason: str = ""


@runtime_checkable
class Fetcher(Protocol):
    """A source of releases."""

    @property
    def interval(self) -> float:
        """Seconds between two looks; 0 leaves it to `min_fetch_interval`."""

    def latest(self, seen: Mapping[str, str] | None) -> Offer | LookAgain | None:
        """Look once: an offer that differs from `seen`, or None when there is nothing new.

        `seen` is the `seen` of the last offer that was staged or refused for good, None at the very first.
        Raises `FetchError` when the source cannot be asked or makes no sense.
        """

"""The bytes of a release: streamed to disk, hashed on the way, verified, and unpacked.

Memory does not grow with the release. What has arrived when a transfer is interrupted is kept, safely up to
the last checkpoint, and goes on where the source can go on; what came whole and is wrong is thrown away.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.errors import FetchError
from overseer.fetcher.offer import Partial
from overseer.store import durable, staging
from overseer.updater import kinds, patch
from overseer.updater.unpack import packing, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from overseer.fetcher.offer import Download, Offer, PatchOffer
    from overseer.store import Layout
    from overseer.updater.attention import Attentive

CHECKPOINT = 64 << 20
"""Bytes after which what has arrived is made safe, so that a crash costs no more than these."""

FETCHING, UNPACKING, CHECKING = "fetching", "unpacking", "checking"
"""The steps of an upgrade that may take long, as they are told while they do."""

PROGRESS = 10.0
"""Seconds between two lines about how a download goes."""


@dataclass(frozen=True)
class Arrived:
    """Bytes that are all here and durable, in `folder` under the name of a download."""

    folder: str
    digest: str  # SHA-256, unpacked
    size: int  # bytes, unpacked

    @property
    def path(self) -> str:
        """The file."""
        return staging.data_path(self.folder)


@dataclass
class _Arriving:
    """Bytes on their way."""

    folder: str
    fd: int
    sha: hashlib._Hash
    size: int = 0
    made: str = ""  # its digest, if it did not come but was made

    @property
    def digest(self) -> str:
        """The SHA-256 of what is here."""
        return self.made or self.sha.hexdigest()

    def keep(self, offer: Offer) -> None:
        """Make safe what is here."""
        digest = self.digest
        staging.keep(self.folder, self.fd, size=self.size, sha256=digest, seen=offer.seen)


class Progress:
    """Tell how a download goes: who looks sees it move; the log gets a line every ten seconds."""

    def __init__(
        self,
        offer: Offer,
        tell: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[str, str, int, int | None], None] = lambda *_: None,
    ) -> None:
        self.offer = offer
        self.tell = tell
        self.clock = clock
        self.show = show
        self._told = clock()

    def reached(self, size: int) -> None:
        """Take in that `size` bytes are here."""
        self.show(FETCHING, self.offer.name, size, self.offer.size)
        now = self.clock()
        if now < self._told + PROGRESS:
            return
        self._told = now
        whole = f" of {self.offer.size >> 20}" if self.offer.size else ""
        self.tell("info", f"{size >> 20}{whole} MiB of {self.offer.name or 'the release'} have arrived")


def receive(
    offer: Offer,
    layout: Layout,
    attention: Attentive,
    *,
    max_size: int,
    max_unpacked: int,
    tell: Callable[[str, str], None] = lambda *_: None,
    base_of: Callable[[str], str | None] = lambda _: None,
) -> Arrived:
    """Download an offer, verify it against what the source says of it, and unpack it.

    The limits are bytes; `tell` hears now and then how much has arrived; `base_of` says where a release is
    that a patch may be applied to. Raises `FetchError` when it is cut short, empty, too long, damaged or not
    what the source says, `OSError`, and what `attention` raises.
    """
    patched = _by_patch(offer, layout, attention, tell, base_of) if offer.patches else None
    arriving = patched or _download(
        offer, layout, attention, max_size, Progress(offer, tell, show=attention.progress)
    )
    try:
        _verify(offer, arriving)
        how = packing(os.pread(arriving.fd, 16, 0))
        if how:
            attention.progress(UNPACKING, offer.name)
            return _unpacked(arriving, layout, how, max_unpacked)
        os.fsync(arriving.fd)
        staging.finish(arriving.folder)
        return Arrived(arriving.folder, arriving.digest, arriving.size)
    except FetchError:
        staging.drop(layout)  # there is nothing to be resumed: all of it came, and it was wrong
        raise
    finally:
        os.close(arriving.fd)


def _by_patch(
    offer: Offer,
    layout: Layout,
    attention: Attentive,
    tell: Callable[[str, str], None],
    base_of: Callable[[str], str | None],
) -> _Arriving | None:
    """Make the release of one that is here and a patch; None when that is not to be, whatever the reason.

    A download that waits to be resumed stays where it is until the patch has made a whole release.
    """
    if not offer.digest or offer.size is None:
        return None
    try:
        chosen = patch.choose(offer.patches, size=offer.size, base_of=base_of)
        if chosen is None:
            return None
        found, base = chosen
        arriving = _patched(offer, found, base, layout, attention)
    except Exception as error:  # noqa: BLE001 - a fetcher is a stranger's code, and the whole is still to be had
        tell("warning", f"the patch is not taken, the whole release is: {error}")
        return None
    tell("info", f"{found.name or 'a patch'} of {found.size} bytes made a release of {offer.size}")
    return arriving


def _patched(offer: Offer, found: PatchOffer, base: str, layout: Layout, attention: Attentive) -> _Arriving:
    assert offer.digest
    assert offer.size is not None
    folder = staging.new_folder(layout)
    path = os.path.join(folder, "patch")
    arriving = _Arriving(folder, durable.create(staging.data_path(folder)), hashlib.sha256())
    try:
        fd = durable.create(path)
        try:
            with attention.foreign():
                download = found.open()
            _verify_patch(found, download, fd, attention)
            patch.apply(base, fd, arriving.fd, size=offer.size, digest=offer.digest)
        finally:
            os.close(fd)
            os.unlink(path)
        staging.drop(layout)
        arriving.size = os.fstat(arriving.fd).st_size
        arriving.made = offer.digest.lower()
    except BaseException:
        os.close(arriving.fd)
        durable.remove(folder)
        raise
    return arriving


def _verify_patch(found: PatchOffer, download: Download, fd: int, attention: Attentive) -> None:
    """Write a patch down, and hold it against what is signed of it before anything reads it."""
    sha, size = hashlib.sha256(), 0
    with ExitStack() as stack:
        if callable(close := getattr(download.chunks, "close", None)):
            stack.callback(close)
        for chunk in _listening(download.chunks, attention):
            size += len(chunk)
            attention.progress(FETCHING, found.name, size, found.size)
            if size > found.size:
                raise FetchError(f"the patch is longer than the {found.size} bytes that are said of it")
            sha.update(chunk)
            durable.write_all(fd, chunk)
    if download.start or size != found.size or sha.hexdigest() != found.digest.lower():
        raise FetchError("the patch is not the one that is said of it")


def _unpacked(arriving: _Arriving, layout: Layout, how: str, limit: int) -> Arrived:
    folder = staging.new_folder(layout)
    target = durable.create(staging.data_path(folder))
    try:
        digest, size = unpack(arriving.fd, target, how, limit=limit)
        os.fsync(target)
    except kinds.NotAReleaseError as error:
        raise FetchError(f"what was downloaded is not taken: {error}") from error
    finally:
        os.close(target)
    staging.drop(layout)
    return Arrived(folder, digest, size)


def _verify(offer: Offer, arrived: _Arriving) -> None:
    """Hold the bytes against what the source says of them; where that is signed, against what is signed."""
    if not arrived.size:
        raise FetchError("the release is empty")
    if offer.size is not None and arrived.size != offer.size:
        raise FetchError(f"{arrived.size} bytes came of a release of {offer.size}")
    found = arrived.digest
    if offer.digest and found != offer.digest.lower():
        raise FetchError(f"the release has the digest {found}, not {offer.digest} as the source says")


def _download(
    offer: Offer, layout: Layout, attention: Attentive, limit: int, progress: Progress
) -> _Arriving:
    """Stream the offer to disk, from where an earlier download was interrupted if the source can do that."""
    waiting = staging.waiting(layout)
    taken = staging.take_up(waiting) if waiting else None
    arriving = _Arriving(waiting.folder, *taken, waiting.size) if waiting and taken else None
    partial = Partial(waiting.size, waiting.seen) if waiting and taken else None
    try:
        progress.reached(waiting.size if waiting else 0)
        with attention.foreign():
            download = offer.open(partial)
        if download.start != (arriving.size if arriving else 0):
            if arriving:
                os.close(arriving.fd)
                arriving = None
            _refuse_gap(download.start)
        if arriving is None:
            arriving = _Arriving(*staging.begin(layout), hashlib.sha256())
        for _ in _stream(download.chunks, arriving, offer, limit, attention):
            progress.reached(arriving.size)
    except BaseException:
        if arriving:
            os.close(arriving.fd)
        raise
    return arriving


def _refuse_gap(start: int) -> None:
    if start:
        raise FetchError(f"the source begins at byte {start}, where nobody asked it to")


def _stream(
    chunks: Iterator[bytes], arriving: _Arriving, offer: Offer, limit: int, attention: Attentive
) -> Iterator[None]:
    """Write chunk after chunk; whatever interrupts it, what has arrived can be resumed."""
    safe = arriving.size
    try:
        for chunk in _listening(chunks, attention):
            if arriving.size + len(chunk) > (limit if offer.size is None else min(limit, offer.size)):
                safe = arriving.size = 0  # and what is here is not wanted either
                _refuse_length(arriving, limit, offer.size)
            durable.write_all(arriving.fd, chunk)
            arriving.sha.update(chunk)
            arriving.size += len(chunk)
            if arriving.size - safe >= CHECKPOINT:
                arriving.keep(offer)
                safe = arriving.size
            yield
    except BaseException:
        if arriving.size > safe:
            with suppress(OSError):
                arriving.keep(offer)
        raise
    finally:
        close = getattr(chunks, "close", None)
        if callable(close):
            close()


def _refuse_length(arriving: _Arriving, limit: int, told: int | None) -> None:
    durable.remove(arriving.folder)
    if told is not None and told <= limit:
        raise FetchError(f"the release is longer than the {told} bytes that are said of it")
    raise FetchError(f"the release is longer than the limit of {limit} bytes", permanent=True)


def _listening(chunks: Iterator[bytes], attention: Attentive) -> Iterator[bytes]:
    """Hear the master between chunks; while one is awaited, only its end matters."""
    while True:
        attention.attend()
        with attention.foreign():
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk

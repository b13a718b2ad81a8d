"""Small updates: make a release of the one that is here and a patch, the part of it that is new.

A patch is one frame of zstd whose dictionary is the old release, whole (`zstd --patch-from`). It is verified
before it comes here, and trusted no further: it may make exactly as many bytes as are signed, with the digest
that is signed, in memory that is bounded by both releases. Any fault is a `PatchError`, and whoever asked
takes the whole release instead.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from overseer.errors import OverseerError
from overseer.store import durable
from overseer.updater import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from overseer.fetcher.offer import PatchOffer

MOST = 128 << 20
"""Bytes of a release, old or new, beyond which there are no patches: both are held in memory."""

WORTH = 0.5
"""Part of the whole release that a patch has to stay under to be taken."""

LEAST = 8
"""Bytes of an old release below which zstd takes it for no dictionary."""

_CHUNK = 1 << 20
_FEED = 1 << 16
_SMALLEST_WINDOW = 10  # zstd's own bounds, as powers of two


class PatchError(OverseerError):
    """A patch does not make what was signed; take the whole release."""


def choose(
    patches: Iterable[PatchOffer], *, size: int, base_of: Callable[[str], str | None]
) -> tuple[PatchOffer, str] | None:
    """Return the smallest patch that is worth it, and the path of the release it is applied to.

    `size` is that of the whole release; `base_of` returns where the release with a digest is, None if it is
    not here.
    """
    if not 0 < size <= MOST:
        return None
    for patch in sorted(patches, key=lambda each: each.size):
        if not 0 < patch.size < size * WORTH:
            return None  # and no larger one is
        base = base_of(patch.base)
        if base is not None and LEAST <= os.path.getsize(base) <= MOST:
            return patch, base
    return None


def window_log(size: int) -> int:
    """Return the power of two that the window of a patch needs, for a release of `size` bytes."""
    return max(_SMALLEST_WINDOW, (size - 1).bit_length())


def apply(base: str, patch: int, target: int, *, size: int, digest: str) -> None:
    """Write into the descriptor `target` what the file `base` and the descriptor `patch` make.

    `size` and `digest` are those that are signed of the result. Raises `PatchError`, and `OSError`.
    """
    try:
        module = zstd.module()
    except zstd.NoZstdError as error:
        raise PatchError(str(error)) from error
    if not 0 < size <= MOST:
        raise PatchError(f"it is to make {size} bytes, and {MOST} are the most")
    limits = {module.DecompressionParameter.window_log_max: window_log(size)}
    with open(base, "rb") as file:
        known = file.read(MOST + 1)
    if not LEAST <= len(known) <= MOST:
        raise PatchError(f"the release it is to be applied to has {len(known)} bytes; that is none to patch")
    try:
        prefix = module.ZstdDict(known, is_raw=True).as_prefix
        stream = module.ZstdDecompressor(zstd_dict=prefix, options=limits)
        _pour(stream, patch, target, size, digest)
    except module.ZstdError as error:
        raise PatchError(f"it is damaged, or wants too much memory ({error})") from error
    except MemoryError as error:
        raise PatchError("there is not memory enough for it") from error


def _pour(stream: Any, patch: int, target: int, size: int, digest: str) -> None:
    sha, made, at = hashlib.sha256(), 0, 0
    while not stream.eof:
        data = b""
        if stream.needs_input:
            data = os.pread(patch, _FEED, at)
            if not data:
                raise PatchError("it is cut short")
            at += len(data)
        piece: bytes = stream.decompress(data, max_length=_CHUNK)
        made += len(piece)
        if made > size:
            raise PatchError(f"it makes more than the {size} bytes that are signed")
        sha.update(piece)
        durable.write_all(target, piece)
    if stream.unused_data or os.pread(patch, 1, at):
        raise PatchError("there is something behind its end")
    if made != size:
        raise PatchError(f"it makes {made} bytes and {size} are signed")
    if sha.hexdigest() != digest.lower():
        raise PatchError("what it makes is not what is signed; another release is here than it was made for")

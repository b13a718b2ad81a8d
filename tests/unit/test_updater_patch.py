"""Patches: whatever they are, they make what is signed or nothing, in bounded memory."""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overseer.fetcher import Download
from overseer.fetcher.offer import PatchOffer
from overseer.publish.compress import compress
from overseer.updater import zstd
from overseer.updater.patch import LEAST, MOST, PatchError, apply, choose, window_log

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = random.Random(1).randbytes(40_000)
NEW = OLD[:10_000] + b"one line" + OLD[10_000:]


@contextmanager
def opened(content: bytes) -> Iterator[int]:
    """Have a file with this content, open."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.fileno()


def made(old: bytes, patch: bytes, *, size: int, digest: str) -> bytes:
    """Apply a patch, and return what was written, which is what it returned if it did."""
    with tempfile.NamedTemporaryFile() as base, opened(patch) as given, opened(b"") as target:
        base.write(old)
        base.flush()
        try:
            apply(base.name, given, target, size=size, digest=digest)
        finally:
            assert os.fstat(target).st_size <= max(size, 0)
        return os.pread(target, size + 1, 0)


def sha(content: bytes) -> str:
    """Name some bytes."""
    return hashlib.sha256(content).hexdigest()


def test_a_small_change_is_a_small_patch() -> None:
    """Of forty kilobytes of noise with a line in between, little more than the line."""
    patch = compress(OLD, NEW)
    assert len(patch) < 100
    assert made(OLD, patch, size=len(NEW), digest=sha(NEW)) == NEW


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=LEAST, max_size=3000), st.binary(min_size=1, max_size=3000))
def test_any_release_is_made_of_any_other(old: bytes, new: bytes) -> None:
    """Even where nothing is alike."""
    assert made(old, compress(old, new), size=len(new), digest=sha(new)) == new


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_patch_makes_what_is_signed_or_nothing(data: st.DataObject) -> None:
    """Bytes changed, cut off or added: an error of ours, and never more bytes than are signed."""
    patch = bytearray(compress(OLD[:3000], NEW[:2500] + OLD[100:600]))
    new = NEW[:2500] + OLD[100:600]
    match data.draw(st.sampled_from(["change", "cut", "add"])):
        case "change":
            patch[data.draw(st.integers(0, len(patch) - 1))] ^= data.draw(st.integers(1, 255))
        case "cut":
            del patch[data.draw(st.integers(0, len(patch) - 1)) :]
        case _:
            patch += data.draw(st.binary(min_size=1, max_size=100))
    with suppress(PatchError):
        assert made(OLD[:3000], bytes(patch), size=len(new), digest=sha(new)) == new


@given(st.binary(max_size=300))
def test_noise_is_no_patch(noise: bytes) -> None:
    """Whatever it is, it does not make a release by chance."""
    with pytest.raises(PatchError):
        made(OLD, noise, size=len(NEW), digest=sha(NEW))


def test_another_release_than_it_was_made_for_is_found_out() -> None:
    """By the digest of what it makes."""
    patch = compress(OLD, NEW)
    other = bytes(reversed(OLD))
    with pytest.raises(PatchError, match="not what is signed"):
        made(other, patch, size=len(NEW), digest=sha(NEW))


def test_a_bomb_stops_at_the_signed_length() -> None:
    """A few bytes that would be a hundred megabytes end where the release should."""
    module = zstd.module()
    bomb = module.compress(bytes(100 << 20))
    assert len(bomb) < 20_000
    with pytest.raises(PatchError, match=r"wants too much memory|more than the"):
        made(OLD, bomb, size=1 << 20, digest=sha(NEW))
    small = module.compress(bytes(1 << 20), options={module.CompressionParameter.window_log: 10})
    with pytest.raises(PatchError, match=f"more than the {1 << 16} bytes"):
        made(OLD, small, size=1 << 16, digest=sha(NEW))


def test_a_patch_that_wants_a_large_window_is_refused() -> None:
    """What it may keep in memory follows from the signed length, not from what it says."""
    module = zstd.module()
    options = {module.CompressionParameter.window_log: 26}
    compressor = module.ZstdCompressor(options=options)  # of unknown length, so the window is as asked
    greedy = compressor.compress(NEW) + compressor.flush()
    with pytest.raises(PatchError, match="wants too much memory"):
        made(OLD, greedy, size=len(NEW), digest=sha(NEW))


def test_a_second_frame_is_refused() -> None:
    """A patch is one frame and its end."""
    patch = compress(OLD, NEW)
    with pytest.raises(PatchError, match="behind its end"):
        made(OLD, patch + patch, size=len(NEW), digest=sha(NEW))
    with pytest.raises(PatchError, match="makes 40008 bytes and 50000 are signed"):
        made(OLD, patch, size=50_000, digest=sha(NEW))
    with pytest.raises(PatchError, match="are the most"):
        made(OLD, patch, size=MOST + 1, digest=sha(NEW))
    with pytest.raises(PatchError, match="has 7 bytes"):
        made(OLD[:7], patch, size=len(NEW), digest=sha(NEW))


def test_a_window_fits_the_release() -> None:
    """The next power of two, and not less than zstd can."""
    assert [window_log(size) for size in (1, 1024, 1025, 1 << 20, (1 << 20) + 1)] == [10, 10, 11, 20, 21]


def offer(base: str, size: int) -> PatchOffer:
    """Offer a patch that nobody downloads."""
    return PatchOffer(base=base, digest=sha(b""), size=size, open=lambda: Download(0, iter(())))


def test_the_smallest_patch_to_a_release_that_is_here_is_chosen() -> None:
    """Unless it saves less than half."""
    with tempfile.NamedTemporaryFile() as here:
        here.write(OLD)
        here.flush()
        where = {"a": here.name, "c": here.name}.get
        patches = [offer("a", 30), offer("b", 10), offer("c", 20)]
        chosen = choose(patches, size=100, base_of=where)
        assert chosen == (patches[2], here.name)
        assert choose(patches, size=60, base_of=where) == (patches[2], here.name)
        assert choose(patches, size=40, base_of=where) is None
        assert choose(patches, size=0, base_of=where) is None
        assert choose([offer("a", 0)], size=100, base_of=where) is None
        assert choose(patches[1:2], size=100, base_of=where) is None
        assert choose(patches, size=MOST + 1, base_of=where) is None

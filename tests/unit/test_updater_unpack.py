"""Unpacking: whole, bounded, and certain of its end."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overseer.errors import FetchError
from overseer.updater.kinds import NotAReleaseError
from overseer.updater.unpack import packing, unpack

if TYPE_CHECKING:
    from pathlib import Path

quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)


def unpacked(folder: Path, packed: bytes, *, limit: int = 1 << 20) -> bytes:
    """Unpack some bytes by way of two files, and check what is said of the result."""
    (folder / "packed").write_bytes(packed)
    with open(folder / "packed", "rb") as source, open(folder / "unpacked", "wb") as target:
        digest, size = unpack(source.fileno(), target.fileno(), packing(packed) or "gzip", limit=limit)
    content = (folder / "unpacked").read_bytes()
    assert (digest, size) == (hashlib.sha256(content).hexdigest(), len(content))
    return content


@quick
@given(parts=st.lists(st.binary(max_size=5000), min_size=1, max_size=4), padding=st.integers(0, 1000))
def test_gzip_is_unpacked_with_all_of_its_members(tmp_path: Path, parts: list[bytes], padding: int) -> None:
    """And the zeros behind the last of them are no damage."""
    packed = b"".join(gzip.compress(part) for part in parts) + bytes(padding)
    assert unpacked(tmp_path, packed) == b"".join(parts)


@quick
@given(content=st.binary(min_size=1, max_size=5000), part=st.floats(0, 1, exclude_max=True))
def test_gzip_that_was_cut_short_is_an_error_wherever_it_was_cut(
    tmp_path: Path, content: bytes, part: float
) -> None:
    """The source is asked again."""
    packed = gzip.compress(content)
    with pytest.raises(FetchError, match="cut short"):
        unpacked(tmp_path, packed[: int(len(packed) * part)])


def test_gzip_with_something_else_behind_it_is_an_error(tmp_path: Path) -> None:
    """Neither padding nor another member."""
    with pytest.raises(FetchError, match="damaged"):
        unpacked(tmp_path, gzip.compress(b"x") + b"<html>")
    with pytest.raises(FetchError, match="something else behind it"):
        unpacked(tmp_path, gzip.compress(b"x") + b"\0\0x")


@quick
@given(content=st.binary(min_size=1, max_size=2000), at=st.floats(0, 1, exclude_max=True))
def test_damaged_gzip_never_passes_for_something_else(tmp_path: Path, content: bytes, at: float) -> None:
    """It is an error, or (in its header) without effect."""
    packed = bytearray(gzip.compress(content))
    packed[int(at * len(packed))] ^= 0xFF
    with contextlib.suppress(FetchError):
        assert unpacked(tmp_path, bytes(packed)) == content


def test_a_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    """And leaves no more than that on the disk."""
    bomb = gzip.compress(bytes(50 << 20))
    with pytest.raises(NotAReleaseError, match="more than 1048576 bytes"):
        unpacked(tmp_path, bomb)
    assert os.path.getsize(tmp_path / "unpacked") <= 1 << 20


def test_packing_is_told_by_the_first_bytes_only() -> None:
    """Names lie: servers unpack on the way, and keep the name."""
    assert packing(gzip.compress(b"")) == "gzip"
    assert packing(b"\x28\xb5\x2f\xfd....") == "zstd"
    assert packing(b"#!/bin/sh") == ""


def test_zstd_is_unpacked_where_there_is_a_module_for_it(tmp_path: Path) -> None:
    """And elsewhere it is said what to install."""
    content = os.urandom(300_000) + bytes(300_000)
    (tmp_path / "plain").write_bytes(content)
    packed = subprocess.run(["zstd", "-qc", tmp_path / "plain"], capture_output=True, check=True).stdout
    if not (
        find_spec("backports.zstd") or find_spec("compression.zstd" if sys.version_info >= (3, 14) else "-")
    ):
        with pytest.raises(NotAReleaseError, match="pip install"):
            unpacked(tmp_path, packed)
        return
    assert unpacked(tmp_path, packed) == content
    assert unpacked(tmp_path, packed + packed, limit=2 << 20) == content * 2
    for cut in (5, 100, len(packed) // 2, len(packed) - 1):
        with pytest.raises(FetchError, match=r"cut short|damaged"):
            unpacked(tmp_path, packed[:cut])
    with pytest.raises(NotAReleaseError, match="more than 1000 bytes"):
        unpacked(tmp_path, packed, limit=1000)

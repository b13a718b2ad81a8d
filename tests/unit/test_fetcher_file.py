"""A file on this machine as a source."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from overseer.errors import ConfigError, FetchError
from overseer.fetcher import File, LookAgain, Offer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Say the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Make a clock."""
    return Clock()


def settle(fetcher: File, clock: Clock, seen: Mapping[str, str] | None = None) -> Offer:
    """Look, wait as asked, and look again."""
    again = fetcher.latest(seen)
    assert isinstance(again, LookAgain)
    clock.now += again.after
    offer = fetcher.latest(seen)
    assert isinstance(offer, Offer)
    return offer


def read(offer: Offer) -> bytes:
    """Read an offer to its end."""
    return b"".join(offer.open(None).chunks)


def test_a_file_is_offered_when_two_looks_agree_on_it(tmp_path: Path, clock: Clock) -> None:
    """The first look only says when to look again."""
    (tmp_path / "app.pyz").write_bytes(b"one" * 200_000)
    offer = settle(File(tmp_path / "app.pyz", clock=clock), clock)
    assert (offer.name, offer.size, read(offer)) == ("app.pyz", 600_000, b"one" * 200_000)


def test_a_file_that_was_seen_is_not_offered_again(tmp_path: Path, clock: Clock) -> None:
    """Not by this process, nor by the next."""
    (tmp_path / "app").write_bytes(b"one")
    fetcher = File(tmp_path / "app", clock=clock)
    seen = settle(fetcher, clock).seen
    assert fetcher.latest(seen) is None
    assert File(tmp_path / "app", clock=clock).latest(seen) is None


def test_two_looks_at_once_do_not_count_as_two(tmp_path: Path, clock: Clock) -> None:
    """Whoever looks too soon is told how long to wait."""
    (tmp_path / "app").write_bytes(b"one")
    fetcher = File(tmp_path / "app", clock=clock)
    fetcher.latest(None)
    clock.now += 0.125
    assert fetcher.latest(None) == LookAgain(after=0.125, reason="the file may still be written")


def test_a_copy_in_progress_is_not_offered(tmp_path: Path, clock: Clock) -> None:
    """Every change begins the wait anew."""
    path = tmp_path / "app"
    fetcher = File(path, clock=clock)
    for length in range(1, 6):
        path.write_bytes(b"x" * length)
        assert isinstance(fetcher.latest(None), LookAgain)
        clock.now += 0.25
    assert read(settle_now(fetcher)) == b"xxxxx"


def settle_now(fetcher: File) -> Offer:
    """Look once and insist on an offer."""
    offer = fetcher.latest(None)
    assert isinstance(offer, Offer)
    return offer


def test_a_file_that_never_settles_is_an_error_after_five_seconds(tmp_path: Path, clock: Clock) -> None:
    """And it is waited for anew after that."""
    path = tmp_path / "app"
    fetcher = File(path, clock=clock)
    for length in range(1, 21):
        path.write_bytes(b"x" * length)
        assert isinstance(fetcher.latest(None), LookAgain)
        clock.now += 0.25
    path.write_bytes(b"y" * 30)
    with pytest.raises(FetchError, match="changing for 5 seconds"):
        fetcher.latest(None)
    clock.now += 1
    assert read(settle_now(fetcher)) == b"y" * 30


@pytest.mark.parametrize("change", ["time", "length", "inode"])
def test_another_file_is_told_by_time_length_or_inode(tmp_path: Path, clock: Clock, change: str) -> None:
    """Any one of them is enough."""
    path = tmp_path / "app"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1))
    fetcher = File(path, clock=clock)
    seen = settle(fetcher, clock).seen
    if change == "inode":
        (tmp_path / "new").write_bytes(b"two")
        (tmp_path / "new").rename(path)
    else:
        path.write_bytes(b"three" if change == "length" else b"two")
    os.utime(path, ns=(2, 2) if change == "time" else (1, 1))
    assert settle(fetcher, clock, seen).seen != seen


def test_a_link_leads_to_the_file(tmp_path: Path, clock: Clock) -> None:
    """Turned to another file, it leads to another release."""
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"two")
    (tmp_path / "app").symlink_to("one")
    fetcher = File(tmp_path / "app", clock=clock)
    seen = settle(fetcher, clock).seen
    (tmp_path / "app").unlink()
    (tmp_path / "app").symlink_to("two")
    assert read(settle(fetcher, clock, seen)) == b"two"


def test_a_file_that_is_missing_or_empty_is_nothing_new(tmp_path: Path) -> None:
    """Nor is it an error: it is put there later."""
    assert File(tmp_path / "none").latest(None) is None
    (tmp_path / "none").touch()
    assert File(tmp_path / "none").latest(None) is None


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """No release can come there: a slip in the path, or a share that is not mounted."""
    with pytest.raises(FetchError, match=f"there is no folder {tmp_path}/gone, where"):
        File(tmp_path / "gone" / "next.py").latest(None)


@pytest.mark.parametrize("what", ["folder", "fifo"])
def test_what_is_no_file_is_an_error(tmp_path: Path, what: str) -> None:
    """And nobody waits for a writer."""
    path = tmp_path / "app"
    if what == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(FetchError, match=r"not a regular file|directory"):
        File(path).latest(None)


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, clock: Clock, when: str) -> None:
    """What was read is no release."""
    path = tmp_path / "app"
    path.write_bytes(b"x" * 1_000_000)
    chunks = settle(File(path, clock=clock), clock).open(None).chunks
    if when == "between":
        next(chunks)
    path.write_bytes(b"y" * 1_000_000)
    with pytest.raises(FetchError, match="changed"):
        list(chunks)


def test_options_that_can_never_work_are_refused() -> None:
    """When the source is made."""
    for path, interval in (("", 1.0), ("app", 0.0), ("app", float("nan"))):
        with pytest.raises(ConfigError):
            File(path, interval)

"""A program as a source: real ones, good and bad."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from overseer.errors import ConfigError, FetchError
from overseer.fetcher import Command

if TYPE_CHECKING:
    from pathlib import Path


def shell(script: str, timeout: float = 20.0) -> Command:
    """Make a source of a shell script."""
    return Command(["/bin/sh", "-c", script], timeout=timeout)


def test_the_file_that_is_named_is_offered_until_it_was_seen(tmp_path: Path) -> None:
    """Only the last line counts: programs talk."""
    (tmp_path / "app.gz").write_bytes(b"one")
    fetcher = shell(f"echo looking; echo '{tmp_path}/app.gz'")
    offer = fetcher.latest(None)
    assert offer is not None
    assert (offer.name, b"".join(offer.open(None).chunks)) == ("app.gz", b"one")
    assert fetcher.latest(offer.seen) is None
    (tmp_path / "app.gz").write_bytes(b"three")
    assert fetcher.latest(offer.seen) is not None


@pytest.mark.parametrize("script", ["true", "echo", "printf ' \\n\\n'"])
def test_nothing_printed_is_nothing_new(script: str) -> None:
    """Nor are empty lines."""
    assert shell(script).latest(None) is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo out of luck >&2; exit 3", "status 3: out of luck"),
        ("kill -9 $$", "status -9: it said nothing"),
        ("echo /nonexistent", "missing or empty"),
        ("printf 'a\\000b'", "no path"),
        ("yes /nonexistent | head -n 100000", "missing or empty"),
    ],
)
def test_a_program_that_fails_is_a_failed_look(script: str, reason: str) -> None:
    """Its last words are told."""
    with pytest.raises(FetchError, match=reason):
        shell(script).latest(None)


def test_a_program_that_is_not_there_is_a_failed_look() -> None:
    """It may be installed later."""
    with pytest.raises(FetchError, match="none cannot be run: No such file"):
        Command(["/nonexistent/none"]).latest(None)


def test_a_program_whose_time_is_up_is_killed_with_all_it_started(tmp_path: Path) -> None:
    """Nobody is left behind who holds its lock."""
    held = tmp_path / "held"
    os.mkfifo(held)
    # The grandchild keeps the FIFO open for writing: its end is when the last writer has gone.
    reader = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(FetchError, match=r"longer than 0\.5 s"):
        shell(f"exec 3>{held}; echo up >&3; sleep 600 & sleep 600", timeout=0.5).latest(None)
    os.set_blocking(reader, True)
    try:
        assert b"".join(iter(lambda: os.read(reader, 100), b"")) == b"up\n"
    finally:
        os.close(reader)


def test_a_grandchild_that_keeps_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    """The program has said what it had to say when it exits."""
    (tmp_path / "app").write_bytes(b"one")
    script = f"exec 3>&1; sleep 5 & echo {tmp_path}/app"
    assert shell(script, timeout=4).latest(None) is not None


def test_a_program_has_no_input_and_a_session_of_its_own() -> None:
    """It cannot read the terminal, nor be hit by its signals."""
    code = "import os, sys; assert not sys.stdin.read(); assert os.getsid(0) == os.getpid()"
    assert Command([sys.executable, "-c", code]).latest(None) is None


def test_options_that_can_never_work_are_refused() -> None:
    """A command line in one string would need a shell."""
    with pytest.raises(ConfigError, match="list"):
        Command("ls -l")
    with pytest.raises(ConfigError, match="list"):
        Command([])
    with pytest.raises(ConfigError, match="timeout"):
        Command(["ls"], timeout=0)

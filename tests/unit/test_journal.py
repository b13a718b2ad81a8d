"""The master's log: whole lines, and never a wait for whoever reads them."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import pytest

from overseer.master.journal import DEBUG, ERROR, WARNING, Journal

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pipe:
    """A reader of the log who reads when it wants to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def read(self) -> str:
        """Read what is there."""
        os.set_blocking(self.reader, False)
        parts = []
        try:
            while part := os.read(self.reader, 1 << 16):
                parts.append(part)
        except BlockingIOError:
            pass
        return b"".join(parts).decode(errors="replace")


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Have a pipe that is closed afterwards."""
    made = Pipe()
    yield made
    for fd in (made.reader, made.writer):
        try:
            os.close(fd)
        except OSError:
            continue


def test_one_fact_is_one_line(pipe: Pipe) -> None:
    """Also where the text has several; warnings and errors say what they are."""
    journal = Journal(fd=pipe.writer)
    journal.say("one\ntwo")
    journal.say("three", WARNING)
    journal.say("four", ERROR)
    lines = ["overseer: one | two", "overseer: warning: three", "overseer: error: four"]
    assert pipe.read().splitlines() == lines


def test_what_is_below_the_level_is_not_said(pipe: Pipe) -> None:
    """Debug lines are for those who ask."""
    journal = Journal(fd=pipe.writer)
    journal.say("small", DEBUG)
    journal.level = DEBUG
    journal.say("smaller", DEBUG)
    assert pipe.read() == "overseer: smaller\n"


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_who_has_stopped_holds_nobody_up(pipe: Pipe, blocking: bool) -> None:  # noqa: FBT001
    """Lines wait; the oldest are dropped, and how many is said when he reads again."""
    os.set_blocking(pipe.writer, blocking)
    journal = Journal(fd=pipe.writer)
    for number in range(3000):
        journal.say(f"{number} {'x' * 100}")
    lines = pipe.read().splitlines()
    journal.flush()
    lines += pipe.read().splitlines()
    while not lines[-1].startswith("overseer: 2999 "):
        journal.flush()
        lines += pipe.read().splitlines()
    told = [line for line in lines if "were dropped" in line]
    numbers = [int(line.split()[1]) for line in lines if line not in told]
    assert len(told) == 1
    assert int(told[0].split()[2]) == 3000 - len(numbers)
    assert numbers == sorted(set(numbers))


def test_a_line_that_is_too_long_for_a_pipe_is_cut(pipe: Pipe) -> None:
    """Whole or not at all: nobody else's line stands in the middle of it."""
    Journal(fd=pipe.writer).say("x" * 10_000)
    assert len(pipe.read()) == select.PIPE_BUF


def test_text_that_is_no_text_is_said_all_the_same(pipe: Pipe) -> None:
    """File names may be anything."""
    Journal(fd=pipe.writer).say("\udcff")
    assert pipe.read() == "overseer: \\udcff\n"


def test_a_reader_who_has_gone_is_no_error(pipe: Pipe) -> None:
    """The service goes on without a log."""
    os.close(pipe.reader)
    journal = Journal(fd=pipe.writer)
    journal.say("to nobody")
    journal.flush()


def test_a_log_that_was_never_there_is_no_error() -> None:
    """Standard error may be closed."""
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    Journal(fd=writer).say("to nobody")


def test_a_strangers_words_do_not_reach_the_terminal_raw(pipe: Pipe) -> None:
    """Colours, carriage returns and the like are shown as what they are."""
    Journal(fd=pipe.writer).say("nope \x1b[31m\r\x9b")
    assert pipe.read() == "overseer: nope \\x1b[31m\\x0d\\x9b\n"

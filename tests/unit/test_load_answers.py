"""The load generator's reading of HTTP/1 answers, and its schedules."""

from __future__ import annotations

import itertools
import re

import pytest
from bench.load.answers import Answer, Answers, Dialect, Malformed
from bench.load.schedule import arrivals, merged
from hypothesis import given
from hypothesis import strategies as st

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Generation: 7\r\n\r\nhello"
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Trailer: yes\r\n\r\n"
)
EMPTY = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
EARLY = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
STREAM = LENGTH + CHUNKS + EARLY + EMPTY
READ = [
    Answer(200, "7", close=False),
    Answer(200, None, close=False),
    Answer(503, None, close=False),
    Answer(204, None, close=True),
]


def read(*pieces: bytes, dialect: Dialect | None = None) -> list[Answer]:
    """Return the answers in the pieces."""
    answers, complete = Answers(dialect or Dialect()), list[Answer]()
    for piece in pieces:
        answers.feed(piece, complete)
    return complete


@given(cuts=st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=20))
def test_answers_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    """The system may hand over any pieces."""
    edges = [0, *sorted(cuts), len(STREAM)]
    assert read(*(STREAM[start:end] for start, end in itertools.pairwise(edges))) == READ


@given(end=st.integers(min_value=0, max_value=len(STREAM) - 1))
def test_a_cut_answer_is_never_taken_for_a_whole_one(end: int) -> None:
    """Whatever byte is the last, nothing is complete that is not."""
    answers, complete = Answers(Dialect()), list[Answer]()
    answers.feed(STREAM[:end], complete)
    assert complete == READ[: len(complete)]
    assert len(complete) < len(READ)
    assert answers.eof() is None


@given(rubbish=st.binary(min_size=1, max_size=200))
def test_rubbish_is_malformed_or_incomplete_but_never_an_answer(rubbish: bytes) -> None:
    """A fuzzed server cannot make the reader fail in another way."""
    try:
        assert read(rubbish) == []
    except Malformed:
        return


@pytest.mark.parametrize(
    "stream",
    [
        b"hello",
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd",
    ],
)
def test_what_two_clients_could_read_differently_is_malformed(stream: bytes) -> None:
    """The reader is strict, because it is there to find faults."""
    with pytest.raises(Malformed):
        read(stream)


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    """As every HTTP/1.0 server does it."""
    answers, complete = Answers(Dialect()), list[Answer]()
    answers.feed(b"HTTP/1.0 200 OK\r\nX-Generation: 3\r\n\r\nany", complete)
    assert complete == []
    assert answers.eof() == Answer(200, "3", close=True)


def test_a_generation_is_found_in_the_body_when_no_header_names_it() -> None:
    """A stranger's server needs no header of ours."""
    dialect = Dialect(body=re.compile(rb"app#(\d+)"))
    stream = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nI am app#42!"
    assert read(stream[:52], stream[52:], dialect=dialect)[0].generation == "42"


@given(rate=st.floats(min_value=0.1, max_value=5000), seed=st.integers(0, 99))
def test_arrivals_are_in_order_and_the_same_for_the_same_seed(rate: float, seed: int) -> None:
    """The schedule is fixed before the first request is sent."""
    times = list(itertools.islice(arrivals(rate, shape="poisson", seed=seed), 50))
    assert times == sorted(times)
    assert times == list(itertools.islice(arrivals(rate, shape="poisson", seed=seed), 50))


def test_an_even_schedule_has_as_many_arrivals_as_its_rate_says() -> None:
    """No error adds up: after 1,000 seconds of 300 a second there were 300,000."""
    times = itertools.takewhile(lambda at: at < 1000, arrivals(300, phase=0.5))
    assert sum(1 for _ in times) == 300_000


def test_merged_schedules_keep_each_its_rate() -> None:
    """Two kinds of clients come side by side."""
    both = list(itertools.takewhile(lambda each: each[0] < 10, merged([30, 10])))
    assert [sum(1 for _, which in both if which == each) for each in (0, 1)] == [300, 100]
    assert both == sorted(both)

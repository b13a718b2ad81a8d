"""The load generator's reading of server-sent events, and of GOAWAY."""

from __future__ import annotations

import itertools

import pytest
from bench.load.answers import Dialect, Malformed
from bench.load.eventstream import Event, EventStream, gap
from bench.load.listening import fault_of
from bench.load.outcomes import Outcome
from bench.load.partings import Parting, Partings
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, SettingsFrame
from hypothesis import given
from hypothesis import strategies as st

STREAM = (
    b"\xef\xbb\xbf: hello\n\n"
    b"id: 7\r\ndata: one\r\ndata:two\r\n\r\n"
    b"data: a:b\rid\r\r"
    b"event: ping\ndata\n\n"
    b"retry: 10\n: \n\n"
    b"id: 8\n\n"
)
READ = [Event(b"7", b"one\ntwo"), Event(b"", b"a:b"), Event(None, b""), Event(None, b""), Event(b"8", b"")]


def read(*pieces: bytes) -> list[Event]:
    """Return the events in the pieces."""
    events = EventStream()
    return [event for piece in pieces for event in events.feed(piece)]


@given(cuts=st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=20))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    """Between CR and LF, within the mark at the beginning, everywhere."""
    edges = [0, *sorted(cuts), len(STREAM)]
    assert read(*(STREAM[start:end] for start, end in itertools.pairwise(edges))) == READ


_LINES = st.lists(
    st.sampled_from([b"data: 1", b"id: 2", b": comment", b"event: x", b"data", b"unknown: y"]), max_size=5
)


@given(
    blocks=st.lists(_LINES, max_size=5),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    keep=st.floats(0, 1),
)
def test_an_end_within_an_event_is_seen_and_one_between_two_is_none(
    blocks: list[list[bytes]], line_end: bytes, keep: float
) -> None:
    """Comments alone are no event: a stream may end after one that only kept it alive."""
    whole = b"".join(b"".join(line + line_end for line in block) + line_end for block in blocks)
    events = EventStream()
    assert len(list(events.feed(whole))) == sum(any(each[:1] != b":" for each in block) for block in blocks)
    assert not events.part
    cut = whole[: int(len(whole) * keep)]
    events = EventStream()
    list(events.feed(cut))
    *lines, last = cut.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    begun = itertools.takewhile(bool, reversed(lines))
    assert events.part == (bool(last) or any(line[:1] != b":" for line in begun))


@pytest.mark.parametrize(
    ("event", "number"),
    [
        (Event(b"12", b"x"), 12),
        (Event(None, b"12"), 12),
        (Event(b"a", b"12"), None),
        (Event(None, b"12 x"), None),
        (Event(None, "²".encode()), None),
        (Event(None, b"1" * 5000), None),
    ],
)
def test_the_number_of_an_event_is_its_id_or_else_its_data(event: Event, number: int | None) -> None:
    """And what is no whole number is none."""
    assert event.number == number


@given(numbers=st.lists(st.one_of(st.none(), st.integers(0, 3)), max_size=6))
def test_numbers_that_leap_or_come_twice_are_a_gap(numbers: list[int | None]) -> None:
    """Those without a number are passed over; the first may be any."""
    told = [each for each in numbers if each is not None]
    last: int | None = None
    found = []
    for number in numbers:
        event = Event(None if number is None else str(number).encode(), b"x")
        found.append(gap(last, event))
        last = last if number is None else number
    assert any(found) == (told != list(range(told[0], told[0] + len(told))) if told else False)


@pytest.mark.parametrize(
    ("head", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8", None),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html", Outcome.MALFORMED),
        (b"HTTP/1.1 200 OK", Outcome.MALFORMED),
        (b"HTTP/1.1 204 No Content\r\nContent-Type: text/event-stream", Outcome.STATUS),
        (b"HTTP/1.1 503 Busy\r\nContent-Type: text/event-stream", Outcome.SERVER_ERROR),
    ],
)
def test_a_stream_of_events_says_that_it_is_one(head: bytes, outcome: Outcome | None) -> None:
    """Browsers take no other for it."""
    wrong = fault_of(Dialect().read(head))
    assert (None if wrong is None else wrong[0]) is outcome


def goaway(last: int, code: int = 0, text: bytes = b"") -> GoAwayFrame:
    """Return this frame."""
    return GoAwayFrame(0, last_stream_id=last, error_code=code, additional_data=text)


FRAMES: list[Frame] = [
    SettingsFrame(0),
    HeadersFrame(1, b"h" * 20, flags=["END_HEADERS"]),
    goaway(2**31 - 1),
    DataFrame(1, b"\x07" * 300),
    DataFrame(1, b""),
    goaway(3, 2, b"why"),
    goaway(1),
    DataFrame(3, b"rest", flags=["END_STREAM"]),
]
FLAT = b"".join(each.serialize() for each in FRAMES)


@given(cuts=st.lists(st.integers(min_value=0, max_value=len(FLAT)), max_size=20))
def test_goaways_are_taken_out_and_the_rest_is_left_as_it_was(cuts: list[int]) -> None:
    """In order, however the bytes are cut."""
    edges = [0, *sorted(cuts), len(FLAT)]
    partings = Partings()
    found = [part for start, end in itertools.pairwise(edges) for part in partings.feed(FLAT[start:end])]
    assert not partings.part
    told = [part for part in found if isinstance(part, Parting)]
    assert told == [Parting(2**31 - 1, 0), Parting(3, 2, b"why"), Parting(1, 0)]
    others = [each.serialize() for each in FRAMES if not isinstance(each, GoAwayFrame)]
    assert b"".join(part for part in found if isinstance(part, bytes)) == b"".join(others)
    before = found[: found.index(told[0])]
    assert b"".join(part for part in before if isinstance(part, bytes)) == b"".join(others[:2])


@given(rubbish=st.binary(max_size=200))
def test_rubbish_comes_out_as_it_went_in_or_is_malformed(rubbish: bytes) -> None:
    """Nothing is lost on the way to h2."""
    partings, found = Partings(), list[bytes | Parting]()
    try:
        found.extend(partings.feed(rubbish))
    except Malformed:
        return
    if not any(isinstance(part, Parting) for part in found):
        flat = b"".join(part for part in found if isinstance(part, bytes))
        assert rubbish.startswith(flat)
        assert partings.part == (flat != rubbish)


def test_an_answer_in_http1_is_malformed_at_once() -> None:
    """Its first bytes would be the length of a frame that nobody may send; what came before is passed on."""
    partings, found = Partings(), list[bytes | Parting]()
    first = SettingsFrame(0).serialize()
    with pytest.raises(Malformed):
        found.extend(partings.feed(first + b"HTTP/1.1 400 Bad Request\r\n"))
    assert found == [first]

"""The load generator's reading of WebSocket frames, and what it takes for an orderly end."""

from __future__ import annotations

import itertools

import pytest
from bench.load.answers import Malformed
from bench.load.frames import (
    ORDERLY,
    Closed,
    Frames,
    Opcode,
    Said,
    accept_of,
    closed,
    fault_of_opening,
    frame,
    masked,
)
from bench.load.talking import TRIES, Message, crossed
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as Theirs

STREAM = [
    Frame(Theirs.TEXT, b"one"),
    Frame(Theirs.TEXT, b"tw", fin=False),
    Frame(Theirs.PING, b"are you there"),
    Frame(Theirs.CONT, b"", fin=False),
    Frame(Theirs.CONT, b"o"),
    Frame(Theirs.BINARY, b"x" * 126),
    Frame(Theirs.BINARY, b"y" * 70_000),
    Frame(Theirs.CLOSE, b"\x03\xf4restart"),
]
READ = [
    Said(Opcode.TEXT, b"one"),
    Said(Opcode.PING, b"are you there"),
    Said(Opcode.TEXT, b"two"),
    Said(Opcode.BINARY, b"x" * 126),
    Said(Opcode.BINARY, b"y" * 70_000),
    Said(Opcode.CLOSE, b"\x03\xf4restart"),
]
BYTES = b"".join(each.serialize(mask=False) for each in STREAM)
OPENING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key of RFC 6455, 1.3, and above what answers it."""


def read(*pieces: bytes) -> list[Said]:
    """Return what is said in the pieces."""
    frames = Frames()
    return [said for piece in pieces for said in frames.feed(piece)]


@given(cuts=st.lists(st.integers(min_value=0, max_value=len(BYTES)), max_size=20))
def test_messages_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    """Of frames that another library has written; a ping may come between the pieces of a message."""
    edges = [0, *sorted(cuts), len(BYTES)]
    assert read(*(BYTES[start:end] for start, end in itertools.pairwise(edges))) == READ


@given(end=st.integers(min_value=0, max_value=len(BYTES) - 1))
def test_a_cut_message_is_never_taken_for_a_whole_one(end: int) -> None:
    """Whatever byte is the last; and whether one is begun is known."""
    frames = Frames()
    said = list(frames.feed(BYTES[:end]))
    assert said == READ[: len(said)]
    assert len(said) < len(READ)
    ends = list(itertools.accumulate(len(each.serialize(mask=False)) for each in STREAM))
    boundaries = {0, *(ends[each] for each in (0, 4, 5, 6, 7))}
    assert frames.part == (end not in boundaries)


@given(rubbish=st.binary(max_size=200))
def test_rubbish_fails_in_one_way_only(rubbish: bytes) -> None:
    """A fuzzed server cannot make the reader fail in another one."""
    try:
        for said in read(rubbish):
            if said.opcode is Opcode.CLOSE:
                closed(said.data)
    except Malformed:
        return


@pytest.mark.parametrize(
    "stream",
    [
        b"\xc1\x00",  # a bit of an extension
        b"\x83\x00",  # no known kind
        b"\x81\x80abcd",  # masked
        b"\x09\x00",  # a ping in pieces
        b"\x89\x7e\x00\x7e",  # a long ping
        b"\x80\x00",  # continues nothing
        b"\x01\x01a\x81\x01b",  # a message within a message
        b"\x81\x7e\x00\x01a",  # a length in more bytes than it needs
        b"\x82\x7f\x00\x00\x00\x10\x00\x00\x00\x00",  # 64 GiB
    ],
)
def test_what_a_server_may_not_send_is_malformed(stream: bytes) -> None:
    """The reader is strict, because it is there to find faults."""
    with pytest.raises(Malformed):
        read(stream)


@given(data=st.binary(max_size=300), mask=st.binary(min_size=4, max_size=4))
def test_what_is_sent_is_masked_and_read_by_others_as_it_was(data: bytes, mask: bytes) -> None:
    """Masked as a client has to; the mask undoes itself."""
    ours = frame(Opcode.TEXT, data, mask)
    assert masked(masked(data, mask), mask) == data
    assert ours[1] & 0x80
    start = len(ours) - len(data)
    assert ours[start - 4 : start] == mask
    plain = Frame(Theirs.TEXT, data).serialize(mask=False)
    assert bytes((ours[0], ours[1] & 0x7F)) + ours[2 : start - 4] + masked(ours[start:], mask) == plain


@given(code=st.integers(min_value=0, max_value=65535))
def test_three_codes_tell_a_client_to_leave_and_all_others_say_that_something_is_wrong(code: int) -> None:
    """Also a close without a code; some codes may not be sent at all."""
    try:
        said = closed(code.to_bytes(2, "big"))
    except Malformed:
        assert code not in ORDERLY
        assert code in (1004, 1005, 1006, 1015) or not 1000 <= code < 5000
    else:
        assert said == Closed(code, "")
        assert said.orderly == (code in (1000, 1001, 1012))
    assert not closed(b"").orderly


@pytest.mark.parametrize("data", [b"\x03", b"\x03\xe8\xff"])
def test_half_a_code_or_a_reason_that_is_no_text_is_malformed(data: bytes) -> None:
    """RFC 6455, 5.5.1."""
    with pytest.raises(Malformed):
        closed(data)


def test_an_opening_is_answered_for_its_key() -> None:
    """With the example of RFC 6455, 1.3."""
    assert accept_of(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert fault_of_opening(OPENING, KEY) == ""


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ((b"Upgrade: websocket", b"Upgrade: h2c"), "without Upgrade"),
        ((b"Connection: Upgrade", b"Connection: close"), "without Connection"),
        ((b"Accept: s3", b"Accept: S3"), "another key"),
        ((b"HTTP/1.1 101", b"HTTP/1.1 101 x\r\nSec-WebSocket-Extensions: y\r\nA: b"), "extension"),
    ],
)
def test_an_opening_that_browsers_refuse_has_a_fault(change: tuple[bytes, bytes], fault: str) -> None:
    """Each of what RFC 6455, 4.1 asks of the answer."""
    assert fault in fault_of_opening(OPENING.replace(*change), KEY)


@given(waited=st.floats(min_value=0, max_value=10), tries=st.integers(1, TRIES))
def test_only_what_was_sent_just_before_a_close_may_have_crossed_it(waited: float, tries: int) -> None:
    """The server had time to answer all else; and nothing crosses every close."""
    message = Message(0.0, b"")
    message.sent, message.tries = 100.0, tries
    now = 100.0 + waited
    assert bool(crossed(message, now, 1.0)) == (now - 100.0 > 1.0 or tries == TRIES)

"""Words between processes: whatever a stranger writes, nothing breaks and nothing is taken for another."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.errors import ProtocolError
from overseer.wire import (
    CHANNEL,
    MAX_FDS,
    MAX_LINE,
    Channel,
    Lines,
    Malformed,
    decode,
    encode,
    name_channel,
    receive,
    take_channel,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
words = st.builds(
    lambda kind, more: {**more, "type": kind}, st.text(), st.dictionaries(st.text(), anything, max_size=4)
)
lines = st.binary(max_size=40) | words.map(lambda word: encode(word).rstrip(b"\n"))
streams = st.lists(lines, max_size=8).map(b"\n".join)


def shown(words: list[Any]) -> list[Any]:
    """Return words with malformed ones as text, so that they can be compared."""
    return [repr(word) if isinstance(word, Malformed) else word for word in words]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Cut some bytes at these places."""
    places = sorted({min(place, len(data)) for place in at})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


# -- lines -------------------------------------------------------------------------------------------------


@given(words)
def test_a_word_arrives_as_it_was_sent(word: dict[str, Any]) -> None:
    """Encoding and decoding are inverse."""
    assert Lines().feed(encode(word)) == [word]


@given(st.lists(st.binary()))
def test_any_bytes_become_words_or_malformed_ones(chunks: list[bytes]) -> None:
    """Nothing raises, and every word has a type."""
    reader = Lines()
    for chunk in chunks:
        for word in reader.feed(chunk):
            assert isinstance(word, Malformed) or isinstance(word["type"], str)


@given(streams, st.lists(st.integers(0, 400), max_size=6))
def test_words_do_not_depend_on_how_the_stream_is_cut(stream: bytes, at: list[int]) -> None:
    """A socket cuts where it likes."""
    whole, pieces = Lines(), Lines()
    there = [word for chunk in cut(stream, at) for word in pieces.feed(chunk)]
    assert shown(there) == shown(whole.feed(stream))
    assert pieces.rest == whole.rest


@given(streams, st.integers(0, 400))
def test_another_reader_can_take_over_in_the_middle(stream: bytes, at: int) -> None:
    """The unfinished line is all there is to hand to the next master."""
    first, chunks = Lines(), cut(stream, [at])
    there = first.feed(chunks[0])
    there += Lines(first.rest, skipping=first.skipping).feed(b"".join(chunks[1:]))
    assert shown(there) == shown(Lines().feed(stream))


@given(st.integers(-2, 2), st.lists(st.integers(0, MAX_LINE + 60), max_size=4))
def test_a_line_that_is_too_long_is_dropped_and_the_next_is_read(over: int, at: list[int]) -> None:
    """One complaint, however it is cut, and no more memory than one line."""
    long = b'{"type":"' + b"x" * (MAX_LINE - 11 + over) + b'"}'
    reader, there = Lines(), []
    for chunk in cut(long + b"\n" + encode({"type": "next"}), at):
        there += reader.feed(chunk)
        assert len(reader.rest) <= MAX_LINE
    assert isinstance(there[0], Malformed) == (over > 0)
    assert there[1:] == [{"type": "next"}]


def test_the_longest_word_passes_and_a_longer_one_is_refused_by_the_sender() -> None:
    """Both sides keep the same limit."""
    word = {"type": "x" * (MAX_LINE - 11)}
    assert Lines().feed(encode(word)) == [word]
    with pytest.raises(ProtocolError):
        encode({"type": "x" * (MAX_LINE - 10)})


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b"1" * 5000, b"\xff\xfe", b"{}", b'{"type":1}', b"null", b'"type"']
)
def test_a_line_that_is_no_word_is_malformed(line: bytes) -> None:
    """Deep nesting, huge numbers and other encodings included."""
    assert isinstance(decode(line), Malformed)


def test_a_malformed_word_shows_only_its_beginning() -> None:
    """A flood does not become a flood of the log."""
    assert len(repr(Malformed("not JSON", b"\0" * 10_000))) < 400


def test_empty_lines_are_nothing() -> None:
    """Somebody who types into a socket likes them."""
    assert Lines().feed(b"\n\n\n") == []


# -- channels ----------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    """Give both ends of a real socketpair, as they are used: non-blocking."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield Channel(left), Channel(right)
    left.close()
    right.close()


def test_a_word_goes_through_a_channel(pair: tuple[Channel, Channel]) -> None:
    """And nothing more than a word."""
    ours, theirs = pair
    ours.send({"type": "drain"})
    assert theirs.receive() == [{"type": "drain"}]
    assert theirs.receive() == []


def test_a_peer_that_never_reads_blocks_nobody(pair: tuple[Channel, Channel]) -> None:
    """Words wait here until it does, and then arrive in order."""
    ours, theirs = pair
    sent = [{"type": "say", "n": n, "text": "x" * 10_000} for n in range(100)]
    for word in sent:
        ours.send(word)
    assert ours.wants_write
    there: list[Any] = []
    while len(there) < len(sent):
        ours.flush()
        there += theirs.receive() or []
    assert there == sent
    assert not ours.wants_write


def test_what_waits_can_be_sent_by_the_next_master(pair: tuple[Channel, Channel]) -> None:
    """Half a word has gone already: the other half follows."""
    ours, theirs = pair
    sent = [{"type": "say", "n": n, "text": "x" * 10_000} for n in range(100)]
    for word in sent:
        ours.send(word)
    there: list[Any] = []
    while words := theirs.receive():
        there += words
    heir, reader = Channel(ours.sock, queued=ours.queued), Channel(theirs.sock, rest=theirs.lines.rest)
    while len(there) < len(sent):
        heir.flush()
        there += reader.receive() or []
    assert there == sent


def test_the_end_of_the_other_side_is_read_once_all_its_words_are(pair: tuple[Channel, Channel]) -> None:
    """Last words count."""
    ours, theirs = pair
    theirs.send({"type": "bye"})
    theirs.close()
    assert ours.receive() == [{"type": "bye"}]
    assert ours.receive() is None


def test_words_to_somebody_who_has_gone_are_no_error(pair: tuple[Channel, Channel]) -> None:
    """It is noticed where the channel is read."""
    ours, theirs = pair
    theirs.close()
    ours.send({"type": "drain"})
    assert not ours.wants_write
    assert ours.receive() is None


def test_somebody_who_goes_with_our_words_unread_has_gone(pair: tuple[Channel, Channel]) -> None:
    """The kernel calls that a reset; it is the same end."""
    ours, theirs = pair
    ours.send({"type": "drain"})
    theirs.close()
    assert ours.receive() is None


def test_descriptors_ride_on_their_word(pair: tuple[Channel, Channel]) -> None:
    """They arrive in order, and are not inherited any further."""
    ours, theirs = pair
    files = [os.open("/", os.O_RDONLY) for _ in range(MAX_FDS)]
    ours.send({"type": "listeners"}, files)
    assert theirs.receive(with_fds=True) == [{"type": "listeners"}]
    try:
        assert [os.fstat(fd).st_ino for fd in theirs.fds] == [os.fstat(fd).st_ino for fd in files]
        assert not any(os.get_inheritable(fd) for fd in theirs.fds)
    finally:
        for fd in (*files, *theirs.fds):
            os.close(fd)


def test_descriptors_are_closed_on_exec_from_their_first_moment() -> None:
    """The standard library's own way takes the flag for that, and does not heed it."""
    here, there = socket.socketpair()
    with here, there:
        socket.send_fds(here, [b"word"], [here.fileno(), there.fileno()])
        data, fds, flags = receive(there, 100, 5)
        inherited = [os.get_inheritable(fd) for fd in fds]
        for fd in fds:
            os.close(fd)
    assert (data, inherited, flags & socket.MSG_CTRUNC) == (b"word", [False, False], 0)


def test_descriptors_come_once_though_their_word_goes_in_pieces(pair: tuple[Channel, Channel]) -> None:
    """A full socket takes half a word; the descriptors are not sent a second time with the rest."""
    ours, theirs = pair
    filling = {"type": "say", "text": "x" * 150_000}
    last = {"type": "listeners", "text": "y" * 200_000}
    ours.send(filling)
    ours.send(last, [0, 1])
    there: list[Any] = []
    while len(there) < 2:
        ours.flush()
        there += theirs.receive(with_fds=True) or []
    for fd in theirs.fds:
        os.close(fd)
    assert there == [filling, last]
    assert len(theirs.fds) == 2


def test_descriptors_that_nobody_asked_for_are_not_kept(pair: tuple[Channel, Channel]) -> None:
    """A program cannot fill the master's table of open files."""
    ours, theirs = pair
    before = os.listdir("/proc/self/fd")
    theirs.send({"type": "gift"}, [0] * MAX_FDS)
    assert ours.receive() == [{"type": "gift"}]
    assert os.listdir("/proc/self/fd") == before
    assert ours.fds == []


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_whatever_is_written_into_a_channel_nothing_raises(chunks: list[bytes]) -> None:
    """The other end may be anybody's program."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        channel = Channel(left)
        for chunk in chunks:
            right.sendall(chunk)
        right.close()
        there: list[Any] = []
        while (words := channel.receive()) is not None:
            there += words
        assert shown(there) == shown(Lines().feed(b"".join(chunks)))


# -- the private variable ----------------------------------------------------------------------------------


def test_a_channel_is_found_by_its_name() -> None:
    """Number and inode agree; the variable is gone, and the descriptor is inherited no further."""
    left, right = socket.socketpair()
    with left, right:
        left.set_inheritable(True)
        environ = {CHANNEL: name_channel(left.fileno()), "PATH": "/bin"}
        assert take_channel(environ) == left.fileno()
        assert environ == {"PATH": "/bin"}
        assert not left.get_inheritable()


def test_a_grandchild_does_not_take_itself_for_a_child() -> None:
    """It inherited the variable, but behind the number is another file, or none."""
    left, right = socket.socketpair()
    with right:
        name = name_channel(left.fileno())
        with left:
            other = f"{right.fileno()}:{name.partition(':')[2]}"
            assert take_channel({CHANNEL: other}) is None
        assert take_channel({CHANNEL: name}) is None


@given(st.text() | st.from_regex(r"[0-9]{1,30}:[0-9]{1,30}", fullmatch=True))
def test_any_text_in_the_variable_is_taken_away_and_nothing_raises(text: str) -> None:
    """The environment is a stranger's."""
    environ = {CHANNEL: text}
    assert take_channel(environ) is None
    assert environ == {}


def test_a_number_without_end_in_the_variable_names_no_channel() -> None:
    """Python refuses to read it; nothing may raise when overseer is imported."""
    assert take_channel({CHANNEL: f"{'9' * 5000}:1"}) is None


def test_no_variable_means_no_channel() -> None:
    """The usual case."""
    assert take_channel({}) is None


def test_a_word_is_one_line_of_plain_text() -> None:
    """So that a shell can speak it."""
    assert encode({"type": "say", "text": "a\nb\u2028"}) == b'{"type":"say","text":"a\\nb\\u2028"}\n'
    assert json.loads(encode({"type": "ready"})) == {"type": "ready"}

"""The contract of the master's one wait: whoever was dropped is not served, and no time is too long."""

from __future__ import annotations

import socket
from math import inf

from overseer.master.watch import Watch
from overseer.wire import Channel


def _pair() -> tuple[Channel, Channel]:
    one, other = socket.socketpair()
    one.setblocking(False)
    return Channel(one), Channel(other)


def test_a_channel_dropped_by_another_in_the_same_round_is_not_served() -> None:
    """Both have something to read; the first one's hearing ends the second."""
    watch, heard = Watch(), []
    pairs = [_pair() for _ in range(2)]
    for number, (ours, theirs) in enumerate(pairs):

        def hear(_: object, number: int = number) -> None:
            heard.append(number)
            watch.drop(pairs[1 - number][0])
            pairs[1 - number][0].close()

        watch.add_channel(ours, hear)
        theirs.send({"type": "word"})
    watch.wait(5)
    assert len(heard) == 1
    watch.wait(0)
    assert len(heard) == 1


def test_a_muted_channel_is_not_read_but_written() -> None:
    """Its words stay where they are; what is queued for it goes out."""
    watch = Watch()
    ours, theirs = _pair()
    heard: list[object] = []
    watch.add_channel(ours, heard.append)
    theirs.send({"type": "word"})
    watch.mute(ours)
    watch.wait(0)
    assert not heard
    ours.send({"type": "long", "text": "x" * 250_000})
    read = 0
    while ours.wants_write or read < 250_000:
        read += len(theirs.sock.recv(1 << 20))
        watch.wait(0)


def test_the_end_of_a_channel_is_told_once() -> None:
    """And costs no wake-up after that."""
    watch = Watch()
    ours, theirs = _pair()
    heard: list[object] = []
    watch.add_channel(ours, heard.append)
    theirs.close()
    watch.wait(5)
    watch.wait(0)
    assert heard == [None]


def test_no_wait_is_too_long() -> None:
    """The kernel counts milliseconds in 32 bits; whoever waits longer waits again."""
    for timeout in (1e7, 1e300, inf):
        watch = Watch()
        ours, theirs = _pair()
        watch.add_channel(ours, lambda _: None)
        theirs.send({"type": "word"})
        watch.wait(timeout)

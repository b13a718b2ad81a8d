"""Whether a request is the last one on its connection, by numbers alone."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from overseer.serve.counting import Counting

KEY = ("80", "127.0.0.1", "40000")


class Served:
    """A connection, and a server that attends to one request after the other as soon as it is there."""

    def __init__(self) -> None:
        self.counting = Counting()
        self.received = 0
        self.drains = self.is_told = self.asked = False
        self.waiting: deque[int] = deque()
        self.running: int | None = None

    def say(self, size: int) -> None:
        """Have a request come."""
        self.received += size
        self.waiting.append(size)
        self.begin()

    def begin(self) -> None:
        """Begin with the next request, if none is under way."""
        if self.running is None and self.waiting:
            self.running, self.asked = self.waiting.popleft(), False
            if self.drains:
                self.counting.begin(KEY, self.received)

    def go_on(self) -> None:
        """Have an answer begin, or end if it has."""
        if self.running is None:
            return
        if not self.asked:
            self.asked = True
            if self.drains and self.counting.is_last(KEY, self.received, self.running):
                self.is_told = True
                assert not self.waiting, "its answers would never come"
            return
        if self.drains:
            self.counting.end(KEY, self.received)
        self.running = None
        self.begin()

    def drain(self) -> None:
        """Have the generation begin to drain."""
        self.drains = True
        if self.running is None:
            self.counting.rest(KEY, self.received)


STEPS = st.lists(st.none() | st.sampled_from([18, 40]) | st.integers(18, 300), max_size=30)
"""Requests that come, or else an answer goes on."""


@given(STEPS, STEPS)
def test_no_request_is_left_behind_the_last_one(before: list[int | None], after: list[int | None]) -> None:
    """In whatever order they come, and whatever is under way when the generation begins to drain."""
    served = Served()
    for step in before:
        served.go_on() if step is None else served.say(step)
    served.drain()
    for step in after:
        if served.is_told:
            break
        served.go_on() if step is None else served.say(step)


@given(STEPS, st.lists(st.integers(18, 300), min_size=2, max_size=2))
def test_who_asks_again_behind_an_answer_is_told(before: list[int | None], sizes: list[int]) -> None:
    """At the second request that comes alone at the latest, whatever there was before."""
    served = Served()
    for step in before:
        served.go_on() if step is None else served.say(step)
    served.drain()
    while served.running is not None:
        served.go_on()
    for size in sizes:
        if not served.is_told:
            served.say(size)
            served.go_on()
            served.go_on()
    assert served.is_told

"""What a probe makes of what it sees, without a process to be seen."""

from __future__ import annotations

import errno
import math
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.foreign.inquiry import (
    MOST_KNOCKS,
    Answered,
    Failed,
    Left,
    Lived,
    Lost,
    Missed,
    Phase,
    Taken,
    Word,
    begin,
    hear,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.foreign.inquiry import Fact, Inquiry

URL = "tcp://127.0.0.1:1"
PATIENCE = 5.0
REFUSED = Failed(errno.ECONNREFUSED, "refused")
FORBIDDEN = Failed(errno.EPERM, "forbidden")

INQUIRIES = st.builds(
    begin,
    st.sampled_from([URL, ""]),
    patience=st.just(PATIENCE),
    alive=st.sampled_from([None, 0.0, 1.0, math.inf]),
)
FACTS = st.one_of(
    st.builds(Word, st.just(False)),  # most of the time: else all would be over soon
    st.builds(Word, st.booleans()),
    st.builds(Answered, st.sampled_from([200, 399, 400, 503])),
    st.builds(Lost, st.booleans()),
    st.builds(Missed, st.booleans()),
    st.sampled_from([Left(), Lived(), REFUSED, FORBIDDEN, Failed(None, "nonsense was answered")]),
)
HISTORIES = st.lists(st.tuples(FACTS, st.floats(0, 4)), max_size=25)


def life(now: Inquiry, history: list[tuple[Fact, float]]) -> Iterator[tuple[Inquiry, Fact, Inquiry, str]]:
    """Tell it one fact after another: what it was, what it heard, what it is then, and what it has said."""
    age = 0.0
    for fact, passed in history:
        age += passed
        before = now
        now, line = hear(before, fact, age)
        yield before, fact, now, line


def after(now: Inquiry, *facts: Fact, age: float = 0.0) -> tuple[Inquiry, str]:
    """Tell it some facts at one time; what it says is what it has said to the last one."""
    line = ""
    for fact in facts:
        now, line = hear(now, fact, age)
    return now, line


@given(INQUIRIES, HISTORIES)
def test_what_is_over_stays_so_and_is_silent(now: Inquiry, history: list[tuple[Fact, float]]) -> None:
    """Ready is said once, never of one for whom nobody waits, and nothing is told behind it."""
    for before, _, then, line in life(now, history):
        if before.ends:
            assert (then, line) == (before, "")


@given(INQUIRIES, HISTORIES)
def test_nothing_but_an_answer_or_a_life_makes_it_ready(
    now: Inquiry, history: list[tuple[Fact, float]]
) -> None:
    """A good answer where it is asked, and being alive for long enough where it cannot be."""
    age = 0.0
    for (_, passed), (before, fact, then, _) in zip(history, life(now, history), strict=True):
        age += passed
        if then.phase is Phase.READY and before.phase is Phase.ASKS:
            assert fact in (Answered(200), Answered(399))
        elif then.phase is Phase.READY and before.phase is Phase.LIVES:
            assert fact == Lived()
            assert before.alive is not None
            assert age >= before.alive


@given(INQUIRIES, HISTORIES)
def test_it_only_goes_on(now: Inquiry, history: list[tuple[Fact, float]]) -> None:
    """It never asks again where it could not, knocks never less, and has not un-seen what it has seen."""
    phases, taken = list(Phase), list(Taken)
    for before, _, then, _ in life(now, history):
        assert phases.index(before.phase) <= phases.index(then.phase)
        assert taken.index(before.taken) <= taken.index(then.taken)
        assert before.knocks <= then.knocks <= min(before.knocks + 1, MOST_KNOCKS)


@given(INQUIRIES, HISTORIES)
def test_who_is_asked_by_name_is_asked_until_the_end(now: Inquiry, history: list[tuple[Fact, float]]) -> None:
    """Where nobody has said that being alive will do, it does not."""
    for _, _, then, _ in life(now, history):
        if then.url and then.alive is None:
            assert then.phase is not Phase.LIVES


@given(INQUIRIES, HISTORIES)
def test_no_line_is_said_twice_in_a_row(now: Inquiry, history: list[tuple[Fact, float]]) -> None:
    """And those that explain something once at all; only a status that comes back is told again."""
    said = [line for *_, line in life(now, history) if line]
    assert all(one != other for one, other in pairwise(said))
    explained = [line for line in said if "answers with status" not in line]
    assert len(explained) == len(set(explained))


@pytest.mark.parametrize(("status", "phase"), [(200, Phase.READY), (399, Phase.READY), (400, Phase.ASKS)])
def test_a_good_answer_will_do(status: int, phase: Phase) -> None:
    """Any that is none of an error's."""
    assert after(begin(URL, patience=PATIENCE, alive=None), Answered(status))[0].phase is phase


def test_a_bad_answer_is_told_anew_when_it_is_another_one() -> None:
    """Not each time."""
    now = begin(URL, patience=PATIENCE, alive=None)
    said = []
    for status in (503, 503, 404, 503):
        now, line = after(now, Answered(status))
        said.append(line)
    assert ["503" in said[0], said[1], "404" in said[2], said[3]] == [True, "", True, said[0]]


@pytest.mark.parametrize(
    ("alive", "lives"), [(2.0, "it has been alive for 2 s"), (math.inf, "it says READY=1")]
)
@pytest.mark.parametrize("fact", [REFUSED, FORBIDDEN, Missed(True)])
def test_where_it_cannot_be_asked_it_has_to_live(fact: Fact, alive: float, lives: str) -> None:
    """And it is told for how long, and that once."""
    now, line = after(begin(URL, patience=PATIENCE, alive=alive), fact)
    assert line.startswith(f"warning: knocking at {URL} tells nothing here (")
    assert line.endswith(f"): the program is ready when {lives}")
    assert after(now, fact) == (now, "")
    assert after(now, Lived(), age=1.9)[0].phase is Phase.LIVES
    assert after(now, Lived(), age=2.0)[0].phase is (Phase.READY if alive == 2.0 else Phase.LIVES)


def test_an_address_that_was_given_and_refuses_may_be_listened_at_soon() -> None:
    """What is not allowed is told, and that once; it is asked on."""
    now = begin(URL, patience=PATIENCE, alive=None)
    assert after(now, REFUSED, age=60.0) == (now, "")
    then, line = after(now, FORBIDDEN)
    assert (
        line == f"warning: {URL} cannot be asked here (forbidden), and the program is ready when it answers"
    )
    assert after(then, Failed(errno.EACCES, "forbidden otherwise")) == (then, "")


def test_who_closes_each_knock_unseen_has_to_live_when_patience_is_over() -> None:
    """Not before, and not where somebody else was seen once: then this is chance."""
    now = begin(URL, patience=PATIENCE, alive=1.0)
    unseen = Lost(seen=False), Missed(False)
    assert after(now, *unseen, age=PATIENCE)[0].phase is Phase.ASKS
    assert after(now, *unseen, age=PATIENCE + 0.1)[0].phase is Phase.LIVES
    assert after(now, Lost(seen=True), *unseen, age=PATIENCE + 0.1)[0].phase is Phase.ASKS


def test_it_is_told_what_is_waited_for_when_patience_is_over() -> None:
    """Where nobody has said what to ask, and unless something is about to be told that explains more."""
    now = begin(URL, patience=PATIENCE, alive=1.0)
    late = PATIENCE + 0.1
    assert after(now, Word(False), age=PATIENCE) == (now, "")
    then, line = after(now, Word(False), age=late)
    assert line.startswith(f"the program has accepted nothing at {URL}, its first address of TCP")
    assert after(then, Word(False), age=late) == (then, "")
    assert after(now, Word(True), age=late)[1] == ""
    assert after(now, Lost(seen=False), Word(False), age=late)[1] == ""
    assert after(now, Lost(seen=True), Word(False), age=late)[1] == line
    assert after(begin(URL, patience=PATIENCE, alive=None), Word(False), age=late)[1] == ""
    assert after(begin("", patience=PATIENCE, alive=1.0), Word(False), age=late)[1] == ""


def test_each_try_that_has_met_others_knocks_once_more_often() -> None:
    """Up to a bound; one on which nobody has accepted anything is no such try."""
    now = begin(URL, patience=PATIENCE, alive=1.0)
    seen = []
    for _ in range(MOST_KNOCKS + 2):
        now, _ = after(now, Lost(seen=True), Missed(False))
        seen.append(now.knocks)
    assert seen == [*range(2, MOST_KNOCKS + 1), *[MOST_KNOCKS] * 3]

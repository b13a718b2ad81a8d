"""The master as data: whatever world it is in, the next one reads the same."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer import machine
from overseer.errors import ProtocolError
from overseer.facts import (
    Asked,
    Cleared,
    Exited,
    Failed,
    Halt,
    Handover,
    Hello,
    Policy,
    Ready,
    Restarts,
    Staged,
    Tick,
    Wish,
    World,
)
from overseer.master import memory

if TYPE_CHECKING:
    from overseer.facts import Event

POLICIES = st.builds(
    Policy,
    workers=st.integers(1, 3),
    handover=st.sampled_from(Handover),
    restarts=st.sampled_from(Restarts),
    ready_after=st.sampled_from([0.5, float("inf")]),
    terminate_timeout=st.sampled_from([1.0, 30.0]),
    probation=st.sampled_from([0.0, 5.0]),
)
NUMBERS = st.integers(1, 3)
EVENTS = st.one_of(
    st.builds(Hello, NUMBERS, NUMBERS, POLICIES),
    st.builds(Ready, NUMBERS, NUMBERS),
    st.builds(Exited, NUMBERS, NUMBERS, st.sampled_from([0, 3, -9])),
    st.builds(Failed, NUMBERS, st.text()),
    st.builds(Staged, st.sampled_from("abc")),
    st.builds(Cleared, st.sampled_from("abc")),
    st.builds(Asked, st.sampled_from(["", "me", "you"]), st.sampled_from(Wish)),
    st.just(Halt()),
    st.just(Tick()),
)


@given(policy=POLICIES, history=st.lists(st.tuples(EVENTS, st.floats(0, 10)), max_size=25))
def test_every_world_there_can_be_survives(policy: Policy, history: list[tuple[Event, float]]) -> None:
    """After any history, written as JSON and read back, it is the same value."""
    world, now = World("a", "a", policy), 0.0
    for event, passed in history:
        now += passed
        world, _ = machine.step(world, event, now)
        assert memory.from_json(json.loads(json.dumps(memory.to_json(world)))) == world


def test_a_state_goes_through_a_memory_file_and_can_be_read_again() -> None:
    """By a trial of the next master first, and then by itself."""
    fd = memory.write({"a": [1, 2], "b": "grün"})
    try:
        assert memory.read(fd) == memory.read(fd) == {"a": [1, 2], "b": "grün"}
        assert os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_a_newer_master_may_have_known_more() -> None:
    """A field that is unknown here is left out."""
    data = memory.to_json(World("a", "a", Policy()))
    data["mood"] = "good"
    data["policy"]["mood"] = {"is": "frozenset", "of": []}
    assert memory.from_json(data) == World("a", "a", Policy())


def test_an_older_master_may_have_known_less() -> None:
    """A field that is missing has its default."""
    data = memory.to_json(World("a", "a", Policy()))
    del data["installed"], data["policy"]["max_draining"]
    assert memory.from_json(data) == World("a", "a", Policy())


def test_what_is_no_value_of_the_heart_is_refused() -> None:
    """A master that cannot read where it stands does not begin."""
    with pytest.raises(ProtocolError, match="'Mood' is no value this master knows"):
        memory.from_json({"is": "Mood", "value": "good"})

"""Settings on their way between processes, and between versions."""

from __future__ import annotations

import json
import signal
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.errors import ConfigError
from overseer.facts import Handover, Policy, Restarts
from overseer.settings import MOST_WORKERS, RESERVED, Foreign, Settings, from_data, to_data
from overseer.values import fields

SECONDS = st.floats(min_value=0, allow_nan=False)

POLICIES = st.builds(
    Policy,
    workers=st.integers(1, MOST_WORKERS),
    handover=st.sampled_from(Handover),
    restarts=st.sampled_from(Restarts),
    ready_after=SECONDS,
    ready_timeout=SECONDS,
    terminate_timeout=SECONDS,
    probation=SECONDS,
    max_draining=st.integers(1, 100),
    crash_limit=st.integers(0, 100),
    crash_window=SECONDS,
)

SETTINGS = st.builds(
    Settings,
    addresses=st.lists(st.text()).map(tuple),
    restart_signal=st.sampled_from(sorted(signal.valid_signals() - RESERVED)).map(int),
    policy=POLICIES,
    version=st.text(),
    debug=st.booleans(),
    no_warn=st.booleans(),
    fetches=st.booleans(),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)

NAMES = st.sampled_from([*Settings.__annotations__, "unknown"])
POLICY_NAMES = st.sampled_from([*Policy.__annotations__, "unknown"])


@given(SETTINGS)
def test_settings_survive_their_way_as_json(settings: Settings) -> None:
    """What was written is what is read."""
    assert from_data(json.loads(json.dumps(to_data(settings)))) == settings


def test_a_newer_version_may_say_more() -> None:
    """What is unknown is left out."""
    data = to_data(Settings(version="2"))
    data["policy"]["mood"] = "good"
    assert from_data(data | {"colour": "green"}) == Settings(version="2")


def test_an_older_version_may_say_less() -> None:
    """What is missing has its default."""
    assert from_data({"version": "2"}) == Settings(version="2")
    assert from_data({}) == Settings()


def test_waiting_for_ever_for_ready_is_null() -> None:
    """Infinity is no JSON; only its own word counts then."""
    data = to_data(Settings(policy=Policy(ready_after=inf)))
    assert data["policy"]["ready_after"] is None


@given(
    data=st.dictionaries(NAMES, JSON)
    | st.builds(lambda policy: {"policy": policy}, st.dictionaries(POLICY_NAMES, JSON))
)
def test_what_a_stranger_says_is_read_or_refused_by_name(data: dict[str, Any]) -> None:
    """A hello can be anything; it makes settings that hold, or one kind of error."""
    try:
        settings = from_data(data)
    except ConfigError as error:
        known = {*fields(Settings()), *fields(Policy()), *fields(Foreign())}
        assert error.field in known  # noqa: PT017 - if raised
    else:
        assert from_data(json.loads(json.dumps(to_data(settings)))) == settings


@pytest.mark.parametrize("number", sorted(RESERVED))
def test_a_signal_that_means_something_else_does_not_restart(number: int) -> None:
    """A stop signal that restarts would leave no way to stop."""
    with pytest.raises(ConfigError, match="means something else"):
        from_data({"restart_signal": int(number)})

"""What can be written into a Config, and what is said of what cannot."""

from __future__ import annotations

import json
import signal
from dataclasses import MISSING, fields
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import overseer
from overseer.config import Config, from_options
from overseer.facts import Handover, Restarts
from overseer.settings import from_data, to_data


def program(state: overseer.State) -> None:
    """Do nothing."""


WRONG: dict[str, tuple[Any, ...]] = {
    "program": (None, 3, "main"),
    "required": ("yes", 1, None),
    "address": ("nonsense", "127.0.0.1:99999", "unix:", 3000, ("a", "b"), b":3000", " :3000"),
    "addresses": (":3000", (3000,), 3000, ("nonsense",), (None,), (":3000", "")),
    "restart_signal": (9, 0, -1, 1000, "SIGUSR2", None, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD),
    "terminate_timeout": (-1, nan, "30", None, True),
    "min_fetch_interval": (-1, nan, "1", None, True),
    "pre_upgrade": (3, "script.sh"),
    "debug": ("yes", 1, None),
    "no_warn": ("yes", 1, None),
    "no_restart": ("yes", 1, None),
    "fdstore": ("yes", 1, None),
    "watchdog": (0, -1, nan, "1", None, True),
    "user": (0, None, b"app"),
    "group": (0, None, "users"),
    "no_restart_after_fetch": ("yes", 1, None),
    "fetcher": (3,),
    "trust": (True, "yes", overseer.Unsigned),
    "allow_downgrade": ("yes", 1, None),
    "max_boot_attempts": (0, -1, 1.5, "3", True, None),
    "version": (1, 1.5, None, b"1"),
    "workers": (0, -1, 1.5, "2", None, True, 100_000),
    "handover": ("both", "", None, 1, ["overlap"]),
    "ready_after": (-1, nan, "1", True),
    "ready_timeout": (-1, nan, "1", None, True),
    "probation": (-1, nan, "1", None, True),
    "max_draining": (0, -1, 1.5, "2", None, True),
    "control": (3, None, b"/run/x", True, "app.sock", "run/app.sock"),
    "name": (3, None, "a/b", ".x", "two words", "x" * 61),
}
"""For each field what cannot be meant."""

RIGHT: dict[str, tuple[Any, ...]] = {
    "address": (":3000", "127.0.0.1:0", "[::1]:80", "unix:/run/a.sock?mode=0660", "udp::53", "fd:web", ""),
    "addresses": ((), [], [":1", ":2"], (":3000",)),
    "restart_signal": (signal.SIGHUP, 1, int(signal.SIGUSR1), signal.SIGRTMIN),
    "terminate_timeout": (0, 0.5, inf, 3),
    "workers": (1, 64),
    "handover": ("overlap", "sequential"),
    "ready_after": (None, 0, 2.5),
}


def test_every_field_has_its_wrong_values() -> None:
    """The table above forgets none."""
    assert set(WRONG) == {field.name for field in fields(Config)}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in WRONG.items() for v in values])
def test_what_cannot_be_meant_is_refused_by_its_name(field: str, value: object) -> None:
    """One sentence, which begins with the field."""
    options: dict[str, Any] = {"program": program, field: value}
    with pytest.raises(overseer.ConfigError) as caught:
        Config(**options)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in RIGHT.items() for v in values])
def test_what_can_be_meant_is_taken(field: str, value: object) -> None:
    """And survives its way to the master as JSON."""
    options: dict[str, Any] = {"program": program, field: value}
    settings = Config(**options).settings()
    assert from_data(json.loads(json.dumps(to_data(settings)))) == settings


def test_a_program_is_all_that_is_needed() -> None:
    """Every other field has a default."""
    assert [field.name for field in fields(Config) if field.default is MISSING] == []
    assert Config(program=program).listens_on == ()


def test_the_defaults_are_those_of_the_original() -> None:
    """SIGUSR2, 30 s to finish, one second between two looks."""
    config = Config(program=program)
    assert config.restart_signal == signal.SIGUSR2
    assert config.terminate_timeout == 30
    assert config.min_fetch_interval == 1
    switches = (config.required, config.debug, config.no_warn, config.no_restart)
    assert not any(switches)


def test_address_and_addresses_exclude_each_other() -> None:
    """Both set is a slip."""
    with pytest.raises(overseer.ConfigError, match="set one or the other"):
        Config(program=program, address=":1", addresses=[":2"])


def test_addresses_keep_their_order() -> None:
    """The listeners come in the order that was written."""
    assert Config(program=program, addresses=[":3", ":1", ":2"]).listens_on == (":3", ":1", ":2")


def test_an_unknown_option_names_the_one_that_was_meant() -> None:
    """A misspelling is told apart from an invention."""
    with pytest.raises(overseer.ConfigError, match="was terminate_timeout meant"):
        from_options(program, {"terminate_timout": 3})
    with pytest.raises(overseer.ConfigError, match="there are program, required"):
        from_options(program, {"zzz": 3})


def test_options_beside_a_config_are_refused() -> None:
    """Nobody has to guess which of them holds."""
    with pytest.raises(overseer.ConfigError, match="put it into the Config"):
        from_options(Config(program=program), {"workers": 2})


def test_a_program_that_is_given_twice_is_refused() -> None:
    """As an argument and as an option."""
    with pytest.raises(overseer.ConfigError, match="given twice"):
        from_options(program, {"program": program})


def test_a_fetcher_without_trust_is_told_what_to_write() -> None:
    """Nothing unverified is executed because somebody forgot a word."""
    with pytest.raises(overseer.ConfigError, match=r"or trust=overseer\.Unsigned\(\)") as caught:
        Config(program=program, fetcher=lambda: None)
    assert caught.value.field == "trust"


@pytest.mark.parametrize(
    ("options", "restarts"),
    [
        ({}, Restarts.ALWAYS),
        ({"no_restart": True}, Restarts.NEVER),
        ({"no_restart_after_fetch": True}, Restarts.NOT_AFTER_FETCH),
    ],
)
def test_the_switches_of_restarts_become_one_policy(options: dict[str, Any], restarts: Restarts) -> None:
    """Two switches, three meanings, and the fourth is refused."""
    assert Config(program=program, **options).settings().policy.restarts is restarts
    with pytest.raises(overseer.ConfigError, match="which includes it"):
        Config(program=program, no_restart=True, no_restart_after_fetch=True)


def test_handover_becomes_a_policy() -> None:
    """The word is read once."""
    assert Config(program=program, handover="sequential").settings().policy.handover is Handover.SEQUENTIAL


def test_the_control_socket_is_in_the_runtime_directory() -> None:
    """The first of them, if the service manager gives several; and where one is named, there."""
    config = Config(program=program)
    assert config.control_path({"RUNTIME_DIRECTORY": "/run/a:/run/b"}) == "/run/a/overseer.sock"
    assert config.control_path({}) == ""
    assert Config(program=program, control="/run/x").control_path({"RUNTIME_DIRECTORY": "/run/a"}) == "/run/x"


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(options=st.dictionaries(st.sampled_from(sorted(WRONG)), JUNK, max_size=3))
def test_whatever_is_written_is_taken_or_refused_by_name(options: dict[str, Any]) -> None:
    """No other exception ever comes out of a Config."""
    try:
        Config(**{"program": program, **options})
    except overseer.ConfigError as error:
        assert error.field in WRONG  # noqa: PT017 - only if it is raised


def test_a_generator_is_no_program() -> None:
    """It would be called and never run."""

    def program(_: object) -> object:
        yield 1

    with pytest.raises(overseer.ConfigError, match="program: is a generator"):
        Config(program=program)

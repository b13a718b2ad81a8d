"""Which questions are a load balancer's, and which are the application's."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer import Draining, State
from overseer.errors import ConfigError
from overseer.serve import health
from overseer.serve.health import Health

PATHS = st.sampled_from(["", "/", "/livez", "/readyz", "/livez/", "/LIVEZ", "livez"])


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "get"]),
    asked=PATHS,
    reason=st.sampled_from(["", "a", "b"]),
)
def test_only_what_was_said_is_answered(method: str, asked: str, reason: str) -> None:
    """By its exact path and a method that reads; 503 is for readiness of a service that stops, alone."""
    draining = Draining()
    if reason:
        draining.begin(reason, stops=reason == "b")
    answer = Health(State(draining=draining), "/livez", "/readyz").answer(method, asked)
    assert (answer is not None) == (method in ("GET", "HEAD") and asked in ("/livez", "/readyz"))
    if answer:
        stops = reason == "b" and asked == "/readyz"
        assert answer[0] == (HTTPStatus.SERVICE_UNAVAILABLE if stops else HTTPStatus.OK)
        assert json.loads(answer[1])["draining"] == bool(reason)


@given(method=st.sampled_from(["GET", "HEAD"]), asked=PATHS)
def test_who_asked_for_nothing_has_nothing(method: str, asked: str) -> None:
    """Then every path is the application's, and the application is not even wrapped."""
    nothing = Health(State(), "", "")
    assert nothing.answer(method, asked) is None
    app = object()
    assert health.asgi(app, nothing) is health.wsgi(app, nothing) is app


@pytest.mark.parametrize(
    ("live", "ready", "error"),
    [
        ("livez", "", r"live: is a path, so it begins with a slash: 'livez'"),
        ("", "readyz", r"ready: is a path"),
        ("/health", "/health", r"ready: is the path of live, too: /health"),
    ],
)
def test_a_path_that_cannot_be_is_refused(live: str, ready: str, error: str) -> None:
    """Before anything is served."""
    with pytest.raises(ConfigError, match=error):
        Health(State(), live, ready)


def test_a_name_of_an_application_cannot_be_wrapped() -> None:
    """As uvicorn takes one, it says what to do."""
    with pytest.raises(ConfigError, match=r"live: and ready need the application itself, not its name 'a:b'"):
        health.asgi("a:b", Health(State(), "/livez", ""))


def test_a_stop_is_heard_also_behind_a_signal() -> None:
    """A service manager may signal everybody at once, before the master says what it is about."""
    draining: Any = Draining()
    draining.begin("signal SIGTERM")
    assert not draining.stops
    draining.begin("the service stops", stops=True)
    assert (draining.reason, draining.stops) == ("signal SIGTERM", True)

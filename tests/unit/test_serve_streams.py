"""What an application is told by its server, without one: streams of events, and what is not installed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import overseer
from overseer.errors import ConfigError
from overseer.serve.needs import needs
from overseer.serve.streams import EventsEnd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KINDS = ("text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream")


class Events:
    """A WSGI application that streams, and its answer, which knows whether it was closed."""

    def __init__(self, kind: str, chunks: Iterable[bytes]) -> None:
        self.kind = kind
        self.chunks = chunks
        self.closed = 0

    def __call__(self, _environ: dict[str, Any], start_response: Any) -> Events:
        """Answer."""
        start_response("200 OK", [("Content-Type", self.kind)])
        return self

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.chunks)

    def close(self) -> None:
        """Be closed."""
        self.closed += 1


def sent(app: Events, *, drains: bool) -> list[bytes]:
    """Return what a server sends of it."""
    answer: Any = EventsEnd(app, lambda: drains)({}, lambda *_: None)
    chunks = list(answer)
    answer.close()
    return chunks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_a_stream_of_events_is_left_behind_a_whole_one(kind: str, end: bytes) -> None:
    """However its pieces are cut, and as its media type may be written."""
    app = Events(kind, [b"data: ", b"1" + end, b"data: 2" + end])
    assert sent(app, drains=True) == [b"data: ", b"1" + end]
    assert app.closed == 1


@pytest.mark.parametrize(("kind", "drains"), [("text/event-stream", False), ("text/plain", True)])
def test_nothing_else_is_cut(kind: str, drains: bool) -> None:  # noqa: FBT001
    """Neither a stream of a generation that serves, nor another kind of answer."""
    app = Events(kind, [b"1\n\n", b"2\n\n"])
    assert sent(app, drains=drains) == [b"1\n\n", b"2\n\n"]
    assert app.closed == 1


def test_servers_are_imported_only_when_they_are_used() -> None:
    """And whoever serves without any of them pays for none."""
    script = """
import sys
import overseer
assert not {"asyncio", "ssl"} & sys.modules.keys()
overseer.serve.asgi, overseer.serve.wsgi, overseer.serve.grpc
print(*sorted({"uvicorn", "hypercorn", "granian", "cheroot", "aiohttp", "grpclib"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "\n"


def test_a_linger_is_five_seconds_unless_one_says_otherwise() -> None:
    """For each adapter that has one."""
    serve = overseer.serve
    for adapter in (serve.asgi, serve.wsgi, serve.aiohttp, serve.grpc, serve.socketserver):
        assert inspect.signature(adapter).parameters["linger"].default == 5


def test_what_is_not_installed_is_told_with_what_brings_it() -> None:
    """In one line."""
    with pytest.raises(
        ConfigError, match=r"serve.wsgi: needs no_such_server; pip install 'pyoverseer\[wsgi\]'"
    ):
        needs("wsgi", "no_such_server", "wsgi")


def test_a_server_that_nobody_knows_is_named_with_those_that_there_are() -> None:
    """It says what was asked for and what could be."""
    with pytest.raises(ConfigError, match=r"server: is 'apache'; overseer serves ASGI with uvicorn"):
        overseer.serve.asgi(None, Any, server="apache")  # type: ignore[arg-type]

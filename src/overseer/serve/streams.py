"""What an ASGI or WSGI application is told, and says, while its generation drains.

Its answers get `Connection: close`, so that no request is sent after them on that connection. An event stream
(text/event-stream) would last for ever: between two events the application is told that its client has gone,
and the stream is ended as a whole one, so that the client comes back, to the next generation. A WebSocket is
closed with 1012 in its application's name, and the server waits for the client's own word (RFC 6455, 7.1).
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_CLOSE = (b"connection", b"close")

RESTART = 1012
"""The status of a WebSocket whose server restarts (the registry of RFC 6455, 7.4)."""
REASON = "service restart"


class Leaving:
    """An application that knows when to leave."""

    def __init__(
        self,
        app: App,
        more: Callable[[MutableMapping[str, Any]], bool] = lambda _: False,
        *,
        spread: float = 0.0,
    ) -> None:
        """Take the application.

        `more` tells whether another request has come behind one (pipelining); `spread` is for how many
        seconds WebSockets may stay.
        """
        self.app = app
        self.drains = asyncio.Event()
        self.spread = spread
        self._more = more

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Be the application."""
        if scope["type"] == "websocket":
            await _Talk(self, receive, send).go_on(scope)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(self, lambda: self._more(scope), receive, send)
        await self.app(scope, answer.receive, answer.send)
        await answer.finish()


class _Answer:
    """One answer on its way."""

    def __init__(self, leaving: Leaving, more: Callable[[], bool], receive: Receive, send: Send) -> None:
        self._drains = leaving.drains
        self._more = more
        self._receive = receive
        self._send = send
        self._events = False  # it is an event stream, which lasts
        self._between = asyncio.Event()  # the last event is whole
        self._ended = False

    async def send(self, message: Message) -> None:
        """Pass it on; the head with the word that ends the connection, if this generation drains."""
        if self._ended:
            return
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            self._events = is_event_stream(headers)
            if self._drains.is_set() and not self._more():
                message = {**message, "headers": closing(headers)}
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            if body.endswith((b"\n\n", b"\r\n\r\n")):
                self._between.set()
            elif body:
                self._between.clear()
            self._ended = not message.get("more_body", False)
            if self._events and self._drains.is_set() and self._between.is_set() and not self._ended:
                self._ended, message = True, {**message, "more_body": False}
        await self._send(message)

    async def receive(self) -> Message:
        """Wait for what the client says; in an event stream also for the time to leave."""
        told = asyncio.ensure_future(self._receive())
        leaves = asyncio.ensure_future(self._may_leave())
        try:
            await asyncio.wait({told, leaves}, return_when=asyncio.FIRST_COMPLETED)
            if not told.done() and self._events:
                return {"type": "http.disconnect"}
            return await told
        finally:
            for waiting in (told, leaves):
                waiting.cancel()

    async def _may_leave(self) -> None:
        """Wait until this generation drains and no event is half said."""
        await self._drains.wait()
        await self._between.wait()

    async def finish(self) -> None:
        """End a stream as a whole one that its application has left at our word."""
        if self._events and not self._ended:
            self._ended = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _Talk:
    """One WebSocket, which this generation closes when it drains."""

    def __init__(self, leaving: Leaving, receive: Receive, send: Send) -> None:
        self._leaving = leaving
        self._receive = receive
        self._send = send
        self._accepted = asyncio.Event()
        self._closed = False
        self._left = asyncio.Event()

    async def go_on(self, scope: MutableMapping[str, Any]) -> None:
        """Run the application until it ends."""
        leaves = asyncio.ensure_future(self._leave())
        try:
            await self._leaving.app(scope, self.receive, self.send)
        finally:
            leaves.cancel()

    async def send(self, message: Message) -> None:
        """Pass it on, unless the talk is over."""
        if self._closed:
            return
        self._closed = message["type"] == "websocket.close"
        await self._send(message)
        if message["type"] == "websocket.accept":
            self._accepted.set()

    async def receive(self) -> Message:
        """Wait for what the client says, and hear of the end when all that has come was heard."""
        told = asyncio.ensure_future(self._receive())
        left = asyncio.ensure_future(self._left.wait())
        try:
            await asyncio.wait({told, left}, return_when=asyncio.FIRST_COMPLETED)
            if told.done():
                return await told
            return {"type": "websocket.disconnect", "code": RESTART, "reason": REASON}
        finally:
            for waiting in (told, left):
                waiting.cancel()

    async def _leave(self) -> None:
        """Close it when it is time, and not before it is open."""
        await self._leaving.drains.wait()
        await asyncio.sleep(random.uniform(0, self._leaving.spread))  # noqa: S311 - it spreads load
        await self._accepted.wait()
        await self.send({"type": "websocket.close", "code": RESTART, "reason": REASON})
        self._left.set()


def is_event_stream(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an answer is made of events without end."""
    found = next((value for name, value in headers if name.lower() == b"content-type"), b"")
    return found.split(b";")[0].strip().lower() == b"text/event-stream"


def closing(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the header fields of an answer that is the last one on its connection."""
    return [(name, value) for name, value in headers if name.lower() != b"connection"] + [_CLOSE]


class EventsEnd:
    """A WSGI application whose event streams end between two events once its generation drains."""

    def __init__(self, app: Any, drains: Callable[[], bool]) -> None:
        self._app = app
        self._drains = drains

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Be the application."""
        answer = _Chunks(self._drains)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            answer.events = is_event_stream((k.encode("latin-1"), v.encode("latin-1")) for k, v in headers)
            return start_response(status, headers, *more)

        answer.source = self._app(environ, start)
        return answer


class _Chunks:
    """The body of one answer."""

    source: Any = ()
    events = False

    def __init__(self, drains: Callable[[], bool]) -> None:
        self._drains = drains

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.source:
            yield chunk
            if self.events and chunk.endswith((b"\n\n", b"\r\n\r\n")) and self._drains():
                return

    def close(self) -> None:
        """Tell the application that its answer was sent, or will not be."""
        if hasattr(self.source, "close"):
            self.source.close()

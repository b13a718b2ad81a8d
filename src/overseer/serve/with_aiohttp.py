"""aiohttp's own server, with a drain that loses nothing.

aiohttp's end closes each connection that has no request at that moment, also one on which a request is on
its way or that has just been opened. Here such a connection stays until its next request was answered, which
ends it, or until it has been silent for the whole linger. What of aiohttp is used beyond its documentation
stands in this module alone, and is tested with the version that is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
import weakref
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

from overseer.errors import ConfigError
from overseer.serve.accepting import stop_accepting
from overseer.serve.closing import Closing
from overseer.serve.handing import Handing, into
from overseer.serve.health import headers
from overseer.serve.silence import is_silent
from overseer.serve.starting import ready
from overseer.serve.streams import REASON, RESTART

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine

    from overseer.program.state import State
    from overseer.serve.health import Health

_OURS = frozenset(
    {"handle_signals", "host", "port", "path", "sock", "backlog", "reuse_address", "reuse_port"}
)
_STEP = 0.05
"""Seconds between two looks at the connections of a generation that drains."""
_AFTERWARDS = 10.0
"""Seconds that the client of a WebSocket has for its own last word."""


def run(
    app: web.Application,
    state: State,
    *,
    linger: float,
    spread: float,
    ssl_context: ssl.SSLContext | None,
    options: dict[str, Any],
) -> None:
    """See `overseer.serve.aiohttp`."""
    if wrong := _OURS & options.keys():
        name = min(wrong)
        raise ConfigError(name, "is overseer's: say it to overseer.run, not to the server")
    if not isinstance(app, web.Application):
        raise ConfigError("app", f"is no aiohttp.web.Application, but {app!r}")
    for name in sorted(options.keys() - _known()):  # aiohttp itself would not look before somebody connects
        raise ConfigError(name, "is no option of aiohttp.web.AppRunner")
    asyncio.run(_Serving(app, state, linger=linger, spread=spread, options=options).run(ssl_context))


def _known() -> set[str]:
    """Return the names of what `AppRunner` passes on, to whomever."""
    takers = (web.AppRunner, web.BaseRunner, Server, RequestHandler)
    return {
        name
        for taker in takers
        for name, what in inspect.signature(taker).parameters.items()
        if what.kind is inspect.Parameter.KEYWORD_ONLY and name != "loop"
    }


def add_health(app: web.Application, health: Health) -> None:
    """Have `app` answer what `health` knows, before anything of its own does."""

    @web.middleware
    async def answering(request: web.Request, handler: Any) -> web.StreamResponse:
        answer = health.answer(request.method, request.path)
        if not answer:
            passed: web.StreamResponse = await handler(request)
            return passed
        status, body = answer
        return web.Response(status=int(status), body=body, headers=headers(body))

    if health:
        app.middlewares.insert(0, answering)


class _Runner(web.AppRunner):
    """aiohttp's runner, whose application is told once that it is being shut down."""

    _told = False

    async def shutdown(self) -> None:
        """Tell it, unless it knows."""
        if not self._told:
            self._told = True
            await super().shutdown()


class _Serving:
    """One generation of a server."""

    def __init__(
        self, app: web.Application, state: State, *, linger: float, spread: float, options: dict[str, Any]
    ) -> None:
        self.leaving = False
        self._state = state
        self._linger = linger
        self._spread = spread
        self._open: weakref.WeakSet[_Attentive] = weakref.WeakSet()
        self._sockets: weakref.WeakSet[web.WebSocketResponse] = weakref.WeakSet()
        self._streams: set[_Events] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        app.on_response_prepare.append(self._prepare)
        self._runner = _Runner(app, **options)

    async def run(self, ssl_context: ssl.SSLContext | None) -> None:
        """Serve until the program drains and everybody has been answered."""
        try:
            await self._runner.setup()
            loop = asyncio.get_running_loop()
            self._closing = Closing(ssl_context)
            servers = [
                await loop.create_server(self._make_handler, sock=sock, **self._closing.options)
                for sock in self._state.listeners
            ]
            handing = Handing(self._state, into(loop, self._make_handler))
            if not ssl_context:
                handing.open()
            ready(self._state)
            await self._state.draining
            stop_accepting(servers)
            await self._let_finish(handing)
            handing.close()
            for server in servers:
                server.close()
        finally:
            await self._runner.cleanup()

    def _make_handler(self) -> _Attentive:
        server = self._runner.server
        assert server
        handler = _Attentive(server, loop=asyncio.get_running_loop(), **server._kwargs)  # noqa: SLF001
        handler.closing = self._closing
        self._open.add(handler)  # from here on, and not only when it has shaken hands
        return handler

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Look at an answer of which nothing was sent: it may be the last one, or one that lasts."""
        if isinstance(response, web.WebSocketResponse):
            self._sockets.add(response)
            if self.leaving:
                self._do(self._close_socket(response))
            return
        if response.content_type == "text/event-stream":
            _Events(response, self)
        handler = request.protocol
        if self.leaving and isinstance(handler, _Attentive) and not handler.has_more():
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"

    async def _let_finish(self, handing: Handing) -> None:
        self.leaving = True
        handing.begin()
        loop = asyncio.get_running_loop()
        for socket in list(self._sockets):
            self._do(self._close_socket(socket))
        for stream in list(self._streams):
            self._do(stream.end_between())
        patience = loop.time() + self._linger
        while True:
            await asyncio.sleep(_STEP)  # first of all: who was accepted a moment ago gets a handler now
            open_ones = [one for one in self._open if not one.is_over]
            late = loop.time() >= patience
            over = not open_ones or (late and not any(one.is_connected for one in open_ones))
            if over and handing.is_over:
                break
            for handler in [one for one in open_ones if late and one.is_idle]:
                if handler.transport is not None and handing.part(handler.transport):
                    handler.force_close()
            if loop.time() >= patience + self._spread:
                await self._runner.shutdown()  # what lasts still may have waited for that word
        for task in self._tasks:
            task.cancel()  # whom it was about has gone by itself

    async def _close_socket(self, response: web.WebSocketResponse) -> None:
        await asyncio.sleep(random.uniform(0, self._spread))  # noqa: S311 - it spreads load
        while (writer := response._writer) is None:  # noqa: ASYNC110, SLF001 - it is being opened
            await asyncio.sleep(_STEP)
        request = response._req  # noqa: SLF001
        if request is None or response.closed:
            return
        # Not by the response's own method: if its handler waits for a message, that closes the connection
        # without waiting for the client's word, and resets it if something of the client is on its way.
        response._writer = _LastWord()  # type: ignore[assignment]  # noqa: SLF001
        await writer.close(RESTART, REASON)
        if request.transport:
            asyncio.get_running_loop().call_later(_AFTERWARDS, request.transport.close)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            with contextlib.suppress(ConnectionError):  # the client has gone
                await work

        task = asyncio.ensure_future(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def begin(self, stream: _Events) -> None:
        """Know a stream, as long as its handler runs."""
        self._streams.add(stream)
        stream.task.add_done_callback(lambda _: self._streams.discard(stream))


class _Attentive(RequestHandler):
    """aiohttp's connection, which knows whether anything has come since its last answer."""

    closing: Closing
    heard = False
    is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.closing.watch(self, transport)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self.heard = True
        super().data_received(data)

    async def finish_response(self, *answer: Any) -> Any:
        """Send the rest of an answer."""
        done = await super().finish_response(*answer)
        self.heard = False
        return done

    def connection_lost(self, exc: BaseException | None) -> None:
        """Be over when its handler is, which may not know yet."""
        self.closing.forget(self)
        handler = self._task_handler
        super().connection_lost(exc)
        if handler is None or handler.done():
            self.is_over = True
        else:
            handler.add_done_callback(lambda _: setattr(self, "is_over", True))

    @property
    def is_connected(self) -> bool:
        """Whether it is more than a connection that has not shaken hands, for TLS."""
        return self._task_handler is not None or self.transport is not None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered on it, and none has begun to arrive."""
        waits = self._waiter is not None and not self._waiter.done()
        return waits and not self._messages and not self.heard

    def has_more(self) -> bool:
        """Whether another request has come behind this one: it is answered, too."""
        sock = self.transport.get_extra_info("socket") if self.transport else None
        return bool(self._messages or (sock and sock.fileno() >= 0 and not is_silent(sock)))


class _LastWord:
    """What a WebSocket writes with when its end has been said: what comes after that is for nobody."""

    async def send_frame(self, *_: Any, **__: Any) -> None:
        """Say nothing."""

    async def close(self, *_: Any, **__: Any) -> None:
        """Say nothing again."""


class _Events:
    """A stream of events, which lasts until it is ended between two of them."""

    def __init__(self, response: web.StreamResponse, serving: _Serving) -> None:
        task = asyncio.current_task()
        assert task
        self.task = task
        self._between = True
        self._response = response
        self._serving = serving
        self._write = response.write
        response.write = self.write  # type: ignore[method-assign]
        serving.begin(self)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, and leave if that was the end of an event and it is time."""
        before, self._between = self._between, False
        await self._write(data)
        self._between = before
        if data:
            self._between = bytes(data[-4:]).endswith((b"\n\n", b"\r\n\r\n"))
        if self._serving.leaving:
            await self.end_between()

    async def end_between(self) -> None:
        """End the stream as a whole one, and its handler as if the client had gone; not within an event."""
        if self._between and not self.task.done():
            self.task.cancel()
            await self._response.write_eof()
            if asyncio.current_task() is self.task:
                await asyncio.sleep(0)  # here it is cancelled

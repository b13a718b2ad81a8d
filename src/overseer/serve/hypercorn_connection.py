"""A connection of hypercorn's that can be left without losing a request.

One of HTTP/1.1 stays until its next request was answered, which ends it, or until it has been silent for the
whole linger; then it is closed only when the kernel has nothing of it that is unread. For one of HTTP/2 see
`hypercorn_http2`.

What is used of hypercorn beyond its documentation: `H11Protocol` with its constructor, `handle`, `connection`
and `stream`, and the two exceptions with which it asks for HTTP/2; `events`; `TaskGroup.spawn`;
`parse_socket_addr`.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import h11
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from overseer.serve.hypercorn_http2 import Http2
from overseer.serve.silence import end_silent_transport, is_silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.asyncio.worker_context import WorkerContext
    from hypercorn.config import Config

    from overseer.serve.handing import Handing

_LAST_WORD = 10.0
"""Seconds that the client of a WebSocket has for its own last word."""
_AFTERWARDS = 1.0
"""Seconds that a client has for closing by itself what it knows has ended."""


class Arriving(asyncio.StreamReaderProtocol):
    """A connection from the moment in which it is accepted, and how much has come that nobody has read."""

    unread = 0

    def __init__(self, begin: Callable[[Arriving, asyncio.StreamWriter], None]) -> None:
        self.reader = asyncio.StreamReader()
        super().__init__(self.reader, lambda _, writer: begin(self, writer))

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self.unread += len(data)
        super().data_received(data)

    async def read(self) -> bytes:
        """Return it."""
        data = await self.reader.read(65536)
        self.unread -= len(data)
        return data


class Connection:
    """A connection, whatever is spoken on it."""

    _common: tuple[Any, ...]

    def __init__(
        self,
        app: Any,
        config: Config,
        context: WorkerContext,
        arriving: Arriving,
        writer: asyncio.StreamWriter,
        *,
        memory: dict[str, Any],
        handing: Handing,
    ) -> None:
        """Take the application and what it remembers of its lifespan, and a connection that has been made."""
        self._handing = handing
        self._app = app
        self._config = config
        self._context = context
        self._memory = memory
        self._arriving = arriving
        self._writer = writer
        self._protocol: H11Protocol | Http2 | None = None
        self._turn = asyncio.Lock()
        self._heard = 0  # 1 when something has come since the last answer, 2 when that is long ago
        self._ended = False  # what comes now is for nobody
        self._over_since = 0.0
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serve it to its end."""
        current.set(self)
        try:
            await self._serve()
        except OSError:
            pass  # the client has gone
        except ExceptionGroup:
            await self._config.log.exception("a connection has failed")
        finally:
            self._wait_for_request(wait=False)
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()  # what it has not sent is lost with its loop

    async def _serve(self) -> None:
        info = self._writer.get_extra_info
        sock, tls = info("socket"), info("ssl_object")
        ends = [parse_socket_addr(sock.family, end()) for end in (sock.getpeername, sock.getsockname)]
        async with Group(asyncio.get_running_loop()) as group:
            memory = ConnectionState(self._memory.copy())
            self._common = (self._app, self._config, self._context, group, memory)
            self._common += (tls is not None, *ends, self._send)
            if tls and tls.selected_alpn_protocol() == "h2":
                await self._speak_h2()
            else:
                self._protocol = H11Protocol(*self._common)
            self._wait_for_request(wait=True)
            with contextlib.suppress(OSError, TimeoutError):
                await self._read()
            await self._tell(Closed())

    async def _read(self) -> None:
        while not self._arriving.reader.at_eof():
            async with asyncio.timeout(self._config.read_timeout):
                data = await self._arriving.read()
            if not self._ended:
                self._heard = self._heard or 1
                await self._tell(RawData(data))

    async def _tell(self, event: RawData | Closed) -> None:
        assert self._protocol
        try:
            await self._protocol.handle(event)
        except H2ProtocolAssumedError as error:
            await self._speak_h2(error.data)
        except H2CProtocolRequiredError as error:
            await self._speak_h2(error.data, error.headers, error.settings)

    async def _speak_h2(self, data: bytes = b"", *upgrade: Any) -> None:
        protocol = Http2(self._writer.write, *self._common)
        await protocol.initiate(*upgrade)
        self._protocol = protocol
        if data:
            await protocol.handle(RawData(data))

    async def _send(self, event: Any) -> None:
        """Do what the protocol wants."""
        if isinstance(event, RawData):
            async with self._turn:
                if self._ended or self._writer.is_closing():
                    return
                self._writer.write(event.data)
                try:
                    await self._writer.drain()
                except (ConnectionError, RuntimeError):
                    await self._tell(Closed())
        elif isinstance(event, Closed):
            self._end()
        elif isinstance(event, Updated):
            self._wait_for_request(wait=event.idle)

    def _end(self) -> None:
        """End it, and not with a reset: what the client still sends is read first."""
        if self._ended:
            return
        self._ended = True
        if self._writer.can_write_eof():
            with contextlib.suppress(OSError):
                self._writer.write_eof()
        elif not self._is_still_sending():
            self._writer.close()
        asyncio.get_running_loop().call_later(_AFTERWARDS, self._writer.close)

    def _is_still_sending(self) -> bool:
        """Whether the client has not come to the end of its request."""
        return (
            isinstance(self._protocol, H11Protocol) and self._protocol.connection.their_state is h11.SEND_BODY
        )

    def goes_on(self) -> bool:
        """Whether another request has come behind the one that is being answered."""
        return not self._is_still_sending() and self._has_more()

    def _has_more(self) -> bool:
        assert isinstance(self._protocol, H11Protocol)
        sock = self._writer.get_extra_info("socket")
        seen = self._protocol.connection.trailing_data[0] or self._arriving.unread
        return bool(seen or (sock.fileno() >= 0 and not is_silent(sock)))

    def _wait_for_request(self, *, wait: bool) -> None:
        """Have it looked after when no request has come for `keep_alive_timeout`; or have one."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._looks = 0
        if wait:
            if isinstance(self._protocol, H11Protocol):
                self._heard = int(self._has_more())
            self._look_later(self._config.keep_alive_timeout)

    def _look_later(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """End it when it is silent; who has begun a request has the same time once more."""
        self._looks += 1
        if isinstance(self._protocol, Http2):
            self.leave(late=self._looks > 1)
        elif self._heard > 1:
            self._writer.close()
        elif self._heard:
            self._heard = 2
        else:
            self.leave(late=True)
        if not self._writer.is_closing():
            self._look_later(self._config.keep_alive_timeout if self._heard > 1 else _AFTERWARDS)

    def leave(self, *, late: bool) -> None:
        """Go one step further towards the end of this connection, if it is time for one."""
        if self._ended or self._writer.is_closing() or self._protocol is None:
            return
        part: Callable[[Any], bool] = end_silent_transport
        if isinstance(self._protocol, Http2):
            now = asyncio.get_running_loop().time()
            if not self._protocol.leave(late=late):
                self._over_since = now
            over = now >= self._over_since + _AFTERWARDS
        else:
            over = late and self._protocol.stream is None and not (self._heard or self._arriving.unread)
            part = self._handing.part
        if over and part(self._writer.transport):
            self._writer.close()


current: ContextVar[Connection] = ContextVar("current")
"""The connection for which a task runs."""


class Group(TaskGroup):
    """The tasks of a connection: one for each of its requests."""

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        """Have the application answer; return what it is told with."""
        inbox = _Inbox(config.max_app_queue_size)
        self.spawn(self._answer, app, config, scope, inbox, send)
        return inbox.put

    async def _answer(self, app: Any, config: Config, scope: Any, inbox: _Inbox, send: Any) -> None:
        said = {""}

        async def say(message: Any) -> None:
            said.add(message["type"])
            await send(message)

        try:
            await app(scope, inbox.get, say)
        except Exception:  # noqa: BLE001 - it is the application's
            await config.log.exception("the application has failed")
        if said >= {"websocket.accept", "websocket.close"}:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORD):
                    while not inbox.is_last:
                        await inbox.get()
        await send(None)


class _Inbox(asyncio.Queue[Any]):
    """What an application has not received yet."""

    is_last = False

    def full(self) -> bool:
        """Whether there is no room; for the last word there is, and for who waited with another."""
        return super().full() and not self.is_last

    async def put(self, message: Any) -> None:
        """Wait until there is room. That a client has gone is known at once: what it had said is over, too.

        hypercorn would wait for ever for an application that has answered without reading all of a request.
        """
        if message["type"].endswith(".disconnect"):
            self.is_last = True
            if not self.empty():
                self.get_nowait()  # which wakes who waits for room
            self.put_nowait(message)
        elif not self.is_last:
            await super().put(message)

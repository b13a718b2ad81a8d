"""grpclib's server, with a drain that loses no call.

grpclib's own end closes every connection and cancels what runs on it; it never says GOAWAY. Here each
connection hears it twice, as RFC 9113 (6.8) has it: first with the highest number that a stream can have, so
that every call that is on its way is taken; and once the client has answered a PING, and so has read that,
with the number of the last call that was. A client that knows HTTP/2 opens another connection for its next
call, and finishes those that it has here. What of grpclib is used beyond its documentation stands in this
module alone, and is tested with the version that is installed.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any

from grpclib.protocol import EventsProcessor, H2Protocol
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from overseer.serve.accepting import stop_accepting
from overseer.serve.closing import Closing
from overseer.serve.silence import end_silent_transport, is_silent
from overseer.serve.starting import ready

if TYPE_CHECKING:
    import ssl

    from grpclib.server import Server
    from h2.events import PingAckReceived, RequestReceived

    from overseer.program.state import State

_STEP = 0.02
"""Seconds between two looks at the connections of a generation that drains."""
_HIGHEST = 2**31 - 1
_PING = b"overseer"
_QUIET = 0.02
"""Seconds without a call, after which a client that takes GOAWAY ill is told."""
_AFTERWARDS = 1.0
"""Seconds that a client has for closing by itself what it knows has ended."""


async def run(server: Server, state: State, *, linger: float, ssl_context: ssl.SSLContext | None) -> None:
    """See `overseer.serve.grpc`."""
    loop = asyncio.get_running_loop()
    open_ones: weakref.WeakSet[_Connection] = weakref.WeakSet()
    closing = Closing(ssl_context)

    def make() -> _Connection:
        made = server._protocol_factory()  # noqa: SLF001
        connection = _Connection(made.handler, made.config, made.h2_config)
        connection.closing = closing
        open_ones.add(connection)  # from here on, and not only when it has shaken hands
        return connection

    servers = [await loop.create_server(make, sock=sock, **closing.options) for sock in state.listeners]
    ready(state)
    await state.draining
    stop_accepting(servers)
    patience = loop.time() + linger
    while True:
        late = loop.time() >= patience
        for connection in list(open_ones):
            connection.leave(late=late)
        await asyncio.sleep(_STEP)  # also for those who were accepted a moment ago
        left = [one for one in open_ones if not one.is_over]
        if not left or (late and not any(one.transport for one in left)):
            break
    for each in servers:
        each.close()
    for handler in list(server._handlers):  # noqa: SLF001
        await handler.wait_closed()


class _Processor(EventsProcessor):
    """What has come on a connection."""

    def __init__(self, connection: _Connection) -> None:
        super().__init__(connection.handler, connection.connection)
        self._leaver = connection

    def process_request_received(self, event: RequestReceived) -> None:
        """Take a call, unless its client was told that it is not."""
        last = self._leaver.last
        if last is not None and (event.stream_id or 0) > last:
            refused = self.connection.create_stream(stream_id=event.stream_id)
            refused.reset_nowait(ErrorCodes.REFUSED_STREAM)
            return
        headers: Any = event.headers or ()
        agent = next((value for name, value in headers if name == "user-agent"), "")
        self._leaver.touchy |= agent.startswith("grpc-python-grpclib/")
        super().process_request_received(event)

    def process_ping_ack_received(self, event: PingAckReceived) -> None:
        """Hear that a client has read what it was told before."""
        if event.ping_data == _PING:
            self._leaver.name_last()
        else:
            super().process_ping_ack_received(event)


class _Connection(H2Protocol):
    """A connection that can be left."""

    closing: Closing
    transport: Any = None
    is_over = False
    last: int | None = None
    """The last call that is taken, once the client was told."""
    touchy = False
    """Whether its client ends all its calls when it hears GOAWAY, as that of grpclib does."""
    _told = False
    _quiet_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.transport = transport
        self.closing.watch(self, transport)
        self.processor = _Processor(self)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._quiet_since = asyncio.get_running_loop().time()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Be over."""
        self.closing.forget(self)
        super().connection_lost(exc)
        self.is_over = True

    def leave(self, *, late: bool) -> None:
        """Go one step further towards the end of this connection, if it is time for one."""
        if self.transport is None or self.transport.is_closing():
            return
        now = asyncio.get_running_loop().time()
        if self.processor.streams:
            self._quiet_since = now
        if not self._told and (late or not self.touchy or self._is_quiet(now)):
            self._tell()
        if self._told and late:
            self.name_last()
        ended = (
            self.last is not None and not self.processor.streams and now >= self._quiet_since + _AFTERWARDS
        )
        if ended and end_silent_transport(self.transport):
            self.transport.close()

    def _is_quiet(self, now: float) -> bool:
        sock = self.transport.get_extra_info("socket")
        return now >= self._quiet_since + _QUIET and (sock.fileno() < 0 or is_silent(sock))

    def _tell(self) -> None:
        self._told = True
        self._go_away(_HIGHEST)
        self.connection._connection.ping(_PING)  # noqa: SLF001
        self.connection.flush()

    def name_last(self) -> None:
        """Tell the client which of its calls is the last one that is taken."""
        if self.last is None:
            self.last = self.connection._connection.highest_inbound_stream_id  # noqa: SLF001
            self._go_away(self.last)

    def _go_away(self, last: int) -> None:
        # Not by h2's own method, after which nothing more can be sent on the streams that are open.
        self.connection.flush()
        self.transport.write(GoAwayFrame(0, last_stream_id=last).serialize())

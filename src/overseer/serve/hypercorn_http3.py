"""HTTP/3 of hypercorn's, on a UDP socket that generations share.

The kernel gives a datagram to one of those who read the socket, and does not know whose it is. That stands
in it: every ID that a connection has here begins with the number of its generation. The one that serves reads
the socket, and hands what is another's to that one, through a socket that each has left with the master
(`Shelf.store`), who passes it on when its owner drains. A generation that drains reads the shared socket no
more, but sends on it. Clients hear GOAWAY (RFC 9114, 5.2): they take another connection for the next request,
and finish here what they have begun.

What is used of hypercorn beyond its documentation: `H3Protocol` with its constructor, `connection`,
`streams`, `stream_send` and `_create_stream`; its `QuicProtocol` is not, which drops what waits behind ten
datagrams. Of aioquic: `_host_cids`, `_local_initial_source_connection_id`, `_replenish_connection_ids` and
`_streams` of a `QuicConnection`, and `_local_control_stream_id` of an `H3Connection`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from aioquic._buffer import Buffer
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3_ALPN, ErrorCode, FrameType, encode_frame
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionIdRetired,
    ConnectionTerminated,
    ProtocolNegotiated,
    StopSendingReceived,
    StreamReset,
)
from aioquic.quic.packet import PACKET_TYPE_INITIAL, encode_quic_version_negotiation, pull_quic_header
from hypercorn.protocol.events import Body, EndBody, StreamClosed
from hypercorn.protocol.h3 import H3Protocol
from hypercorn.typing import ConnectionState

from overseer.serve.hypercorn_connection import Group

if TYPE_CHECKING:
    from aioquic.quic.events import QuicEvent
    from hypercorn.asyncio.task_group import TaskGroup
    from hypercorn.asyncio.worker_context import WorkerContext
    from hypercorn.config import Config

    from overseer.program.listener import Listener
    from overseer.program.shelf import Stored
    from overseer.program.state import State

    Place = tuple[Any, ...]

_MARK = b"ovsr"
_OWNER = struct.Struct(">4sHH")
"""With what a connection ID begins: the mark, the generation, the worker."""
_LENGTH = 16
"""Bytes of a connection ID; those behind its owner are of chance."""
_AT_ONCE = 64
"""Datagrams that are read before others have their turn."""
_HELD = 1000
"""Datagrams that may wait until it is known where their owner is."""
_PATIENCE = 0.5
"""Seconds after which there is no generation before."""
_HIGHEST = 2**62 - 4
_NAME = "overseer-quic"


class Datagrams:
    """A UDP socket on which QUIC is spoken."""

    def __init__(
        self, sock: Listener, state: State, app: Any, config: Config, context: WorkerContext, *, memory: Any
    ) -> None:
        """Take the socket; nothing is read yet."""
        self.app = app
        self.config = config
        self.context = context
        self.memory = memory
        self.owner = _OWNER.pack(_MARK, state.generation % 65536, state.worker % 65536)
        self.quic = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=False, connection_id_length=_LENGTH)
        self.quic.load_cert_chain(config.certfile, config.keyfile, config.keyfile_password)  # type: ignore[arg-type]
        self.place = sock.getsockname()[:2]
        self.sessions: dict[bytes, _Session] = {}
        self._sock = sock
        self._state = state
        self._name = f"{_NAME}-{self.owner[4:].hex()}-{os.urandom(4).hex()}"
        self._loop = asyncio.get_running_loop()
        self._others: dict[bytes, socket.socket] = {}
        self._held: deque[tuple[bytes, bytes]] = deque(maxlen=_HELD)
        self._reads = False
        self._drains = False

    def start(self) -> None:
        """Leave with the master the way to this process, and read as soon as the generation before does not.

        That is when the way to it has come, by which it has been asked to drain.
        """
        self._sock.setblocking(False)
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._ours, theirs):
            end.setblocking(False)
        self._loop.add_reader(self._ours, self._read_handed)
        self._state.shelf.store(theirs, self._name, self.owner + self._sock.address.encode())
        theirs.close()
        self._state.shelf.call(self._learn, ours=True)
        self._loop.call_later(_PATIENCE if self._state.generation > 1 else 0, self._begin)

    def _begin(self) -> None:
        if not (self._reads or self._drains):
            self._reads = True
            self._loop.add_reader(self._sock, self._read)

    def _learn(self, stored: Stored) -> None:
        """Know the way to another generation; in a thread of overseer."""
        owner, address = stored.data[: _OWNER.size], stored.data[_OWNER.size :]
        if stored.name.startswith(_NAME) and address == self._sock.address.encode():
            way = stored.socket()
            way.setblocking(False)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._know, owner, way)

    def _know(self, owner: bytes, way: socket.socket) -> None:
        self._others[owner] = way
        self._begin()
        held, self._held = self._held, deque(maxlen=_HELD)
        for whose, datagram in held:
            self._hand(whose, datagram)

    def _hand(self, owner: bytes, datagram: bytes) -> None:
        if owner in self._others:
            with contextlib.suppress(OSError):  # full, or gone: the network loses datagrams, too
                self._others[owner].send(datagram)
        elif owner != self.owner:
            self._held.append((owner, datagram))

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, place = self._sock.recvfrom(65536)
            except OSError:
                return  # there is none
            self._receive(data, place)

    def _read_handed(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                place, _, data = self._ours.recv(70000).partition(b"\n")
            except OSError:
                return
            if not place:
                self._loop.remove_reader(self._ours)  # the master has ended
                return
            self._receive(data, tuple(json.loads(place)))

    def _receive(self, data: bytes, place: Place) -> None:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=_LENGTH)
        except ValueError:
            return
        whose = header.destination_cid
        session = self.sessions.get(whose)
        if session is None and whose.startswith(_MARK) and len(whose) == _LENGTH:
            self._hand(whose[: _OWNER.size], json.dumps(place).encode() + b"\n" + data)
            return
        if header.version is not None and header.version not in self.quic.supported_versions:
            versions = self.quic.supported_versions
            self.send(encode_quic_version_negotiation(header.source_cid, whose, versions), place)
        elif session is None and header.packet_type is PACKET_TYPE_INITIAL and len(data) >= 1200:
            session = _Session(self, whose)
        if session is not None:
            session.receive(data, place)

    def send(self, data: bytes, place: Place) -> None:
        """Send a datagram, or lose it."""
        with contextlib.suppress(OSError):
            self._sock.sendto(data, place)

    def leave(self, *, late: bool) -> bool:
        """Go one step further towards the end; return whether that is reached."""
        if not self._drains:
            self._drains = True
            self._loop.remove_reader(self._sock)
        for session in set(self.sessions.values()):
            session.leave(late=late)
        return not self.sessions

    def close(self) -> None:
        """Be no longer where others hand things to."""
        self._loop.remove_reader(self._ours)
        self._state.unstore(self._name)
        self._ours.close()


class _Quic(QuicConnection):
    """A connection of QUIC whose IDs tell whose it is."""

    def __init__(self, owner: bytes, **options: Any) -> None:
        super().__init__(**options)
        self._owner = owner
        self._sign()
        self.host_cid = self._local_initial_source_connection_id = self._host_cids[0].cid

    def _replenish_connection_ids(self) -> None:
        super()._replenish_connection_ids()
        self._sign()

    def _sign(self) -> None:
        for each in self._host_cids:
            if not each.cid.startswith(self._owner):
                each.cid = self._owner + each.cid[len(self._owner) :]

    @property
    def ids(self) -> set[bytes]:
        """Under which it is known."""
        return {each.cid for each in self._host_cids}

    @property
    def has_requests(self) -> bool:
        """Whether there are any of which not everything was sent, and known to have come."""
        return any(number % 4 == 0 for number in self._streams)


class _Session:
    """A client's connection."""

    def __init__(self, datagrams: Datagrams, first: bytes) -> None:
        self._datagrams = datagrams
        self._loop = asyncio.get_running_loop()
        self._quic = _Quic(
            datagrams.owner, configuration=datagrams.quic, original_destination_connection_id=first
        )
        self._h3: _Http3 | None = None
        self._ids = {first}
        self._news = asyncio.Event()
        self._over = False
        self._place: Place = ()
        self._timer: asyncio.TimerHandle | None = None
        self._register()
        self._task = asyncio.ensure_future(self._run())

    def _register(self) -> None:
        self._ids |= self._quic.ids
        self._datagrams.sessions.update(dict.fromkeys(self._ids, self))

    def receive(self, data: bytes, place: Place) -> None:
        """Take a datagram."""
        self._place = place
        self._quic.receive_datagram(data, place, now=self._loop.time())
        self._news.set()
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent, and look again when it is time."""
        for data, place in self._quic.datagrams_to_send(now=self._loop.time()):
            self._datagrams.send(data, place)
        if not self._over:
            self._register()
        if self._timer:
            self._timer.cancel()
        when = self._quic.get_timer()
        self._timer = None if when is None else self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._quic.handle_timer(now=self._loop.time())
        self._news.set()
        self.flush()

    async def _run(self) -> None:
        log = self._datagrams.config.log
        try:
            async with Group(self._loop) as group:
                while not self._over:
                    await self._news.wait()
                    self._news.clear()
                    while (event := self._quic.next_event()) is not None:
                        await self._take(event, group)
                    self.flush()
        except ExceptionGroup:
            await log.exception("a connection has failed")
            self._quic.close(error_code=ErrorCode.H3_INTERNAL_ERROR)
            self.flush()
        finally:
            if self._timer:
                self._timer.cancel()
            for each in self._ids:
                self._datagrams.sessions.pop(each, None)

    async def _take(self, event: QuicEvent, group: TaskGroup) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._h3 = _Http3(self._datagrams, self._quic, group, self._place[:2], self._flush_later)
        elif isinstance(event, ConnectionIdRetired):
            self._ids.discard(event.connection_id)
            self._datagrams.sessions.pop(event.connection_id, None)
        elif isinstance(event, ConnectionTerminated):
            self._over = True
            if self._h3:
                await self._h3.end()
        if self._h3 and not self._over:
            await self._h3.handle(event)

    async def _flush_later(self) -> None:
        self.flush()

    def leave(self, *, late: bool) -> None:
        """Say that it will end; and when it is late, end it with its last request."""
        if self._over:
            return
        if self._h3:
            self._h3.leave(late=late)
        if late and not self._quic.has_requests:
            self._quic.close(error_code=ErrorCode.H3_NO_ERROR)
            self._over = True
            self._news.set()
        self.flush()


class _Http3(H3Protocol):
    """HTTP/3 that can be left."""

    def __init__(self, datagrams: Datagrams, quic: _Quic, group: TaskGroup, client: Any, send: Any) -> None:
        memory = ConnectionState(datagrams.memory.copy())
        super().__init__(
            datagrams.app,
            datagrams.config,
            datagrams.context,
            group,
            memory,
            client,
            datagrams.place,
            quic,
            send,
        )
        self._quic = quic
        self._highest = -4
        self._told = False
        self._last: int | None = None

    async def handle(self, quic_event: QuicEvent) -> None:
        """Take what has come."""
        if isinstance(quic_event, StreamReset | StopSendingReceived):
            await self._end(quic_event.stream_id)
        for event in self.connection.handle_event(quic_event):
            await self._handle(event)

    async def _handle(self, event: H3Event) -> None:
        if not isinstance(event, HeadersReceived | DataReceived):
            return
        number = event.stream_id
        if isinstance(event, HeadersReceived) and any(name == b":method" for name, _ in event.headers):
            if self._last is not None and number > self._last:
                self._quic.reset_stream(number, ErrorCode.H3_REQUEST_REJECTED)
                self._quic.stop_stream(number, ErrorCode.H3_REQUEST_REJECTED)
                return
            self._highest = max(self._highest, number)
            await self._create_stream(event)
        if stream := self.streams.get(number):
            if isinstance(event, DataReceived) and event.data:
                await stream.handle(Body(stream_id=number, data=event.data))
            if event.stream_ended:
                await stream.handle(EndBody(stream_id=number))

    async def stream_send(self, event: Any) -> None:
        """Send a part of an answer, unless the client does not want it any more."""
        if event.stream_id in self.streams:
            with contextlib.suppress(AssertionError, ValueError):  # it has said so a moment ago
                await super().stream_send(event)

    async def end(self) -> None:
        """Tell applications that the client has gone."""
        for number in list(self.streams):
            await self._end(number)

    async def _end(self, number: int) -> None:
        if stream := self.streams.pop(number, None):
            await stream.handle(StreamClosed(stream_id=number))

    def leave(self, *, late: bool) -> None:
        """Say that it will end; and when it is late, which request is the last one that is taken."""
        if not self._told:
            self._told = True
            self._go_away(_HIGHEST)
        if late and self._last is None:
            self._last = self._highest
            self._go_away(self._last + 4)

    def _go_away(self, number: int) -> None:
        control = self.connection._local_control_stream_id  # noqa: SLF001
        if control is not None:
            self._quic.send_stream_data(control, encode_frame(FrameType.GOAWAY, encode_uint_var(number)))

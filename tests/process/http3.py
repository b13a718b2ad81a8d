"""A client of HTTP/3, written with aioquic: it goes when it is told to, and counts what fails."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, FrameType, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamReset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class _Told(H3Connection):
    """HTTP/3 that hears GOAWAY; aioquic reads over it."""

    goes = False

    def _check_control_frame_type(self, frame_type: int) -> None:
        self.goes |= frame_type == FrameType.GOAWAY
        super()._check_control_frame_type(frame_type)

    def _handle_control_frame(self, frame_type: int, frame_data: bytes) -> None:
        self.goes |= frame_type == FrameType.GOAWAY  # an older aioquic comes here with all of them
        super()._handle_control_frame(frame_type, frame_data)


class Talk(QuicConnectionProtocol):
    """One connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.http = _Told(self._quic)
        self.ended = ""
        self._answers: dict[int, asyncio.Queue[Any]] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take what has come."""
        if isinstance(event, ConnectionTerminated):
            self.ended = f"connection ended: {event.error_code:#x} {event.reason_phrase}"
            for answer in self._answers.values():
                answer.put_nowait(ConnectionError(self.ended))
        if isinstance(event, StreamReset) and event.stream_id in self._answers:
            self._answers[event.stream_id].put_nowait(ConnectionError(f"reset: {event.error_code:#x}"))
        for one in self.http.handle_event(event):
            if isinstance(one, HeadersReceived | DataReceived) and one.stream_id in self._answers:
                self._answers[one.stream_id].put_nowait(one)

    def begin(self, path: str = "/", *, end: bool = True, **more: str) -> int:
        """Begin a request; return its number."""
        if self.ended:
            raise ConnectionError(self.ended)
        number = self._quic.get_next_available_stream_id()
        head = {":method": "GET" if end else "POST", ":scheme": "https", ":authority": "localhost"}
        fields = [(k.encode(), v.encode()) for k, v in (head | {":path": path} | more).items()]
        self._answers[number] = asyncio.Queue()
        self.http.send_headers(number, fields, end_stream=end)
        self.transmit()
        return number

    def say(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Say something in a request."""
        self.http.send_data(number, data, end)
        self.transmit()

    async def parts(self, number: int) -> AsyncIterator[bytes]:
        """Yield what comes of an answer."""
        while True:
            event = await self._answers[number].get()
            if isinstance(event, Exception):
                raise event
            if isinstance(event, DataReceived):
                yield event.data
            if event.stream_ended:
                del self._answers[number]
                return

    async def body(self, number: int) -> bytes:
        """Return the whole body of an answer."""
        return b"".join([part async for part in self.parts(number)])


class Client:
    """A client that has one connection after another; `heeds` whether it goes when it hears GOAWAY."""

    def __init__(self, port: int, authority: bytes, *, heeds: bool = True) -> None:
        self.connections = 0
        self._port = port
        self._authority = authority
        self._heeds = heeds
        self._stack = AsyncExitStack()
        self._talk: Talk | None = None

    async def talk(self) -> Talk:
        """Return the connection for the next request."""
        told = self._talk and (self._talk.ended or (self._heeds and self._talk.http.goes))
        if told:
            await self.end()
        if self._talk is None:
            configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
            configuration.load_verify_locations(cadata=self._authority)
            opening = connect("127.0.0.1", self._port, configuration=configuration, create_protocol=Talk)
            talk = await self._stack.enter_async_context(opening)
            assert isinstance(talk, Talk)
            self._talk = talk
            self.connections += 1
        return self._talk

    async def ask(self) -> int:
        """Ask; return the generation that has answered."""
        talk = await self.talk()
        number = talk.begin(end=False)
        talk.say(number, b"some", end=True)
        generation, length = (await talk.body(number)).split()
        assert length == b"4"
        return int(generation)

    async def end(self) -> None:
        """Close the connection."""
        self._talk = None
        await self._stack.aclose()

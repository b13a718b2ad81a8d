"""serve.grpc: calls of clients that keep one channel, over restarts."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import grpc  # type: ignore[import-untyped]
import hpack
import pytest
from grpclib.client import Channel, StreamStreamMethod
from grpclib.encoding.base import CodecBase
from h2.errors import ErrorCodes
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from tests.process.service import DEADLINE, Service, until

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound=Frame)

pytestmark = pytest.mark.long  # the quick suite runs the how-to's program

GRPC = """
import os
import overseer
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server

class Bytes(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message, message_type):
        return message

    def decode(self, data, message_type):
        return data

class Echo:
    async def once(self, stream):
        asked = await stream.recv_message()
        os.write(1, b"did %s\\n" % asked)  # in one piece: generations overlap
        await stream.send_message(b"%d %s" % (program.generation, asked))

    async def many(self, stream):
        async for asked in stream:
            await stream.send_message(b"%d %s" % (program.generation, asked))

    def __mapping__(self):
        return {
            "/Echo/once": Handler(self.once, Cardinality.UNARY_UNARY, bytes, bytes),
            "/Echo/many": Handler(self.many, Cardinality.STREAM_STREAM, bytes, bytes),
        }

async def program(state):
    program.generation = state.generation
    await overseer.serve.grpc(Server([Echo()], codec=Bytes()), state, linger=1)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""


class Caller:
    """Threads that call over one channel, each after a pause of its own.

    The channel has no policy for retries. What every client of gRPC does without one is to take another
    connection for a call that it had not sent yet when it heard GOAWAY, or that was refused unseen.
    """

    def __init__(self, port: int, pauses: list[float], ca: bytes = b"") -> None:
        # A channel of its own connections: by default all of a process share theirs.
        options, to = [("grpc.use_local_subchannel_pool", 1)], f"127.0.0.1:{port}"
        if ca:
            self.channel = grpc.secure_channel(to, grpc.ssl_channel_credentials(ca), options)
        else:
            self.channel = grpc.insecure_channel(to, options)
        self.once: Any = self.channel.unary_unary("/Echo/once")
        self.many: Any = self.channel.stream_stream("/Echo/many")
        self.answers: list[str] = []
        self.newest = 0
        self.failures: list[str] = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._call, args=[pause]) for pause in pauses]
        for thread in self.threads:
            thread.start()

    def _call(self, pause: float) -> None:
        for number in itertools.count():
            if self.over.wait(pause):
                return
            name = f"{threading.get_ident()}-{number}".encode()
            try:
                generation, said = self.once(name, timeout=DEADLINE).split()
                assert said == name
                self.newest = max(self.newest, int(generation))
                self.answers.append(said.decode())
            except (grpc.RpcError, AssertionError) as error:
                self.failures.append(f"{pause:g}: {error!r}")

    @classmethod
    def ask(cls, port: int) -> int:
        """Return the generation that answers a new channel."""
        caller = cls(port, [])
        generation = int(caller.once(b"x", timeout=DEADLINE).split()[0])
        caller.end()
        return generation

    def end(self) -> None:
        """Call no more."""
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.channel.close()


UVLOOP = "import uvloop; uvloop.install()\n"


@pytest.mark.parametrize(
    ("loop", "count"),
    [("", 20), (UVLOOP, 20), pytest.param("", 200, marks=pytest.mark.very_long)],
    ids=["20", "uvloop-20", "200"],
)
def test_no_call_on_a_kept_channel_is_lost(service: Callable[..., Service], loop: str, count: int) -> None:
    """Several at one time, at once and with pauses: each is answered, and was done once."""
    no_call_is_lost(service(loop + GRPC, max_draining=50).serves(), count)


def no_call_is_lost(app: Service, count: int, ca: bytes = b"") -> None:
    """Restart so often; over TLS, if there is an authority to trust."""
    caller = Caller(app.port, [0.001, 0.005, 0.01, 0.02, 0.1], ca)
    for number in range(2, count + 2):
        assert app.restart() == number
        until(lambda number=number: caller.newest == number, f"{number} answers")  # type: ignore[misc]
    caller.end()
    print(f"{len(caller.answers)} calls over {count} restarts")
    assert caller.failures == []
    app.logged(rf"generation {count} .* left after .*: exit status 0")
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    assert sorted(app.said(r"did (\S+)")) == sorted(caller.answers)


def test_a_call_that_lasts_is_finished_where_it_began(service: Callable[..., Service]) -> None:
    """A stream in both directions goes on with the old generation, while new calls have the next one."""
    app = service(GRPC).serves()
    caller = Caller(app.port, [])
    more = threading.Semaphore(0)

    def say() -> Any:
        for number in range(3):
            more.acquire()
            yield b"%d" % number

    talk = caller.many(say(), timeout=DEADLINE)
    more.release()
    assert next(talk) == b"1 0"
    app.restart()
    until(lambda: caller.once(b"new", timeout=DEADLINE) == b"2 new", "generation 2 answers")
    for number in (1, 2):
        more.release()
        assert next(talk) == b"1 %d" % number
    assert list(talk) == []
    caller.end()
    app.logged(r"generation 1 .* left after .*: exit status 0")


class Frames:
    """A client that says frame by frame what it is told to."""

    def __init__(self, to: int | socket.socket, *first: Frame) -> None:
        if isinstance(to, int):
            to = socket.create_connection(("127.0.0.1", to), timeout=DEADLINE)
        self.sock = to
        self.file = self.sock.makefile("rb")
        self.frames: list[Frame] = []
        self.encoder = hpack.Encoder()
        frames = b"".join(frame.serialize() for frame in first or (SettingsFrame(0),))
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames)

    def call(self, number: int) -> None:
        """Begin a call and say all that is to be said."""
        head = {":method": "POST", ":scheme": "http", ":path": "/Echo/once", ":authority": "x"}
        head |= {"te": "trailers", "content-type": "application/grpc"}
        block = self.encoder.encode(list(head.items()))
        begin = HeadersFrame(number, block, flags=["END_HEADERS"]).serialize()
        rest = DataFrame(number, b"\0\0\0\0\2hi", flags=["END_STREAM"]).serialize()
        self.sock.sendall(begin + rest)

    def next(self, kind: type[F]) -> F:
        """Read until such a frame has come that was not returned yet."""
        while not (found := [one for one in self.frames if isinstance(one, kind)]):
            frame, length = Frame.parse_frame_header(memoryview(self.file.read(9)))
            frame.parse_body(memoryview(self.file.read(length)))
            self.frames.append(frame)
        self.frames.remove(found[0])
        return found[0]


def test_goaway_names_the_last_call_that_is_taken(service: Callable[..., Service]) -> None:
    """First none is excluded; when the client has heard that, the last one that came; others are refused."""
    app = service(GRPC).serves()
    client = Frames(app.port)
    client.call(1)
    assert client.next(DataFrame).data.endswith(b"1 hi")
    app.restart()
    assert client.next(GoAwayFrame).last_stream_id == 2**31 - 1
    asked = client.next(PingFrame).opaque_data
    client.call(3)
    client.sock.sendall(PingFrame(0, asked, flags=["ACK"]).serialize())
    last = client.next(GoAwayFrame)
    assert (last.last_stream_id, last.error_code) == (3, 0)
    client.call(5)
    assert client.next(DataFrame).data.endswith(b"1 hi"), "the call that was on its way is answered"
    refused = client.next(RstStreamFrame)
    assert (refused.stream_id, refused.error_code) == (5, ErrorCodes.REFUSED_STREAM)
    while client.file.read(65536):
        pass
    app.logged(r"generation 1 .* left after .*: exit status 0")


class Bytes(CodecBase):
    """Messages that are bytes."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:  # noqa: ARG002
        """Return the message."""
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:  # noqa: ARG002
        """Return the message."""
        return data


def test_a_client_of_grpclib_is_told_between_its_calls(service: Callable[..., Service]) -> None:
    """It ends all its calls when it hears GOAWAY, against the RFC; so it hears that when it has none."""
    app = service(GRPC).serves()

    async def talk() -> None:
        channel = Channel("127.0.0.1", app.port, codec=Bytes())
        method = StreamStreamMethod[bytes, bytes](channel, "/Echo/many", bytes, bytes)
        async with method.open() as call:
            await call.send_message(b"before")
            assert await call.recv_message() == b"1 before"
            await asyncio.to_thread(app.restart)
            await asyncio.to_thread(until, lambda: Caller.ask(app.port) == 2, "generation 2 answers")
            await call.send_message(b"after", end=True)
            assert await call.recv_message() == b"1 after"
            assert await call.recv_message() is None
        await asyncio.to_thread(app.logged, r"generation 1 .* left after .*: exit status 0")
        assert await method([b"again"]) == [b"2 again"]
        channel.close()

    asyncio.run(talk())

"""The contract of a program's listener: a real socket, of which draining and the others are not disturbed."""

from __future__ import annotations

import asyncio
import errno
import os
import selectors
import socket
import socketserver
import threading
from typing import TYPE_CHECKING

import pytest

from overseer.errors import ListenerDrainingError
from overseer.program.draining import Draining
from overseer.program.listener import Listener, listener_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Shared:
    """A socket as the master holds it, and listeners of programs that share it."""

    def __init__(self, kind: int = socket.SOCK_STREAM) -> None:
        self.sock = socket.socket(socket.AF_INET, kind)
        self.sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            self.sock.listen(16)
        self.sock.setblocking(False)
        self.kind = kind
        self.listeners: list[Listener] = []

    def listener(self, draining: Draining | None = None, used: Callable[[], None] = lambda: None) -> Listener:
        """Return what one program gets."""
        draining = Draining() if draining is None else draining
        self.listeners.append(listener_of(os.dup(self.sock.fileno()), "127.0.0.1:0", draining, used))
        return self.listeners[-1]

    def connect(self) -> socket.socket:
        """Be a client."""
        client = socket.socket(socket.AF_INET, self.kind)
        client.settimeout(60)
        client.connect(self.sock.getsockname())
        return client

    def close(self) -> None:
        """End it all."""
        for each in (self.sock, *self.listeners):
            each.close()


@pytest.fixture
def stream() -> Iterator[Shared]:
    """TCP."""
    shared = Shared()
    yield shared
    shared.close()


@pytest.fixture
def datagrams() -> Iterator[Shared]:
    """UDP."""
    shared = Shared(socket.SOCK_DGRAM)
    yield shared
    shared.close()


def _when_waiting(act: Callable[[], None]) -> threading.Thread:
    """Do something in a thread, a moment from now: before or while the caller waits, both are right."""
    thread = threading.Timer(0.05, act)
    thread.start()
    return thread


def test_a_blocking_accept_waits_for_a_connection(stream: Shared) -> None:
    """By default it waits for ever, though the descriptor never blocks; what it returns blocks."""
    listener = stream.listener()
    clients: list[socket.socket] = []
    thread = _when_waiting(lambda: clients.append(stream.connect()))
    connection, _ = listener.accept()
    thread.join()
    with connection, clients[0] as client:
        client.sendall(b"x")
        assert connection.recv(1) == b"x"
        assert connection.getblocking()
        assert type(connection) is socket.socket
    assert not os.get_blocking(stream.sock.fileno())


def test_an_accept_that_waits_ends_when_draining_starts(stream: Shared) -> None:
    """With an exception of its own; the socket goes on for others."""
    draining = Draining()
    listener = stream.listener(draining)
    thread = _when_waiting(lambda: draining.begin("test"))
    with pytest.raises(ListenerDrainingError):
        listener.accept()
    thread.join()
    other = stream.listener()
    with stream.connect(), other.accept()[0]:
        pass


def test_one_that_drains_leaves_connections_to_others(stream: Shared) -> None:
    """Even one that is there already."""
    draining = Draining()
    listener, other = stream.listener(draining), stream.listener()
    with stream.connect():
        draining.begin("test")
        with pytest.raises(ListenerDrainingError):
            listener.accept()
        other.accept()[0].close()


def test_a_server_that_had_seen_somebody_before_it_drained_ends_in_its_own_way(stream: Shared) -> None:
    """`socketserver` waits, then accepts: if draining begins between the two, its loop goes on to its end."""
    draining = Draining()
    server = socketserver.TCPServer(("", 0), socketserver.BaseRequestHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = stream.listener(draining)
    with stream.connect():
        draining.begin("test")
        server._handle_request_noblock()  # type: ignore[attr-defined]
    assert isinstance(ListenerDrainingError("it drains"), OSError)


def test_a_timeout_ends_with_the_standard_exception(stream: Shared) -> None:
    """As for every socket."""
    listener = stream.listener()
    listener.settimeout(0.01)
    assert (listener.gettimeout(), listener.timeout, listener.getblocking()) == (0.01, 0.01, True)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_without_blocking_it_says_that_nobody_calls(stream: Shared) -> None:
    """BlockingIOError, as for every socket, and when draining the same."""
    draining = Draining()
    listener = stream.listener(draining)
    listener.setblocking(False)
    assert (listener.gettimeout(), listener.getblocking()) == (0.0, False)
    with pytest.raises(BlockingIOError):
        listener.accept()
    draining.begin("test")
    with stream.connect(), pytest.raises(BlockingIOError):
        listener.accept()


def test_the_patience_of_one_program_is_not_anothers(stream: Shared) -> None:
    """They share one open file, and not its way of blocking."""
    patient, impatient = stream.listener(), stream.listener()
    impatient.setblocking(False)
    thread = _when_waiting(lambda: stream.connect().close())
    patient.accept()[0].close()
    thread.join()
    with pytest.raises(BlockingIOError):
        impatient.accept()


def test_a_negative_timeout_is_refused(stream: Shared) -> None:
    """As for every socket."""
    with pytest.raises(ValueError, match="Timeout"):
        stream.listener().settimeout(-1)


def test_accept_works_where_it_is_called_on_the_class(stream: Shared) -> None:
    """Trio and others call `socket.socket.accept(listener)`."""
    listener = stream.listener()
    with stream.connect():
        socket.socket.accept(listener)[0].close()
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        socket.socket.accept(listener)


def test_closing_closes_this_programs_descriptor_only(stream: Shared) -> None:
    """Connections go on to be accepted by others."""
    listener, other = stream.listener(), stream.listener()
    listener.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        listener.accept()
    with stream.connect():
        other.accept()[0].close()
    assert "closed" in repr(listener)


def test_shutdown_is_refused(stream: Shared) -> None:
    """It would end the listening of all; nothing happens but the error."""
    listener = stream.listener()
    with pytest.raises(OSError, match="shared") as refused:
        listener.shutdown(socket.SHUT_RDWR)
    assert refused.value.errno == errno.EPERM
    with stream.connect():
        listener.accept()[0].close()


def test_a_duplicate_is_a_listener_of_its_own(stream: Shared) -> None:
    """It drains with its program, and outlives the first one's close."""
    draining = Draining()
    listener = stream.listener(draining)
    with listener.dup() as twin:
        listener.close()
        with stream.connect():
            twin.accept()[0].close()
        draining.begin("test")
        with pytest.raises(ListenerDrainingError):
            twin.accept()


def _accept_nobody(listener: Listener) -> None:
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize(
    "use",
    [
        lambda listener: listener.listen(),
        lambda listener: listener.fileno(),
        lambda listener: selectors.DefaultSelector().register(listener, selectors.EVENT_READ),
        _accept_nobody,
    ],
    ids=["listen", "fileno", "selectors", "accept"],
)
def test_use_is_noticed(stream: Shared, use: Callable[[Listener], object]) -> None:
    """Whoever waits on it serves; looking at it, or setting it up, is no use."""
    times: list[int] = []
    listener = stream.listener(used=lambda: times.append(1))
    listener.setblocking(False)
    listener.getsockname()
    repr(listener)
    assert not times
    use(listener)
    assert times


def test_asyncio_serves_on_it(stream: Shared) -> None:
    """A server on the listener answers, and its close leaves the socket to others."""
    draining = Draining()
    listener, other = stream.listener(draining), stream.listener()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async def program() -> bytes:
        async with await asyncio.start_server(answer, sock=listener):
            reader, writer = await asyncio.open_connection(*stream.sock.getsockname())
            writer.write(b"hello\n")
            answered = await reader.read()
            writer.close()
            asyncio.get_running_loop().call_later(0.01, draining.begin, "test")
            await draining
        return answered

    assert asyncio.run(program()) == b"hello\n"
    with stream.connect():
        other.accept()[0].close()


@pytest.mark.parametrize(
    "name", ["recv", "recvfrom", "recv_into", "recvfrom_into", "recvmsg", "recvmsg_into"]
)
def test_a_datagram_is_waited_for_until_draining_starts(datagrams: Shared, name: str) -> None:
    """Each way of receiving: it waits, receives, and ends with the exception of its own."""
    draining = Draining()
    listener = datagrams.listener(draining)
    into: object = [bytearray(10)] if name == "recvmsg_into" else bytearray(10)
    argument = into if name.endswith("into") else 10
    with datagrams.connect() as client:
        thread = _when_waiting(lambda: client.sendall(b"hello"))
        getattr(listener, name)(argument)
        thread.join()
        thread = _when_waiting(lambda: draining.begin("test"))
        with pytest.raises(ListenerDrainingError):
            getattr(listener, name)(argument)
        thread.join()
        client.sendall(b"hello")
        assert datagrams.listener().recv(10) == b"hello"


def test_answers_are_sent_while_it_drains(datagrams: Shared) -> None:
    """What was received is answered; timeouts are those of every socket."""
    draining = Draining()
    listener = datagrams.listener(draining)
    with datagrams.connect() as client:
        client.sendall(b"hello")
        _, whose = listener.recvfrom(10)
        draining.begin("test")
        assert listener.sendto(b"one", whose) == 3
        assert listener.sendmsg([b"two"], [], 0, whose) == 3
        assert (client.recv(10), client.recv(10)) == (b"one", b"two")
    impatient = datagrams.listener()
    impatient.settimeout(0.01)
    with pytest.raises(TimeoutError):
        impatient.recv(10)
    impatient.setblocking(False)
    with pytest.raises(BlockingIOError):
        impatient.recv(10)


def test_a_forked_process_hears_of_draining(stream: Shared) -> None:
    """A server that forks: its children's accept ends with the parent's."""
    draining = Draining()
    listener = stream.listener(draining)
    pid = os.fork()
    if pid == 0:
        try:
            listener.accept()
        except ListenerDrainingError:
            os._exit(42)
        finally:
            os._exit(1)
    draining.begin("test")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42

"""Sockets looked at from outside, and what is known of the calls on them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest
from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Callable

from overseer.serve.below import Spare, duplicate, entries, inode, numbers
from overseer.serve.calls import Calls, _key
from overseer.serve.entering import Entering
from overseer.serve.outside import Connections, Door, backlog

SECONDS = 10.0


@pytest.fixture(params=["tcp", "unix"])
def listener(request: pytest.FixtureRequest) -> Any:
    """Return a listening socket of each kind."""
    if request.param == "tcp":
        sock = socket.create_server(("127.0.0.1", 0), backlog=50)
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"\0overseer-proof-{os.getpid()}-{id(sock)}")
        sock.listen(50)
    sock.setblocking(False)
    with sock:
        yield sock


def knock(listener: socket.socket) -> socket.socket:
    """Connect to it."""
    client = socket.socket(listener.family)
    client.settimeout(SECONDS)
    client.connect(listener.getsockname())
    return client


def test_a_listener_is_taken_away_from_below_its_number(listener: socket.socket) -> None:
    """Whoever waits at the number is not woken, and accepts nothing; the listener goes on elsewhere."""
    door = Door(listener)
    assert not door.is_watched()
    with select.epoll() as poll, socket.socket(fileno=door.number) as theirs:
        poll.register(door.number, select.EPOLLIN | select.EPOLLET)
        assert door.is_watched()
        with knock(listener):
            assert poll.poll(SECONDS)
            theirs.accept()[0].close()
        door.take_away()
        with knock(listener):
            with pytest.raises(BlockingIOError):
                theirs.accept()
            assert poll.poll(0) == []
            listener.accept()[0].close()
        assert not os.get_inheritable(door.number)


def test_what_was_registered_is_not_left_behind(listener: socket.socket) -> None:
    """When the number has been closed, the kernel does not go on telling of the listener."""
    door = Door(listener)
    with select.epoll() as poll:
        poll.register(door.number, select.EPOLLIN)
        assert door.is_watched()
        door.take_away()
        os.close(door.number)
        with knock(listener):
            assert poll.poll(0) == []


def test_a_server_is_led_to_another_listener_for_a_moment(listener: socket.socket) -> None:
    """It accepts there, and then at its own again; also after its own was taken away, and then no more."""
    door = Door(listener)
    with (
        select.epoll() as poll,
        socket.socket(fileno=door.number) as theirs,
        socket.socket(listener.family) as other,
    ):
        theirs.setblocking(False)
        poll.register(door.number, select.EPOLLIN | select.EPOLLET)
        assert door.is_watched()
        other.bind("" if listener.family == socket.AF_UNIX else ("127.0.0.1", 0))
        other.listen(1)
        for taken in (False, True):
            with knock(listener) as ours, knock(other) as led:
                assert bool(poll.poll(0 if taken else SECONDS)) is not taken
                with door.lead(other):
                    assert poll.poll(SECONDS)
                    assert theirs.accept()[1] == led.getsockname()
                if taken:
                    assert poll.poll(0) == []
                    with pytest.raises(BlockingIOError):
                        theirs.accept()
                else:
                    assert poll.poll(SECONDS)
                    assert theirs.accept()[1] == ours.getsockname()
                    door.take_away()
        door.close()


class Served:
    """A connection as a server has it that waits for what comes: by a number, and with epoll."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = knock(listener)
            self.theirs = listener.accept()[0]
            self.theirs.setblocking(False)
            self.connections = Connections([listener])
        self.poll = select.epoll()
        self.poll.register(self.theirs, select.EPOLLIN | select.EPOLLET)
        (self.key,) = self.connections.look()
        self.sight = self.connections.see(self.key)
        self.given: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.poll.close()
        self.connections.close()
        for sock in (self.client, self.theirs, *self.given):
            sock.close()

    def part(self, give: Callable[[socket.socket], bool] | None = None) -> None:
        """Give it away as it was seen before anything came; without `give` it is taken here."""
        assert self.sight
        self.connections.part(self.key, self.sight, give or self._take)

    def _take(self, sock: socket.socket) -> bool:
        self.given.append(sock.dup())
        return True


def test_a_connection_is_given_away_from_below_its_server() -> None:
    """Who has the number reads and writes nothing any more, and hears no end; the client notices nothing."""
    with Served() as served:
        served.part()
        served.client.sendall(b"hello")
        assert served.poll.poll(0) == []
        for use in (lambda: served.theirs.recv(10), lambda: served.theirs.send(b"lost")):
            with pytest.raises(BlockingIOError):
                use()
        served.theirs.shutdown(socket.SHUT_RDWR)
        (given,) = served.given
        assert given.recv(10) == b"hello"
        given.sendall(b"answer")
        assert served.client.recv(10) == b"answer"
        assert served.connections.look() == {served.key}, "it is still in this process: it was given to us"
        assert not os.get_inheritable(served.theirs.fileno())


@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
def test_one_on_which_something_has_come_meanwhile_is_not_given_away(*, is_read: bool) -> None:
    """It stays where it is, and its server is told of all that comes."""
    with Served() as served:
        served.client.sendall(b"hello")
        assert served.poll.poll(SECONDS)
        if is_read:
            assert served.theirs.recv(10) == b"hello"
        served.part()
        assert served.given == []
        if not is_read:
            assert served.poll.poll(SECONDS)
            assert served.theirs.recv(10) == b"hello"
        served.client.sendall(b"more")
        assert served.poll.poll(SECONDS)
        assert served.theirs.recv(10) == b"more"


def test_one_that_nobody_takes_stays_with_its_server() -> None:
    """The next generation may have too much to do at this moment."""
    with Served() as served:
        served.part(lambda _: False)
        served.client.sendall(b"hello")
        assert served.poll.poll(SECONDS)
        assert served.theirs.recv(10) == b"hello"


def test_one_that_its_client_has_ended_is_not_given_away() -> None:
    """There would be nothing to have; and its server may be ending it in this moment."""
    with Served() as served:
        served.client.shutdown(socket.SHUT_WR)
        assert served.poll.poll(SECONDS)
        served.part()
        assert served.given == []


def test_an_entry_is_found_whichever_instance_it_is_in() -> None:
    """Also in one that is newer than the last look; and none is found in one that has gone."""
    with socket.socket() as waited:
        for _ in range(2):
            with select.epoll() as poll:
                assert entries(waited.fileno()) == []
                with select.epoll() as newer:
                    newer.register(waited, select.EPOLLIN)
                    (found,) = entries(waited.fileno())
                    assert (found.watcher, found.number) == (newer.fileno(), waited.fileno())
                    assert found.events & select.EPOLLIN
                    assert found.remove()
                poll.register(waited, select.EPOLLOUT)
                assert [entry.watcher for entry in entries(waited.fileno())] == [poll.fileno()]
        assert entries(waited.fileno()) == []


def test_without_a_free_descriptor_the_others_are_found_all_the_same() -> None:
    """To ask the system for them takes one; then those count that may be."""
    spare = Spare()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as sock, contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(numbers()) + 1, limits[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with contextlib.suppress(OSError):
            while True:
                stack.enter_context(open(os.devnull, "rb"))
        assert sock.fileno() in numbers()
        with duplicate(sock.fileno()) as copy:
            assert copy is None
        spare.use()
        with duplicate(sock.fileno()) as copy:
            assert copy


def test_a_request_does_not_wait_behind_connections_that_rest() -> None:
    """Of those that come from the generation before, it enters first; here there is room for one alone."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        door = stack.enter_context(contextlib.closing(Door(listener)))
        theirs = stack.enter_context(socket.socket(fileno=door.number))
        theirs.setblocking(False)
        poll = stack.enter_context(select.epoll())
        poll.register(theirs, select.EPOLLIN | select.EPOLLET)
        assert door.is_watched()
        own = inode(door.number)
        entering = Entering([door], Calls(None, Connections([listener]), spread=0, state={}))
        entering._thread = threading.Thread(target=entering._run, daemon=True)  # not before all are there
        for number in range(4):
            client = stack.enter_context(knock(listener))
            accepted, _ = listener.accept()
            if number == 3:
                client.sendall(b"hello")
                assert select.select([accepted], [], [], SECONDS)[0]
            entering.take(accepted)
        entering._thread.start()
        until(lambda: inode(door.number) != own, "the server is led to another listener")
        assert poll.poll(SECONDS)
        found = stack.enter_context(theirs.accept()[0])
        found.setblocking(False)
        poll.register(found, select.EPOLLIN | select.EPOLLET)
        until(lambda: found.fileno() in dict(poll.poll(SECONDS)), "something can be read")
        assert found.recv(10) == b"hello"
        door.take_away()
        until(lambda: len(entering._late) == 3, "the others are left alone, and the numbers of the next test")


def test_connections_are_seen(listener: socket.socket) -> None:
    """Those that were accepted, and neither the clients nor the listener."""
    connections = Connections([listener])
    assert connections.look() == set()
    with knock(listener) as client:
        accepted = listener.accept()[0]
        with accepted:
            (key,) = connections.look()
            sight = connections.see(key)
            assert sight
            assert (sight.received, sight.heard, sight.unread, sight.unsent) == (0, False, False, False)
            client.sendall(b"hello")
            assert select.select([accepted], [], [], SECONDS)[0]
            connections.end(key, sight)
            assert accepted.recv(10) == b"hello"
            accepted.sendall(b"answer")
            assert client.recv(10) == b"answer", "it was not ended, for something had come"
            now = connections.see(key)
            assert now
            assert now.received == (0 if listener.family == socket.AF_UNIX else 5)
            connections.end(key, now)
            assert client.recv(10) == b"", "the end"
        assert connections.look() == set()
        assert connections.see(key) is None


def test_others_are_attended_to_between_one_fresh_connection_and_the_next() -> None:
    """A hundred of them would hold up those who are answered."""

    async def others_turns(connections: Connections, clients: list[socket.socket]) -> int:
        turns = 0

        async def attend() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        attending = asyncio.ensure_future(attend())
        assert len(await connections.look_by_and_by()) == len(clients)
        attending.cancel()
        return turns

    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(knock(listener)) for _ in range(10)]
        for _ in clients:
            stack.enter_context(listener.accept()[0])
        connections = Connections([listener])
        assert asyncio.run(others_turns(connections, clients)) >= len(clients)
        assert connections.look() == asyncio.run(connections.look_by_and_by()), "as if it was done at once"


def test_what_has_been_read_meanwhile_is_something_that_has_come() -> None:
    """A server reads in threads of its own: nothing is unread, and yet a request is being answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = Connections([listener])
        with knock(listener) as client, listener.accept()[0] as accepted:
            (key,) = connections.look()
            sight = connections.see(key)
            assert sight
            client.sendall(b"hello")
            assert accepted.recv(10) == b"hello"
            connections.end(key, sight)
            accepted.sendall(b"answer")
            assert client.recv(10) == b"answer"


@pytest.mark.parametrize("what", ["file", "connection"])
def test_a_number_that_is_used_again_is_not_mistaken(listener: socket.socket, what: str) -> None:
    """A server closes a connection, and opens something else, between two looks."""
    connections = Connections([listener])
    with knock(listener), listener.accept()[0] as accepted:
        (key,) = connections.look()
        with knock(listener), listener.accept()[0] as other, open(os.devnull, "rb") as file:
            fresh = other if what == "connection" else file
            os.dup2(fresh.fileno(), accepted.fileno(), inheritable=False)
            assert connections.see(key) is None
            assert connections.take(key) is None


def test_the_kernel_tells_the_backlog() -> None:
    """Of a TCP socket, as it was set last."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as sock:
        assert backlog(sock) == 50
        sock.listen(70)
        assert backlog(sock) == 70


GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n" + b"body" * 10
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"


class Talk:
    """A connection, and the calls of an application that is told of the requests on it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = knock(listener)
            self.accepted = listener.accept()[0]
            self.calls = Calls(None, Connections([listener]), spread=0, state={})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.accepted.close()

    def say(self, text: bytes) -> None:
        """Send something, and have it read to the end, as a server does that reads ahead."""
        self.client.sendall(text)
        while text:
            text = text[len(self.accepted.recv(len(text))) :]

    def is_last(self, request: bytes) -> bool:
        """Tell of a request whose answer begins; return whether it would end the connection."""
        scope = self.scope(request)
        self.calls._count(_key(scope), scope, self.calls._counting.begin)
        return not self.calls._has_more(scope)

    def answer(self, request: bytes) -> None:
        """Tell that a request has been answered."""
        scope = self.scope(request)
        self.calls._count(_key(scope), scope, self.calls._counting.end)

    def scope(self, request: bytes) -> dict[str, Any]:
        """Return what a server makes of a request."""
        line, *fields = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
        method, target, _ = line.split()
        path, _, query = target.partition(b"?")
        pairs = [field.split(b": ", 1) for field in fields]
        host, port = self.accepted.getpeername()
        return {
            "type": "http",
            "http_version": "1.1",
            "scheme": "http",
            "method": method.decode(),
            "raw_path": path,
            "query_string": query,
            "headers": [(name.lower(), value) for name, value in pairs],
            "client": (host, str(port)),
            "server": ("127.0.0.1", str(self.accepted.getsockname()[1])),
        }


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED], ids=["GET", "POST", "chunked"])
def test_a_request_that_came_alone_is_the_last(request_: bytes) -> None:
    """Whether its connection has been silent until then, or is a fresh one."""
    with Talk() as talk:
        talk.say(request_)
        assert talk.is_last(request_)


def test_of_requests_behind_one_another_only_the_last_is() -> None:
    """By the bytes that the kernel has counted."""
    with Talk() as talk:
        asyncio.run(talk.calls.leave())
        talk.say(GET + POST + GET)
        assert [talk.is_last(each) for each in (GET, POST, GET)] == [False, False, True]


def test_where_it_is_not_known_the_next_request_is_waited_for() -> None:
    """Some were answered before this generation drained; how long they were, nobody has counted."""
    with Talk() as talk:
        talk.say(GET + POST + GET + POST)
        asyncio.run(talk.calls.leave())
        assert not talk.is_last(GET), "the third, perhaps"
        talk.answer(GET)
        assert not talk.is_last(POST), "it has come before that answer"
        talk.answer(POST)
        talk.say(GET + POST)
        assert not talk.is_last(GET), "it has come alone, but for one behind it"
        talk.answer(GET)
        assert talk.is_last(POST)


def test_a_port_that_is_used_again_may_speak_another_version() -> None:
    """HTTP/2 first, and HTTP/1 on the next connection from there."""

    async def app(*_: object) -> None:
        pass

    with Talk() as talk:
        calls = Calls(app, Connections([]), spread=0, state={})
        scope = talk.scope(GET)
        asyncio.run(calls({**scope, "http_version": "2"}, app, app))  # type: ignore[arg-type]
        assert calls.is_two(_key(scope))
        asyncio.run(calls(scope, app, app))  # type: ignore[arg-type]
        assert not calls.is_two(_key(scope))

"""Calls of an ASGI application, and the connections on which they have come.

For a server that is looked at from outside: it does not say whether a request has come behind another one,
nor wait for the last word of a WebSocket's client. Both can be had from the connection itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from overseer.serve.counting import Counting, size_of
from overseer.serve.remembered import Remembered
from overseer.serve.streams import Leaving

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from overseer.serve.outside import Connections, Key, Sight
    from overseer.serve.streams import Message, Receive, Send

    Scope = MutableMapping[str, Any]
    Client = tuple[str, str]

QUIET = 0.5
"""Seconds without a byte after which nothing is on its way within the server."""
_AFTERWARDS = 10.0
"""Seconds that the client of a WebSocket has for its own last word."""


class Calls:
    """An application that knows on which connections its calls have come."""

    def __init__(self, app: Any, connections: Connections, *, spread: float, state: dict[str, Any]) -> None:
        """Take the application, and the state of its lifespan; `spread` is that of `Leaving`."""
        self._leaving = Leaving(app, self._has_more, spread=spread)
        self._connections = connections
        self._state = state
        self._running: Counter[Key] = Counter()
        self._kinds: Counter[str] = Counter()
        self._ends: dict[asyncio.Task[None], Key] = {}
        self._last_unix = 0.0
        self._twos: Remembered[Key, Key] = Remembered(connections.look)
        self._names: Remembered[Client, Client] = Remembered(self._clients)
        self._told: set[Key] = set()
        self._counting = Counting()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be the application."""
        scope["client"] = self._names.get(scope["client"]) or scope["client"]
        key, kind = _key(scope), "websocket" if scope["type"] == "websocket" else scope["http_version"]
        if kind == "2":
            self._twos.add(key, key)
        else:
            self._twos.forget(key)  # the client has used its port again
        if self._leaving.drains.is_set():
            self._count(key, scope, self._counting.begin)
        scope["state"] = self._state.copy()
        accepted = False

        async def say(message: Message) -> None:
            nonlocal accepted
            if message["type"] == "websocket.accept":
                accepted = True
            if not self._leaving.drains.is_set():
                await send(message)
            elif message["type"] == "websocket.close" and accepted:
                await self._close(key, message, send)
            else:
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    self._count(key, scope, self._counting.end)
                await send(message)

        self._running[key] += 1
        self._kinds[kind] += 1
        try:
            await self._leaving(scope, receive, say)
        finally:
            self._kinds[kind] -= 1
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
            if not key[1]:
                self._last_unix = time.monotonic()

    def rename(self, client: Client, real: Client) -> None:
        """Know a client, of whom the server thinks that it comes from elsewhere, by its own address."""
        self._names.add(client, real)

    def _clients(self) -> set[Client]:
        return {(host, port) for _, host, port in self._connections.look()}

    async def leave(self) -> None:
        """Begin to have connections ended by their next answers; who has a call meanwhile is attended to."""
        self._leaving.drains.set()
        for key in await self._connections.look_by_and_by():
            await asyncio.sleep(0)
            sight = self._connections.see(key)
            if sight and not self.is_running(key) and (not sight.received or _rests(sight)):
                self._counting.rest(key, sight.received)

    def is_running(self, key: Key) -> bool:
        """Whether a connection has a call, or the last word of its WebSocket is awaited.

        Those of a Unix socket cannot be told from one another: all have one, as long as one has.
        """
        if key[1]:
            return key in self._running or key in self._ends.values()
        return time.monotonic() < self._last_unix + QUIET or any(not host for _, host, _ in self._running)

    def is_two(self, key: Key) -> bool:
        """Whether a connection speaks HTTP/2, as far as that has been heard."""
        return key in self._twos

    def is_told(self, key: Key) -> bool:
        """Whether the client of a connection has been told that it ends."""
        return key in self._told

    @property
    def unfinished(self) -> bool:
        """Whether there are calls."""
        return bool(self._running or self._ends)

    @property
    def are_ones(self) -> bool:
        """Whether there are calls other than those of HTTP/2."""
        return bool(self._ends) or any(self._kinds[kind] for kind in self._kinds if kind != "2")

    @property
    def are_talks(self) -> bool:
        """Whether there are WebSockets."""
        return bool(self._ends or self._kinds["websocket"])

    def _has_more(self, scope: Scope) -> bool:
        """Whether another request may have come behind this one, so that its answer is not the last one.

        The kernel has counted the bytes. Where a connection was in use when this generation began to drain,
        it is not known how many of them are of requests before this one; then the next one is waited for.
        Only plain HTTP/1 over TCP is counted in this way, and not behind a body of unknown length.
        """
        if scope["http_version"] == "2":
            return True  # which has other words for that
        key, size = _key(scope), size_of(scope)
        sight = self._connections.see(key) if size and key[1] else None
        if sight and not self._counting.is_last(key, sight.received, size):
            return True
        self._told.add(key)
        return False

    def _count(self, key: Key, scope: Scope, hear: Callable[[Key, int], None]) -> None:
        """Have it heard how much has come by now."""
        if scope["http_version"] != "2" and key[1] and key not in self._told:
            sight = self._connections.see(key)
            if sight:
                hear(key, sight.received)

    async def _close(self, key: Key, message: Message, send: Send) -> None:
        """Close a WebSocket, and read to the end what its client still says (RFC 6455, 7.1.1).

        A server that closes the connection at once has it reset by what comes then, and the reset overtakes
        the word that closes it.
        """
        sock = self._connections.take(key) if key[1] else None
        closing = asyncio.ensure_future(_say(message, send))
        if sock:
            task = asyncio.ensure_future(_read_to_the_end(closing, sock))
            self._ends[task] = key
            task.add_done_callback(self._ends.pop)
        await asyncio.shield(closing)  # the application ends meanwhile, and cancels who waits here


async def _say(message: Message, send: Send) -> None:
    await send(message)


async def _read_to_the_end(closing: asyncio.Future[None], sock: socket.socket) -> None:
    with sock, contextlib.suppress(OSError):  # TimeoutError is one
        await closing
        sock.shutdown(socket.SHUT_WR)
        sock.setblocking(False)
        async with asyncio.timeout(_AFTERWARDS):
            while await asyncio.get_running_loop().sock_recv(sock, 65536):
                pass


def _rests(sight: Sight) -> bool:
    return not (sight.unread or sight.unsent or sight.heard) and sight.quiet >= QUIET


def _key(scope: Scope) -> Key:
    host, port = scope["client"]
    return (str(scope["server"][1]), host, str(port))

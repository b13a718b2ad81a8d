"""The standard library's servers: streams of asyncio, and socketserver."""

from __future__ import annotations

import asyncio
import socketserver
import weakref
from typing import TYPE_CHECKING, Any

from overseer.errors import ConfigError
from overseer.serve.accepting import stop_accepting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overseer.program.state import State

_STEP = 0.05
"""Seconds between two looks at the connections of a generation that drains."""
_HANDSHAKE = 5.0
"""Seconds that who was accepted before has for shaking hands."""


async def serve_streams(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    state: State,
    options: dict[str, Any],
) -> None:
    """See `overseer.serve.asyncio`."""
    loop = asyncio.get_running_loop()
    open_ones: set[asyncio.Task[None]] = set()
    arriving: weakref.WeakSet[_Arriving] = weakref.WeakSet()
    limit = {"limit": options.pop("limit")} if "limit" in options else {}

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        open_ones.add(task)
        try:
            await handler(reader, writer)
        finally:
            open_ones.discard(task)
            writer.close()

    def make() -> _Arriving:
        one = _Arriving(asyncio.StreamReader(**limit, loop=loop), attend, loop=loop)
        one.arriving = arriving
        arriving.add(one)
        return one

    servers = [await loop.create_server(make, sock=sock, **options) for sock in state.listeners]
    state.ready()
    await state.draining
    stop_accepting(servers)
    patience = loop.time() + _HANDSHAKE
    while True:
        await asyncio.sleep(_STEP)  # first of all: who was accepted a moment ago becomes a task now
        if open_ones:
            await asyncio.wait(open_ones)
        elif not arriving or loop.time() >= patience:
            break
    for server in servers:
        server.close()


class _Arriving(asyncio.StreamReaderProtocol):
    """A connection that is known from its acceptance on, and not only when it has shaken hands for TLS."""

    arriving: weakref.WeakSet[_Arriving]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Arrive."""
        self.arriving.discard(self)
        super().connection_made(transport)


def serve_standard(server: socketserver.BaseServer, state: State) -> None:
    """See `overseer.serve.socketserver`."""
    if len(state.listeners) != 1:
        raise ConfigError("addresses", "one server of socketserver serves one address")
    if isinstance(server, socketserver.ThreadingMixIn):
        server.daemon_threads, server.block_on_close = False, True
    server.socket.close()  # type: ignore[attr-defined]
    server.socket = state.listener  # type: ignore[attr-defined]
    state.on_drain(server.shutdown)
    state.ready()
    server.serve_forever(poll_interval=0.1)
    server.server_close()

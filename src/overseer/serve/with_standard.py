"""The standard library's servers: streams of asyncio, and socketserver."""

from __future__ import annotations

import asyncio
import socketserver
from typing import TYPE_CHECKING, Any

from overseer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overseer.program.state import State


async def serve_streams(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    state: State,
    options: dict[str, Any],
) -> None:
    """See `overseer.serve.asyncio`."""
    open_ones: set[asyncio.Task[None]] = set()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        open_ones.add(task)
        try:
            await handler(reader, writer)
        finally:
            open_ones.discard(task)
            writer.close()

    servers = [await asyncio.start_server(attend, sock=sock, **options) for sock in state.listeners]
    state.ready()
    await state.draining
    for server in servers:
        server.close()
    await asyncio.sleep(0)  # who was accepted a moment ago becomes a task now
    while open_ones:
        await asyncio.wait(open_ones)


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

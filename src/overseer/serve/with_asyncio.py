"""Streams of asyncio, with a drain that loses nothing."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any

from overseer.serve.accepting import stop_accepting
from overseer.serve.closing import Closing, end_soon
from overseer.serve.starting import ready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overseer.program.state import State

_STEP = 0.05
"""Seconds between two looks at the connections of a generation that drains."""
_HANDSHAKE = 5.0
"""Seconds that who was accepted before has for shaking hands."""


async def run(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    state: State,
    options: dict[str, Any],
) -> None:
    """See `overseer.serve.asyncio`."""
    loop = asyncio.get_running_loop()
    open_ones: set[_Arriving] = set()
    tasks: set[asyncio.Task[None]] = set()
    arriving: weakref.WeakSet[_Arriving] = weakref.WeakSet()
    limit = {"limit": options.pop("limit")} if "limit" in options else {}
    tls = options.get("ssl")
    closing = Closing(tls, options.pop("ssl_shutdown_timeout", None) if tls else None)

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await handler(reader, writer)
        finally:
            tasks.discard(task)
            if not writer.is_closing():
                writer.close()

    def make() -> _Arriving:
        one = _Arriving(asyncio.StreamReader(**limit, loop=loop), attend, loop=loop)
        one.arriving, one.open_ones, one.closing = arriving, open_ones, closing
        arriving.add(one)
        return one

    options |= closing.options
    servers = [await loop.create_server(make, sock=sock, **options) for sock in state.listeners]
    ready(state)
    await state.draining
    stop_accepting(servers)
    patience = loop.time() + _HANDSHAKE
    while True:
        await asyncio.sleep(_STEP)  # first of all: who was accepted a moment ago becomes a task now
        for one in open_ones:
            one.end_if_left()
        if not (open_ones or tasks) and (not arriving or loop.time() >= patience):
            break
    for server in servers:
        server.close()


class _Arriving(asyncio.StreamReaderProtocol):
    """A connection that is known from its acceptance on, and not only when it has shaken hands for TLS.

    It is open until its client has got all that was written, which may be long after its handler has ended.
    """

    arriving: weakref.WeakSet[_Arriving]
    open_ones: set[_Arriving]
    closing: Closing
    _made: asyncio.BaseTransport
    _sock: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Arrive."""
        self.arriving.discard(self)
        self.open_ones.add(self)
        self._made, self._sock = transport, transport.get_extra_info("socket")
        self.closing.watch(self, transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Be over."""
        self.open_ones.discard(self)
        self.closing.forget(self)
        super().connection_lost(exc)

    def end_if_left(self) -> None:
        """Do not wait for ever for a client that does not look at what has been closed."""
        if self._sock and self.closing.options and self._made.is_closing():
            end_soon(self._made, self._sock)
            self._sock = None

"""The end of accepting in asyncio, which drops a connection if it is done as the documentation has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def stop_accepting(servers: Iterable[asyncio.AbstractServer]) -> None:
    """Accept no more, from now on. The servers are closed later, by `close`, a round of the loop at least.

    A server of asyncio accepts in one round of its loop and makes the transport in the next. If it is closed
    between them, the transport cannot be attached to it (`Server._attach`, up to Python 3.14), and what was
    accepted is thrown away without a word. Loops of others, such as uvloop's, do both in one step.
    """
    loop = asyncio.get_running_loop()
    for server in servers:
        if isinstance(loop, asyncio.SelectorEventLoop) and isinstance(server, asyncio.Server):
            for sock in server.sockets:
                loop.remove_reader(sock)
        else:
            server.close()

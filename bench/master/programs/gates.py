"""The smallest applications for servers that want WSGI or ASGI; they answer with the process that answers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def wsgi(
    _environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
) -> list[bytes]:
    """Answer a WSGI server."""
    start_response("200 OK", [("Content-Length", "0"), ("X-Generation", str(os.getpid()))])
    return []


async def asgi(
    scope: dict[str, Any], _receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """Answer an ASGI server, which may ask without a request first (lifespan): that is refused."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    headers = [(b"content-length", b"0"), (b"x-generation", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

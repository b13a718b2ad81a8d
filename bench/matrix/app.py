"""The same little program for servers of WSGI and of ASGI: it reads the body, and answers with a word.

A header tells who answers.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

BORN = f"{os.getpid()}@{time.monotonic():.6f}"
"""Who answers: a process, and when it began to import this, on the clock that all processes share."""

time.sleep(float(os.environ.get("IMPORT_SECONDS", "0")))  # as one that imports a lot

WORD = b"hello\n"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(WORD))), ("X-Generation", BORN)]


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer (PEP 3333)."""
    environ["wsgi.input"].read()
    start_response("200 OK", HEADERS)
    return [WORD]


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer (ASGI 3); no lifespan."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    while (await receive()).get("more_body"):
        pass
    headers = [(name.lower().encode(), text.encode()) for name, text in HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": WORD})

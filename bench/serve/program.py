"""Ours: the same little program by an adapter of overseer.serve: `program.py ADAPTER PORT LINGER`."""

from __future__ import annotations

import sys
from typing import Any, Final

import overseer
from bench.matrix.app import HEADERS, WORD, asgi, wsgi

ADAPTER, PORT, LINGER = sys.argv[1], sys.argv[2], float(sys.argv[3])
QUIET: Final[dict[str, Any]] = {
    "uvicorn": {"log_level": "warning"},
}
"""What each server of `asgi` is told."""


def program(state: overseer.State) -> None:
    """Serve."""
    match ADAPTER:
        case "wsgi":
            overseer.serve.wsgi(wsgi, state, linger=LINGER, threads=16)
        case "aiohttp":
            from aiohttp import web  # noqa: PLC0415 - only for this one

            async def hello(request: web.Request) -> web.Response:
                await request.read()
                return web.Response(body=WORD, headers={"X-Generation": dict(HEADERS)["X-Generation"]})

            app = web.Application()
            app.router.add_route("*", "/{path:.*}", hello)
            overseer.serve.aiohttp(app, state, linger=LINGER)
        case server:
            overseer.serve.asgi(asgi, state, server=server, linger=LINGER, **QUIET.get(server, {}))


if __name__ == "__main__":
    overseer.run(program, address=f"127.0.0.1:{PORT}", max_draining=50)

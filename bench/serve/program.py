"""Ours: the same little program by an adapter of overseer.serve: `program.py ADAPTER PORT`."""

from __future__ import annotations

import sys

import overseer
from bench.matrix.app import WORD, asgi, wsgi

ADAPTER, PORT = sys.argv[1], sys.argv[2]


def program(state: overseer.State) -> None:
    """Serve."""
    match ADAPTER:
        case "asgi":
            overseer.serve.asgi(asgi, state, log_level="warning")
        case "wsgi":
            overseer.serve.wsgi(wsgi, state, threads=16)
        case _:
            from aiohttp import web  # noqa: PLC0415 - only for this one

            async def hello(request: web.Request) -> web.Response:
                await request.read()
                return web.Response(body=WORD)

            app = web.Application()
            app.router.add_route("*", "/", hello)
            overseer.serve.aiohttp(app, state)


if __name__ == "__main__":
    overseer.run(program, address=f"127.0.0.1:{PORT}", max_draining=50)

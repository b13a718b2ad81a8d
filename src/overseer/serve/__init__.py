"""Servers that people use, run so that a restart loses no request: `serve.asgi(app, state)` and its sisters.

Each is a few lines around a well-kept server, imported only when it is used. The program hands over its
`State` and gets back control when everybody has been answered:

    def program(state: overseer.State) -> None:
        overseer.serve.asgi(app, state)
"""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from overseer.errors import ConfigError
from overseer.serve import health, starting
from overseer.serve.needs import needs

if TYPE_CHECKING:
    import asyncio as aio
    import socketserver as standard
    import ssl
    from collections.abc import Awaitable, Callable

    from aiohttp import web
    from grpclib.server import Server

    from overseer.program.state import State

LINGER = 5.0
"""Seconds that a connection without a request may stay once its generation drains."""

THREADS = 20
"""Requests that `wsgi` answers at one time."""

SPREAD = 3.0
"""Seconds over which WebSockets are closed, so that their clients do not all come back at once."""


_ASGI = {
    "uvicorn": "serve",
    "hypercorn": "hypercorn",
    "granian": "granian",
}
"""Servers of `asgi`, and the extra that brings each."""


def asgi(
    app: Any,
    state: State,
    *,
    server: str = "uvicorn",
    linger: float = LINGER,
    spread: float = SPREAD,
    live: str = "",
    ready: str = "",
    **options: Any,
) -> None:
    """Serve an ASGI application on all listeners, until the program drains and all is answered.

    Ready is when the application's lifespan has started. While it drains: nothing more is accepted; answers
    carry `Connection: close`; a connection without a request lingers for up to `linger` seconds, and is
    handed to the next generation, or closed if that cannot be (TLS) and nothing has come on it;
    WebSockets are closed with 1012 (service restart) over `spread` seconds; event streams end between two
    events; then background tasks and the lifespan's shutdown. `live` and `ready` are paths that a load
    balancer asks, answered beside the application: 200, and for `ready` 503 when the whole service stops;
    none without.

    `server` is "uvicorn", "hypercorn" for HTTP/2, and HTTP/3 on an address of UDP, or "granian", on Linux;
    `options` are its own. Raises `ConfigError` where it is not installed, or for an option that says where to
    listen.
    """
    if server not in _ASGI:
        raise ConfigError("server", f"is {server!r}; overseer serves ASGI with {', '.join(_ASGI)}")
    starting.begin(state)
    needs("asgi", server, _ASGI[server])
    _has_listeners(state)
    if not (server == "uvicorn" and isinstance(app, str)):
        _is_application(app, "asgi")
    run = import_module(f"overseer.serve.with_{server}").run  # only when it is used
    app = health.asgi(app, health.Health(state, live, ready))
    run(app, state, linger=linger, spread=spread, options=options)


_TAKES = {"asgi": 3, "wsgi": 2}
"""How many things an application is called with."""


def _has_listeners(state: State) -> None:
    """Raise `ConfigError` where a server would start, be ready, and hear from nobody."""
    if not state.listeners:
        raise ConfigError("address", "is missing: say to overseer.run where to serve, as address=':3000'")


def _is_application(app: Any, kind: str) -> None:
    """Raise `ConfigError` for what could only fail at each request."""
    if not callable(app):
        raise ConfigError("app", f"is no application, but {app!r}: hand over the application itself")
    fits = [name for name, count in _TAKES.items() if _can_take(app, count)]
    if kind in fits or (kind == "asgi" and _can_take(app, 1)):  # with one thing: ASGI 2
        return
    if fits:
        raise ConfigError("app", f"is one of {fits[0].upper()}: serve it by overseer.serve.{fits[0]}")
    raise ConfigError("app", f"cannot be called as one of {kind.upper()} is: {app!r}")


def _can_take(app: Any, count: int) -> bool:
    try:
        signature(app).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # what is built in may not tell
        pass
    return True


def wsgi(
    app: Any,
    state: State,
    *,
    linger: float = LINGER,
    threads: int = THREADS,
    live: str = "",
    ready: str = "",
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
    **options: Any,
) -> None:
    """Serve a WSGI application with cheroot on all listeners, until the program drains and all is answered.

    As many requests as there are `threads` (20) are answered at one time; connections without a request need
    none. While it drains: nothing more is accepted; answers carry `Connection: close`; a connection without a
    request lingers for up to `linger` seconds, and is handed to the next generation, or under TLS closed when
    nothing has come on it; event streams (text/event-stream) end behind the next event. `live` and `ready`
    are those of `asgi`.

    With `ssl_certfile`, and `ssl_keyfile` unless the key is in the same file, it speaks HTTPS. `options` are
    cheroot's `server_name`, `timeout` (10 s, of silence, between two requests and within one),
    `max_request_body_size`, `max_request_header_size` (bytes, 0 for no limit) and `ssl_adapter`.
    Raises `ConfigError` where cheroot is not installed, or for another option.
    """
    starting.begin(state)
    needs("wsgi", "cheroot", "wsgi")
    _has_listeners(state)
    _is_application(app, "wsgi")
    from overseer.serve.with_cheroot import run  # noqa: PLC0415

    app = health.wsgi(app, health.Health(state, live, ready))
    certificate = (ssl_certfile, ssl_keyfile) if ssl_certfile else None
    if certificate:
        from overseer.serve import certificates  # noqa: PLC0415 - and with it ssl

        certificates.check(("ssl_certfile", ssl_certfile), ("ssl_keyfile", ssl_keyfile))
    run(app, state, linger=linger, threads=threads, certificate=certificate, options=options)


def aiohttp(
    app: web.Application,
    state: State,
    *,
    linger: float = LINGER,
    spread: float = SPREAD,
    live: str = "",
    ready: str = "",
    ssl_context: ssl.SSLContext | None = None,
    **options: Any,
) -> None:
    """Serve an application of aiohttp on all listeners, until the program drains and all is answered.

    Ready is when `on_startup` and the beginnings of `cleanup_ctx` are through. While it drains: nothing more
    is accepted; answers carry `Connection: close`; a connection without a request lingers for up to `linger`
    seconds, and is handed to the next generation, or under TLS closed when nothing has come on it; WebSockets
    are closed with 1012 (service restart) over `spread` seconds; event streams (text/event-stream) end
    between two events, and their handlers are cancelled as if the client had gone. Then `on_shutdown`, once
    everybody has been answered or, for handlers that wait for it, `linger` and `spread` seconds later at the
    latest; then `on_cleanup`.

    `ssl_context` makes it speak HTTPS; made in the program, it is made anew by each generation. `options` are
    those of `aiohttp.web.AppRunner`. Raises `ConfigError` for one that says where to listen.
    """
    starting.begin(state)
    needs("aiohttp", "aiohttp", "aiohttp")
    _has_listeners(state)
    from overseer.serve.with_aiohttp import add_health, run  # noqa: PLC0415

    add_health(app, health.Health(state, live, ready))
    run(app, state, linger=linger, spread=spread, ssl_context=ssl_context, options=options)


async def grpc(
    server: Server,
    state: State,
    *,
    linger: float = LINGER,
    ssl_context: ssl.SSLContext | None = None,
) -> None:
    """Serve calls with a server of grpclib on all listeners, until the program drains and all have ended.

    The server is made and not started. While it drains: nothing more is accepted; clients hear GOAWAY, and
    which of their calls is the last one that is taken (RFC 9113, 6.8), so that they open another connection
    for the next; unary and streaming calls are finished. A client that says nothing at all is left after
    `linger` seconds. `ssl_context` makes it speak TLS; clients want "h2" among its ALPN protocols. Made in
    the program, it is made anew by each generation. Raises `ConfigError` where grpclib is not installed.
    """
    starting.begin(state)
    needs("grpc", "grpclib", "grpc")
    _has_listeners(state)
    from overseer.serve.with_grpclib import run  # noqa: PLC0415

    await run(server, state, linger=linger, ssl_context=ssl_context)


async def asyncio(
    handler: Callable[[aio.StreamReader, aio.StreamWriter], Awaitable[None]],
    state: State,
    **options: Any,
) -> None:
    """Serve connections with a coroutine function, until the program drains and every one has been closed.

    Also what has been written by then is sent. `options` are those of `asyncio.start_server`; `ssl`, a
    context made in the program, is made anew by each generation, and `ssl_shutdown_timeout` (30 s) is for how
    long a client may take nothing once its connection is being closed. A handler that would wait for ever
    asks `state.draining`.
    """
    starting.begin(state)
    _has_listeners(state)
    from overseer.serve.with_asyncio import run  # noqa: PLC0415

    await run(handler, state, options)


def socketserver(server: standard.BaseServer, state: State, *, linger: float = LINGER) -> None:
    """Serve with a server of the standard library, `http.server` too, that was made without binding.

    It is given the listener; while the program drains it accepts no more, and what it has begun is finished:
    threads are waited for, also those that it would leave behind (`daemon_threads`). Handlers of
    `http.server` say `Connection: close` then; a connection without a request lingers for up to `linger`
    seconds, and is handed to the next generation, or closed if that cannot be (TLS, `ForkingMixIn`, a
    `get_request` of its own) and nothing has come on it. There another handler begins with it: what `setup`,
    or an earlier request, has left in this one is not handed over.

    It speaks TLS where its own socket was wrapped by a context, and shakes hands in the handler's thread.

    Raises:
        ConfigError: when there is another number of listeners than one, or the server would make something
            else of its socket as it begins to listen (`server_activate`): that is not called.

    """
    starting.begin(state)
    from overseer.serve.with_socketserver import run  # noqa: PLC0415

    run(server, state, linger=linger)

"""hypercorn, with a drain that loses nothing: HTTP/1.1, HTTP/2, and WebSockets over both.

hypercorn's own end closes every connection that has no request at that moment, resets streams of HTTP/2 that
are on their way without a word that they were not begun, and cuts what outlasts its `graceful_timeout`. So
only what speaks the protocols is its own here; connections are accepted, read, timed and ended by overseer,
see `hypercorn_connection`. What is used of hypercorn beyond its documentation, here its `Lifespan` and its
`WorkerContext`, stands in these two modules alone, and is tested with the oldest version that is supported
and with the one that is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import weakref
from typing import TYPE_CHECKING, Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.statsd import StatsdLogger
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from overseer.errors import ConfigError
from overseer.serve.accepting import stop_accepting
from overseer.serve.hypercorn_connection import Arriving, Connection, current
from overseer.serve.streams import Leaving

if TYPE_CHECKING:
    from overseer.program.state import State

_OURS = frozenset(
    {"bind", "insecure_bind", "quic_bind", "workers", "use_reloader", "backlog", "daemon", "pid_path"}
    | {"umask", "user", "group", "graceful_timeout", "worker_class"}
)
_STEP = 0.05
"""Seconds between two looks at the connections of a generation that drains."""


def run(app: Any, state: State, *, linger: float, spread: float, options: dict[str, Any]) -> None:
    """See `overseer.serve.asgi`."""
    config = _configured(options)
    asyncio.run(_Serving(app, state, config, linger=linger, spread=spread).run(), debug=config.debug)


def _configured(options: dict[str, Any]) -> Config:
    """Return hypercorn's configuration. Raises `ConfigError` for what it does not know, or what is ours."""
    known = {
        name
        for name, what in vars(Config).items()
        if not (name.startswith("_") or inspect.isfunction(what) or isinstance(what, classmethod))
        and not (isinstance(what, property) and what.fset is None)
    }
    for name in sorted(options):
        if name in _OURS:
            raise ConfigError(name, "is overseer's: say it to overseer.run, not to the server")
        if name.startswith("max_requests"):
            raise ConfigError(name, "would end the program, and with it the service")
        if name not in known:
            raise ConfigError(name, "is no option of hypercorn that serve.asgi knows")
    config = Config.from_mapping(options)
    config.set_statsd_logger_class(StatsdLogger)
    if (config.certfile is None) != (config.keyfile is None):
        missing = "keyfile" if config.keyfile is None else "certfile"
        raise ConfigError(missing, "is missing, and hypercorn would serve without TLS")  # and not say so
    return config


class _Serving:
    """One generation of a server."""

    def __init__(self, app: Any, state: State, config: Config, *, linger: float, spread: float) -> None:
        self._config = config
        self._context = WorkerContext(None)
        self._leaving = Leaving(app, lambda scope: current.get().goes_on(scope), spread=spread)
        self._memory: dict[str, Any] = {}
        self._state = state
        self._linger = linger
        self._arriving: weakref.WeakSet[Arriving] = weakref.WeakSet()  # accepted, and shaking hands for TLS
        self._open: dict[Connection, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until the program drains and everybody has been answered."""
        loop = asyncio.get_running_loop()
        lifespan = Lifespan(ASGIWrapper(self._leaving), self._config, loop, self._memory)  # type: ignore[arg-type]
        life = loop.create_task(lifespan.handle_lifespan())
        await lifespan.wait_for_startup()
        if life.done():
            life.result()
        tls = self._config.create_ssl_context()
        patience = self._config.ssl_handshake_timeout if tls else None
        servers = [
            await loop.create_server(self._make, sock=sock, ssl=tls, ssl_handshake_timeout=patience)
            for sock in self._state.listeners
        ]
        self._state.ready()
        await self._state.draining
        stop_accepting(servers)
        self._leaving.drains.set()
        await self._let_finish()
        for server in servers:
            server.close()
        await lifespan.wait_for_shutdown()
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life

    def _make(self) -> Arriving:
        arriving = Arriving(self._begin)
        self._arriving.add(arriving)  # from here on, and not only when it has shaken hands
        return arriving

    def _begin(self, arriving: Arriving, writer: asyncio.StreamWriter) -> None:
        connection = Connection(
            self._leaving, self._config, self._context, arriving, writer, memory=self._memory
        )
        self._arriving.discard(arriving)
        self._open[connection] = asyncio.ensure_future(connection.run())
        self._open[connection].add_done_callback(lambda _: self._open.pop(connection))

    async def _let_finish(self) -> None:
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._linger
        while True:
            late = loop.time() >= patience
            for connection in list(self._open):
                connection.leave(late=late)
            await asyncio.sleep(_STEP)  # also for those who were accepted a moment ago
            if not self._open and (late or not self._arriving):
                break

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
import logging
import socket
import weakref
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.statsd import StatsdLogger
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError

from overseer.errors import ConfigError
from overseer.serve import certificates
from overseer.serve.accepting import stop_accepting
from overseer.serve.closing import Closing
from overseer.serve.handing import Handing, into
from overseer.serve.hypercorn_connection import Arriving, Connection, current
from overseer.serve.needs import needs
from overseer.serve.starting import FAILED, ready
from overseer.serve.streams import Leaving

if TYPE_CHECKING:
    from collections.abc import Callable

    from overseer.program.listener import Listener
    from overseer.program.state import State
    from overseer.serve.hypercorn_http3 import Datagrams

_OURS = frozenset(
    {"bind", "insecure_bind", "quic_bind", "workers", "use_reloader", "backlog", "daemon", "pid_path"}
    | {"umask", "user", "group", "graceful_timeout"}
)
_STEP = 0.05
"""Seconds between two looks at the connections of a generation that drains."""


def run(app: Any, state: State, *, linger: float, spread: float, options: dict[str, Any]) -> None:
    """See `overseer.serve.asgi`."""
    config = _configured(options)
    if quic := [sock for sock in state.listeners if sock.type == socket.SOCK_DGRAM]:
        needs("asgi", "aioquic", "http3")
        if state.worker > 1:
            raise ConfigError("workers", "is 1 with HTTP/3: several would read each other's datagrams")
        if not config.ssl_enabled:
            raise ConfigError("certfile", "is missing, and there is no HTTP/3 without TLS")
        if not config.alt_svc_headers:
            config.alt_svc_headers = [f'h3=":{sock.getsockname()[1]}"; ma=3600' for sock in quic]
    with asyncio.Runner(debug=config.debug, loop_factory=_loops(config.worker_class)) as runner:
        try:
            runner.run(_Serving(app, state, config, linger=linger, spread=spread).run())
        except LifespanFailureError as error:  # its application has said so, with its own reason
            logging.getLogger("hypercorn.error").error("%s", error)  # noqa: TRY400 - the traceback is not its
            raise SystemExit(FAILED) from None


def _loops(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop that is asked for. Raises `ConfigError` for one that cannot be."""
    if name == "asyncio":
        return None
    if name == "uvloop" and find_spec(name):
        made: Callable[[], asyncio.AbstractEventLoop] = import_module(name).new_event_loop
        return made
    raise ConfigError(
        "worker_class", f"is {name!r}; overseer drains hypercorn on asyncio, and uvloop if installed"
    )


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
    if config.certfile is not None:
        certificate, key = ("certfile", config.certfile), ("keyfile", config.keyfile)
        certificates.check(certificate, key, config.keyfile_password)
    return config


def _goes_on(scope: Any) -> bool:
    """Whether an answer that is about to begin is not to end its connection: another request has come."""
    return scope["http_version"] in ("2", "3") or current.get().goes_on()  # those have another word for that


class _Serving:
    """One generation of a server."""

    def __init__(self, app: Any, state: State, config: Config, *, linger: float, spread: float) -> None:
        self._config = config
        self._context = WorkerContext(None)
        self._leaving = Leaving(app, _goes_on, spread=spread)
        self._memory: dict[str, Any] = {}
        self._state = state
        self._linger = linger
        self._arriving: weakref.WeakSet[Arriving] = weakref.WeakSet()  # accepted, and shaking hands for TLS
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._datagrams: list[Datagrams] = []

    async def run(self) -> None:
        """Serve until the program drains and everybody has been answered."""
        loop = asyncio.get_running_loop()
        self._handing = Handing(self._state, into(loop, self._make))
        lifespan = Lifespan(ASGIWrapper(self._leaving), self._config, loop, self._memory)  # type: ignore[arg-type]
        life = loop.create_task(lifespan.handle_lifespan())
        await lifespan.wait_for_startup()
        if life.done():
            life.result()
        tls = self._config.create_ssl_context()
        self._closing = Closing(tls)
        over_tls: dict[str, Any] = (
            {"ssl_handshake_timeout": self._config.ssl_handshake_timeout} if tls else {}
        )
        over_tls |= self._closing.options
        servers = []
        for sock in self._state.listeners:
            if sock.type == socket.SOCK_DGRAM:
                self._speak_quic(sock)
            else:
                servers.append(await loop.create_server(self._make, sock=sock, **over_tls))
        for each in self._datagrams:
            each.start()
        if not tls:
            self._handing.open()
        ready(self._state)
        await self._state.draining
        stop_accepting(servers)
        self._leaving.drains.set()
        await self._let_finish()
        self._handing.close()
        for server in servers:
            server.close()
        for each in self._datagrams:
            each.close()
        await lifespan.wait_for_shutdown()
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life

    def _speak_quic(self, sock: Listener) -> None:
        from overseer.serve.hypercorn_http3 import Datagrams  # noqa: PLC0415 - aioquic may not be installed

        self._datagrams.append(
            Datagrams(sock, self._state, self._leaving, self._config, self._context, memory=self._memory)
        )

    def _make(self) -> Arriving:
        arriving = Arriving(self._begin)
        self._arriving.add(arriving)  # from here on, and not only when it has shaken hands
        return arriving

    def _begin(self, arriving: Arriving, writer: asyncio.StreamWriter) -> None:
        connection = Connection(
            self._leaving,
            self._config,
            self._context,
            arriving,
            writer,
            memory=self._memory,
            handing=self._handing,
        )
        self._arriving.discard(arriving)
        self._closing.watch(arriving, writer.transport)
        self._open[connection] = asyncio.ensure_future(connection.run())
        self._open[connection].add_done_callback(lambda _: self._end(connection, arriving))

    def _end(self, connection: Connection, arriving: Arriving) -> None:
        del self._open[connection]
        self._closing.forget(arriving)

    async def _let_finish(self) -> None:
        self._handing.begin()
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._linger
        while True:
            late = loop.time() >= patience
            for connection in list(self._open):
                connection.leave(late=late)
            over = [each.leave(late=late) for each in self._datagrams]
            await asyncio.sleep(_STEP)  # also for those who were accepted a moment ago
            if not self._open and (late or not self._arriving) and all(over) and self._handing.is_over:
                break

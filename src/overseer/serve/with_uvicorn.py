"""uvicorn, with a drain that loses nothing.

uvicorn's own shutdown closes every connection that has no request at that moment, also one on which a request
is on its way: about one in five thousand. Here such a connection stays until its next request was answered,
which ends it, or until it has been silent for the whole linger; then it is closed only when the kernel has
nothing of it that is unread. What of uvicorn is used beyond its documentation stands in this module alone,
and is tested with the version that is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import weakref
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import uvicorn

from overseer.errors import ConfigError
from overseer.serve import certificates
from overseer.serve.accepting import stop_accepting
from overseer.serve.closing import Closing
from overseer.serve.handing import Handing, into
from overseer.serve.starting import FAILED, ready
from overseer.serve.streams import Leaving

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from overseer.program.state import State

_OURS = frozenset({"host", "port", "uds", "fd", "workers", "reload", "backlog"})
_STEP = 0.05
"""Seconds between two looks at the connections of a generation that drains."""


def run(app: Any, state: State, *, linger: float, spread: float, options: dict[str, Any]) -> None:
    """See `overseer.serve.asgi`."""
    if wrong := _OURS & options.keys():
        name = min(wrong)
        raise ConfigError(name, "is overseer's: say it to overseer.run (address, workers), not to the server")
    known = inspect.signature(uvicorn.Config).parameters.keys() - {"app"}
    for name in sorted(options.keys() - known):
        raise ConfigError(name, "is no option of uvicorn.Config")
    if options.get("ssl_certfile") and not options.get("ssl_context_factory"):
        certificate, key = ((name, options.get(name)) for name in ("ssl_certfile", "ssl_keyfile"))
        certificates.check(certificate, key, options.get("ssl_keyfile_password"))
    options.setdefault("http", "httptools" if find_spec("httptools") else "h11")
    config = uvicorn.Config(app, **options)
    config.load()
    arriving: weakref.WeakSet[Any] = weakref.WeakSet()
    closing = Closing(config.ssl)
    config.http_protocol_class = _attentive(config.http_protocol_class, arriving, closing)
    server = _Server(config, state, arriving, closing, linger=linger, spread=spread)
    server.run(sockets=list(state.listeners))
    if not (server.started or state.draining):
        raise SystemExit(FAILED)  # its application has said why; older ones return as if all were well


class _Server(uvicorn.Server):
    """uvicorn's server, told when to be ready and when to leave by overseer instead of by signals."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: State,
        arriving: weakref.WeakSet[Any],
        closing: Closing,
        *,
        linger: float,
        spread: float,
    ) -> None:
        super().__init__(config)
        self._state = state
        self._arriving = arriving  # accepted, and shaking hands for TLS
        self._closing = closing
        self._linger = linger
        self._spread = spread

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say that the program is ready."""
        leaving = self.config.loaded_app = Leaving(
            self.config.loaded_app, self._more_behind, spread=self._spread
        )
        await super().startup([])
        loop = asyncio.get_running_loop()
        for sock in (self.started and sockets) or ():  # uvicorn has no option for when TLS is cut
            options = {"backlog": self.config.backlog, **self._closing.options}
            self.servers.append(await loop.create_server(self._make, sock=sock, **options))
        self._handing = Handing(self._state, into(loop, self._make))

        def leave() -> None:
            leaving.drains.set()
            self.should_exit = True
            stop_accepting(self.servers)  # now, and not at the next tick: whoever knocks is the next one's

        def hear() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(leave)

        self._state.on_drain(hear)
        if self.started and not self.should_exit:
            if not self.config.is_ssl:
                self._handing.open()
            ready(self._state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let everybody finish, and then do what uvicorn does."""
        await self._let_finish()
        await super().shutdown(sockets)

    def _make(self) -> asyncio.Protocol:
        """Make what uvicorn makes for each connection."""
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    async def _let_finish(self) -> None:
        self._handing.begin()
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._linger
        while True:
            await asyncio.sleep(_STEP)  # first of all: who was accepted a moment ago is known now
            late = loop.time() >= patience
            over = not self.server_state.connections and (late or not self._arriving)
            if over and self._handing.is_over:
                break
            if late:
                for each in [c for c in self.server_state.connections if _is_http(c)]:
                    if _is_idle(each) and self._handing.part(each.transport):
                        each.shutdown()
        self._handing.close()

    def _more_behind(self, scope: Any) -> bool:
        """Whether a client has sent another request behind this one: it is answered, too."""
        for each in self.server_state.connections:
            if _is_http(each) and getattr(each, "client", None) == scope.get("client"):
                parser = getattr(each, "conn", None)
                return bool(parser.trailing_data[0] if parser else getattr(each, "pipeline", ()))
        return False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to overseer."""
        yield


def _is_http(connection: Any) -> bool:
    return hasattr(connection, "cycle")


def _attentive(protocol: Any, arriving: weakref.WeakSet[Any], closing: Closing) -> Any:
    """Return a protocol that knows whether anything has come since its last answer.

    It is among the `arriving` ones from the moment in which it is accepted until its connection is made.
    """
    if not (hasattr(protocol, "data_received") and hasattr(protocol, "on_response_complete")):
        raise ConfigError("http", "overseer drains uvicorn's protocols h11 and httptools")

    class Attentive(protocol):  # type: ignore[misc]
        heard = False

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            arriving.add(self)

        def connection_made(self, transport: Any) -> None:
            arriving.discard(self)
            super().connection_made(transport)
            closing.watch(self, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            closing.forget(self)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self.heard = True
            super().data_received(data)

        def on_response_complete(self) -> None:
            self.heard = False
            super().on_response_complete()

    return Attentive


def _is_idle(connection: Any) -> bool:
    """Whether no request is being answered on it, and none has begun to arrive."""
    cycle = connection.cycle
    return not connection.heard and (cycle is None or cycle.response_complete)

"""granian, with a drain that loses nothing.

granian's own end closes each connection that has no request at that moment, also one on which a request is on
its way, or that has just been opened, and a WebSocket below its client. It is said once, to all of them. So
it is said last: first the listener is taken away from below it, and its connections are looked at from
outside, until nothing is left for which that end would be the wrong one. What of granian is used beyond its
documentation stands in this module alone, and is tested with the version that is installed.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granian._granian import SocketHolder
from granian.asgi import LifespanProtocol
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from overseer.errors import ConfigError
from overseer.serve import certificates
from overseer.serve.below import Spare
from overseer.serve.calls import QUIET, Calls
from overseer.serve.entering import Entering
from overseer.serve.handing import Handing
from overseer.serve.outside import Connections, Door, Pace, backlog, can_look
from overseer.serve.starting import FAILED, ready, settle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overseer.program.draining import Draining
    from overseer.program.listener import Listener
    from overseer.program.state import State
    from overseer.serve.outside import Key

_log = logging.getLogger("overseer")

_OURS = frozenset({"address", "port", "uds", "uds_permissions", "workers", "backlog", "reload"})
_KINDS: dict[str, Any] = {
    "http": HTTPModes,
    "log_level": LogLevels,
    "ssl_protocol_min": SSLProtocols,
    "ssl_cert": Path,
    "ssl_key": Path,
    "ssl_ca": Path,
    "ssl_crl": lambda paths: [Path(path) for path in paths],
}
"""What granian wants of what is written as text."""
_REFUSED = {
    "interface": "is ASGI's, for overseer.serve.asgi",
    "factory": "makes the application: call it, and give what it returns",
    "task_impl": "is asyncio's",
    **dict.fromkeys(
        ("static_path_route", "static_path_mount", "static_path_dir_to_file", "static_path_expires"),
        "would have files served past the application, on connections that could not be told to end",
    ),
}
_BACKPRESSURE = 1024
"""Connections that a process has at one time, as on granian's command line; embedded it would be 128."""
_MOST = 2**31 - 1

_STEP = 0.05
"""Seconds between two looks at the connections of a generation that drains."""
_NAP = 0.001
"""Seconds before a look at one of them that may be ended."""
_FEW = 8
"""Connections that are given away in one step; where there are many, one in so many."""
_START = 30.0
"""Seconds that granian has to begin to listen."""


def run(app: Any, state: State, *, linger: float, spread: float, options: dict[str, Any]) -> None:
    """See `overseer.serve.asgi`."""
    if not can_look():
        raise ConfigError("server", f"granian is drained by means of Linux and /proc, not of {sys.platform}")
    if isinstance(app, str):
        raise ConfigError("app", f"is given to granian itself, not its name {app!r}")
    if any(listener.type != socket.SOCK_STREAM for listener in state.listeners):
        raise ConfigError("address", "is UDP, of which granian makes nothing")
    asyncio.run(_Serving(app, state, linger, spread, _checked(options)).run())


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as granian wants them."""
    known = inspect.signature(Server).parameters.keys() - {"target"}
    for name in options:
        if name in _OURS:
            raise ConfigError(
                name, "is overseer's: say it to overseer.run (address, workers), not to the server"
            )
        if name in _REFUSED:
            raise ConfigError(name, _REFUSED[name])
        if name not in known:
            raise ConfigError(name, "is no option of granian.server.embed.Server")
    made = {"log_level": "warning", "backpressure": _BACKPRESSURE, **options}
    if made.get("ssl_cert") is not None:
        made.setdefault("ssl_key", made["ssl_cert"])  # with a certificate alone, granian would not speak TLS
        certificate, key = ((name, made[name]) for name in ("ssl_cert", "ssl_key"))
        certificates.check(certificate, key, made.get("ssl_key_password"))
    for name, kind in _KINDS.items():
        if made.get(name) is not None:
            try:
                made[name] = kind(made[name])
            except ValueError as error:
                raise ConfigError(name, str(error)) from None
    return made


class _Server(Server):
    """granian's server for one listener, which it is given instead of where to bind."""

    def __init__(self, app: Any, listener: Listener, number: int, options: dict[str, Any]) -> None:
        name = listener.getsockname()
        host, port = name[:2] if isinstance(name, tuple) else (os.fsdecode(name), 0)
        super().__init__(app, address=host, port=port, interface=Interfaces.ASGINL, **options)
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as on those that it binds itself
        holder: Any = SocketHolder  # whose stub does not tell what it takes
        self._given = holder(number, listener.family == socket.AF_UNIX, _backlog(listener))

    def _init_shared_socket(self) -> None:
        self._ssp, self._shd = None, self._given


def _backlog(listener: Listener) -> int:
    """Return the backlog that a listener has: granian sets it anew, for everybody who has this socket."""
    told = re.search(r"[?&]backlog=(\d+)", listener.address)
    return backlog(listener) or (int(told[1]) if told else _MOST)


class _Serving:
    """One generation of a server."""

    def __init__(self, app: Any, state: State, linger: float, spread: float, options: dict[str, Any]) -> None:
        self._state = state
        self._options = options
        self._linger = linger
        self._lifespan: Any = LifespanProtocol(app)  # type: ignore[no-untyped-call]
        self._connections = Connections(state.listeners)
        self._calls = Calls(app, self._connections, spread=spread, state=self._lifespan.state)
        self._doors = [Door(listener) for listener in state.listeners]
        self._entering = Entering(self._doors, self._calls)
        self._handing = Handing(state, self._entering.take)
        self._heads = options.get("http1_settings", HTTP1Settings()).header_read_timeout / 1000

    async def run(self) -> None:
        """Serve until the program drains and everybody has been answered."""
        await self._lifespan.startup()
        if self._lifespan.interrupt:  # it has said so, with its own reason
            _log.error("the lifespan of the application has not started")
            raise SystemExit(FAILED)
        try:
            await self._serve()
        finally:
            await self._lifespan.shutdown()
        if self._lifespan.interrupt:
            raise RuntimeError("the lifespan of the application has not ended") from self._lifespan.exc

    async def _serve(self) -> None:
        settle()  # its threads accept as soon as it runs
        servers: list[Any] = [
            _Server(self._calls, listener, door.number, self._options)
            for listener, door in zip(self._state.listeners, self._doors, strict=True)
        ]
        logging.getLogger("_granian").addFilter(_is_news)
        running: list[asyncio.Future[Any]] = [asyncio.ensure_future(server.serve()) for server in servers]
        try:
            await self._begin(running)
            spare = Spare()
            # Not by the loop alone, which a call may block: granian would go on accepting, and nobody answer.
            self._state.on_drain(self._take_away)
            if not self._state.draining:
                if self._options.get("ssl_cert") is None and self._options.get("http") != HTTPModes.http2:
                    self._handing.open()
                ready(self._state)
            await _until(self._state.draining, running)
            self._take_away()
            spare.use()
            await self._calls.leave()
            await self._let_finish()
        finally:
            self._handing.close()
            for door in self._doors:
                door.close()
            for server in servers:
                server.stop()
        await self._let_granian_finish(running)
        self._connections.close()

    def _take_away(self) -> None:
        for door in self._doors:
            door.take_away()

    async def _begin(self, running: list[asyncio.Future[Any]]) -> None:
        loop = asyncio.get_running_loop()
        patience = loop.time() + _START
        while not all(door.is_watched() for door in self._doors):
            if any(one.done() for one in running) or loop.time() >= patience:
                raise RuntimeError("granian does not listen, or not in a way that overseer can end")
            await asyncio.sleep(_STEP / 10)

    async def _let_finish(self) -> None:
        """Wait until only those are left whom granian's own end suits."""
        self._handing.begin()
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._linger
        while True:
            await asyncio.sleep(_STEP)  # first of all: who is being accepted is there now
            over = self._handing.is_over and self._entering.is_over
            self._entering.pass_on(self._handing)
            left = await self._connections.look_by_and_by()
            ones = [key for key in left if not self._is_two(key)]
            now = loop.time()
            if now >= patience:
                await self._part_silent(ones, QUIET, heard=now >= patience + self._heads)
            if not ones and not self._calls.are_ones and over:
                return
            late = now >= patience and not self._calls.are_talks and over
            if late and len(ones) < len(left) and all(self._is_being_answered(key) for key in ones):
                return

    async def _let_granian_finish(self, running: list[asyncio.Future[Any]]) -> None:
        """Wait until its connections have ended; those of HTTP/2 have been told that they shall."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._linger
        while self._calls.unfinished or not all(one.done() for one in running):
            await asyncio.sleep(_STEP)
            if loop.time() >= patience:
                left = await self._connections.look_by_and_by()
                await self._part_silent(left, self._linger, heard=True)

    def _is_two(self, key: Key) -> bool:
        return self._options.get("http") == HTTPModes.http2 or self._calls.is_two(key)

    def _is_being_answered(self, key: Key) -> bool:
        """Whether granian's end would have a connection end behind the answer that it is giving."""
        if self._calls.is_told(key) or (key[1] and self._calls.is_running(key)):
            return True
        sight = self._connections.see(key)
        return sight is None or (sight.unsent and not sight.unread)

    async def _part_silent(self, left: Iterable[Key], patience: float, *, heard: bool) -> None:
        """Give connections that are quiet to the next generation, or end them where that cannot be.

        With `heard` those are ended, too, on which half a request has come. Not all are given at once: a
        request that comes on one of them waits until the next generation has taken in those before it.
        """
        ones = tuple(left)
        most = max(_FEW, len(ones) // _FEW)

        def give(sock: socket.socket) -> bool:
            nonlocal most
            given = self._handing.hand(sock)
            most = most - 1 if given else 0  # it takes no more at the moment
            return given

        pace = Pace(len(ones))
        for key in ones:
            if self._handing.hopes:
                await pace.step()
            else:  # who has just slept is hardly stopped between look and end
                await asyncio.sleep(_NAP)
            sight = self._connections.see(key)
            if not sight or self._calls.is_running(key) or self._calls.is_told(key):
                continue
            if sight.unread or sight.unsent or sight.quiet < patience:
                continue
            if not sight.heard and key[1] and self._handing.hopes:
                if most and self._handing.has_heir:
                    self._connections.part(key, sight, give)
            elif not sight.heard or heard:
                self._connections.end(key, sight)


async def _until(draining: Draining, running: list[asyncio.Future[Any]]) -> None:
    """Wait until the program drains. Raises `RuntimeError` when granian has ended before."""
    leaves = asyncio.ensure_future(draining)
    await asyncio.wait({leaves, *running}, return_when=asyncio.FIRST_COMPLETED)
    if not leaves.done():
        leaves.cancel()
        raise RuntimeError("granian has ended by itself")


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line is not the one that says that the embedded server is experimental."""
    return "experimental" not in record.getMessage()

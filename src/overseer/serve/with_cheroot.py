"""cheroot, with a drain that loses nothing.

cheroot parses requests and calls the application in its threads. Which connections are open, and when one of
them may end, is decided here, in one thread: a connection that is silent, also one that has just been opened,
waits in a selector and occupies none of the others.

What is not in cheroot's documentation is used here, in `cheroot_connection` and in `cheroot_gateway`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import selectors
import socket
import sys
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from cheroot import wsgi

from overseer.errors import ConfigError, ListenerDrainingError
from overseer.serve.cheroot_connection import Connection
from overseer.serve.cheroot_gateway import Gateway
from overseer.serve.handing import Handing
from overseer.serve.starting import ready
from overseer.serve.streams import EventsEnd

if TYPE_CHECKING:
    from overseer.program.state import State

_MAY_SAY = frozenset(
    {"server_name", "timeout", "max_request_body_size", "max_request_header_size", "ssl_adapter"}
)
_STEP = 0.5
"""Seconds between two looks for connections that have been silent for too long."""
_STEP_DRAINING = 0.05
_SWITCH = 1e-4
"""Seconds that another thread may hold the interpreter between a look at a connection and its end."""
_AFTERWARDS = 2.0
"""Seconds of silence after which a client that was told the end is left, though it has not said its own."""
_AFTERWARDS_AT_MOST = 30.0

_log = logging.getLogger("cheroot")


def run(
    app: Any,
    state: State,
    *,
    linger: float,
    threads: int,
    certificate: tuple[str, str | None] | None,
    options: dict[str, Any],
) -> None:
    """See `overseer.serve.wsgi`."""
    if wrong := options.keys() - _MAY_SAY:
        known = ", ".join(sorted(_MAY_SAY))
        raise ConfigError(min(wrong), f"is no option of serve.wsgi: there are threads, linger, {known}")
    if certificate:
        from cheroot.ssl.builtin import BuiltinSSLAdapter  # noqa: PLC0415 - and with it ssl

        path, key = certificate
        options["ssl_adapter"] = BuiltinSSLAdapter(path, key or path)
    _Server(app, state, linger=linger, threads=threads, options=options).serve()


class _Server(wsgi.Server):
    """cheroot's server with other connections, listeners and end than its own."""

    def __init__(
        self, app: Any, state: State, *, linger: float, threads: int, options: dict[str, Any]
    ) -> None:
        super().__init__(("0.0.0.0", 0), EventsEnd(app, state.draining.is_set), numthreads=threads)  # noqa: S104
        for name, value in options.items():
            setattr(self, name, value)
        self.gateway = Gateway
        self.software = f"{self.version} Server"
        self.leaving = False
        self._state = state
        self._linger = linger
        self._patience = float("inf")
        self._step = _STEP
        self._next_look = 0.0
        self._open: set[Connection] = set()
        self._back: deque[Connection] = deque()  # from the threads that had it
        self._cause: BaseException | None = None
        self._handing = Handing(state, self._take)
        self._handed: deque[socket.socket] = deque()  # from another generation
        self._wait = selectors.DefaultSelector()
        self._bell, self._rope = socket.socketpair()
        for end in (self._bell, self._rope):
            end.setblocking(False)

    def serve(self) -> None:
        """Serve until the program drains and every connection has ended."""
        self.requests.start()
        try:
            self._wait.register(self._bell, selectors.EVENT_READ, self._take_back)
            self._wait.register(self._state.draining, selectors.EVENT_READ, self._leave)
            for listener in self._state.listeners:
                listener.setblocking(False)
                self._wait.register(listener, selectors.EVENT_READ, partial(self._welcome, listener))
            if not self.ssl_adapter:
                self._handing.open()
            ready(self._state)
            while not self.leaving or self._open or not self._handing.is_over:
                self._turn()
        finally:
            self._handing.close()
            self.requests.stop(None if self.leaving and not self._open else self.shutdown_timeout)
            self._wait.close()
            self._bell.close()
            self._rope.close()

    def _turn(self) -> None:
        for key, _ in self._wait.select(self._step):
            if isinstance(key.data, Connection):
                self._attend(key.data)
            else:
                key.data()
        if self._cause:
            raise self._cause
        self._end_silent_ones()

    def _welcome(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError, ListenerDrainingError):
            return
        except OSError as error:
            _log.error("cannot accept a connection: %s", error)
            time.sleep(0.05)  # no descriptor is left, say: some connection ends meanwhile
            return
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._begin(sock)

    def _take(self, sock: socket.socket) -> None:
        """Take a connection that another generation had; called in a thread of overseer's."""
        self._handed.append(sock)
        self._ring()

    def _begin(self, sock: socket.socket) -> None:
        sock.settimeout(self.timeout)
        connection = Connection(self, sock)
        self._open.add(connection)
        self._await(connection)

    def _await(self, connection: Connection) -> None:
        connection.since = time.monotonic()
        self._wait.register(connection.socket, selectors.EVENT_READ, connection)

    def _attend(self, connection: Connection) -> None:
        """Do what a connection on which something has come calls for."""
        if connection.told_the_end:
            if connection.skip():
                self._end(connection)
            return
        self._wait.unregister(connection.socket)
        self.requests.put(connection)

    def _take_back(self) -> None:
        """Look after the connections that the threads are done with."""
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(4096)
        while self._handed:
            self._begin(self._handed.popleft())
        while self._back:
            connection = self._back.popleft()
            if connection.socket.fileno() < 0:
                self._open.discard(connection)
            elif not connection.told_the_end and connection.has_read_more():
                self.requests.put(connection)
            else:
                self._await(connection)

    def _leave(self) -> None:
        """Accept no more; whoever is here is answered."""
        self.leaving = True
        self._handing.begin()
        sys.setswitchinterval(_SWITCH)
        self._step = _STEP_DRAINING
        self._next_look = 0.0
        self._patience = time.monotonic() + self._linger
        self._wait.unregister(self._state.draining)
        for listener in self._state.listeners:
            self._wait.unregister(listener)

    def _end_silent_ones(self) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + self._step
        if self.leaving and self._handing.has_heir:
            self._hand_waiting()
        waiting = [key.data for key in self._wait.get_map().values()]
        for connection in [one for one in waiting if isinstance(one, Connection)]:
            if connection.told_the_end:
                if now > min(connection.since + _AFTERWARDS, connection.ended + _AFTERWARDS_AT_MOST):
                    self._end(connection)
            elif now > min(connection.since + self.timeout, self._patience):
                self._part(connection)

    def _hand_waiting(self) -> None:
        """Hand those over who wait for a thread, and of whom nothing was read: it may never come.

        Each thread may be held by a request that does not end, and that is what one restarts for.
        """
        threads = self.requests._queue  # noqa: SLF001
        for _ in range(threads.qsize()):
            try:
                connection = threads.get_nowait()
            except queue.Empty:
                return
            if not connection.has_read_more() and self._handing.hand(connection.socket):
                self._open.discard(connection)
                connection.forget()
            else:
                self.requests.put(connection)

    def _part(self, connection: Connection) -> None:
        """Hand a silent connection over, or else say its end: it waits, so nothing of it is being read."""
        if self._handing.hopes:
            if self._handing.hand(connection.socket):
                self._wait.unregister(connection.socket)
                self._open.discard(connection)
                connection.forget()
        elif connection.end_silent():
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        self._wait.unregister(connection.socket)
        self._open.discard(connection)
        connection.end()

    def put_conn(self, conn: Any) -> None:
        """Take a connection back from one of the threads, and wake up."""
        self._back.append(conn)
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # there is plenty to wake up for
            self._rope.send(b"!")

    @property
    def can_add_keepalive_connection(self) -> bool:
        """Whether a connection may stay: they cost a descriptor, and no thread."""
        return True

    @property
    def interrupt(self) -> BaseException | None:
        """What ended one of the threads, and with it the program."""
        return self._cause

    @interrupt.setter
    def interrupt(self, cause: BaseException | None) -> None:
        self._cause = cause
        self._ring()

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:  # noqa: FBT001, FBT002
        """Log it where a program looks for it."""
        _log.log(level, "%s", msg, exc_info=traceback)

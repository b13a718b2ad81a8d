"""The kinds of clients: what each does with its connections when its time has come.

Most are a script: bytes and the moments to send them, on a connection of their own. Those that speak
another language than HTTP/1, or listen to an answer that does not end, have modules of their own:
`talking`, `listening`, `http2`. A new kind is a class with the methods of `Client` and a line in `CLIENTS`;
what differs in how it reads belongs beside `answers`.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from bench.load.connection import Connection
from bench.load.heads import request
from bench.load.listening import Listening
from bench.load.outcomes import Failure, Outcome
from bench.load.plan import Drip, Events, Fresh, Http2, Kept, Kind, Late, Pipeline, Upload, WebSocket
from bench.load.talking import Talking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.load.setting import Setting


class Client(Protocol):
    """One kind of client in a run."""

    @property
    def weight(self) -> int:
        """How many requests one arrival is; each of them ends exactly once in the ledger.

        0: the client counts by itself what it begins.
        """

    def arrive(self, due: float) -> None:
        """Begin at the time `due` on the loop's clock, which is now or was a moment ago."""

    def sweep(self, now: float) -> None:
        """Give up what has waited too long without a connection of its own."""

    def stop(self) -> None:
        """Begin nothing more, and end what would not end by itself; what is under way is awaited."""

    def close(self) -> None:
        """Let go of all idle connections: the run is over, nothing is under way."""


Script = list[tuple[float, bytes]]
"""What to send, each with its seconds after the arrival, in order; what has 0 goes out with the connect."""


class Scripted:
    """Sends a script on a connection of its own. Latency counts from when its last bytes were due."""

    def __init__(self, setting: Setting, kind: Kind, script: Script, *, answers: int = 1) -> None:
        self.weight = answers
        self._setting = setting
        self._label = kind.label
        self._script = script
        self._last = script[-1][0]

    def arrive(self, due: float) -> None:
        """Connect and send what is due."""
        connection = Connection(self._setting, self._label)
        for _ in range(self.weight):
            connection.expect(due + self._last)
        connection.connect()
        for after, data in self._script:
            if after:
                self._setting.loop.call_at(due + after, connection.send, data)
            else:
                connection.send(data)

    def sweep(self, now: float) -> None:
        """Nothing waits outside of its connection."""

    def stop(self) -> None:
        """Every script has an end."""

    def close(self) -> None:
        """No connection outlives its script."""


class Pooled:
    """Keeps connections alive between requests."""

    weight = 1

    def __init__(self, setting: Setting, kind: Kept) -> None:
        self._setting = setting
        self._kind = kind
        self._label = kind.label
        self._request = request(setting, kind, close=False)
        self._chance = random.Random(setting.plan.seed)
        self._rested: OrderedDict[Connection, None] = OrderedDict()  # the longest idle first
        self._waiting: deque[float] = deque()  # requests due that found no connection
        self._size = 0  # connections that are open or being opened, and can be used again

    def arrive(self, due: float) -> None:
        """Use the connection idle longest, else open one, else wait for one."""
        connection = None if self._size < self._kind.connections else self._take()
        if connection is None:
            if self._size >= self._kind.most:
                self._waiting.append(due)
                return
            connection = self._new()
            self._ask(connection, due, connect=True)
        else:
            self._ask(connection, due)

    def sweep(self, now: float) -> None:
        """End requests that never got a connection."""
        while self._waiting and now > self._waiting[0] + self._setting.plan.timeout:
            self._setting.ledger.failed(
                Failure(
                    outcome=Outcome.TIMEOUT,
                    kind=self._label,
                    detail=f"no connection of {self._kind.most} became free",
                    due=self._waiting.popleft(),
                    at=now,
                    generation=None,
                    answered=0,
                    port=0,
                )
            )

    def stop(self) -> None:
        """What waits for a connection is under way."""

    def close(self) -> None:
        """Close the pool."""
        while self._rested:
            next(iter(self._rested)).close()

    def _new(self) -> Connection:
        self._size += 1
        return Connection(self._setting, self._label, self._freed)

    def _ask(self, connection: Connection, due: float, *, connect: bool = False) -> None:
        connection.expect(due)
        if connect:
            connection.connect()
        connection.send(self._request)

    def _take(self) -> Connection | None:
        while self._rested:
            connection, _ = self._rested.popitem(last=False)
            if connection.quiet():
                return connection
        return None

    def _freed(self, connection: Connection, usable: bool) -> None:  # noqa: FBT001 - a callback
        if not usable:
            self._size -= 1
            self._rested.pop(connection, None)
            if self._waiting:
                # Not from inside the end of the other: a server that refuses all would nest calls without
                # end.
                self._setting.loop.call_soon(self._serve_waiting)
            return
        least, most = self._kind.pause
        if most > 0:
            self._setting.loop.call_later(self._chance.uniform(least, most), self._rest_over, connection)
        else:
            self._rest_over(connection)

    def _rest_over(self, connection: Connection) -> None:
        if self._waiting:
            if connection.quiet():
                self._ask(connection, self._waiting.popleft())
        elif connection.usable:
            self._rested[connection] = None

    def _serve_waiting(self) -> None:
        if self._waiting and self._size < self._kind.most:
            self._ask(self._new(), self._waiting.popleft(), connect=True)


def _fresh(setting: Setting, kind: Fresh) -> Client:
    return Scripted(setting, kind, [(0.0, request(setting, kind, close=True))])


def _late(setting: Setting, kind: Late) -> Client:
    return Scripted(setting, kind, [(kind.wait, request(setting, kind, close=True))])


def _drip(setting: Setting, kind: Drip) -> Client:
    data = request(setting, kind, close=True)
    step = kind.over / (len(data) - 1)
    return Scripted(setting, kind, [(step * place, data[place : place + 1]) for place in range(len(data))])


def _upload(setting: Setting, kind: Upload) -> Client:
    script = [(0.0, request(setting, kind, method="POST", close=True, length=kind.size))]
    edges = [kind.size * number // kind.pieces for number in range(kind.pieces + 1)]
    for number in range(kind.pieces):
        piece = b"x" * (edges[number + 1] - edges[number])
        script.append((kind.over * (number + 1) / kind.pieces, piece))
    return Scripted(setting, kind, script)


def _pipeline(setting: Setting, kind: Pipeline) -> Client:
    data = request(setting, kind, close=False) * (kind.depth - 1) + request(setting, kind, close=True)
    return Scripted(setting, kind, [(0.0, data)], answers=kind.depth)


def _http2(setting: Setting, kind: Http2) -> Client:
    from bench.load.http2 import Multiplexed  # noqa: PLC0415 - h2 is there only where it is used

    return Multiplexed(setting, kind)


CLIENTS: Final[Mapping[type[Kind], Callable[[Setting, Any], Client]]] = {
    Fresh: _fresh,
    Kept: Pooled,
    Late: _late,
    Drip: _drip,
    Upload: _upload,
    Pipeline: _pipeline,
    WebSocket: Talking,
    Events: Listening,
    Http2: _http2,
}
"""Which client does what a kind wants."""

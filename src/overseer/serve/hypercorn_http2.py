"""HTTP/2 of hypercorn's, with an end that RFC 9113 (6.8) has.

A client hears GOAWAY twice: first with the highest number that a stream can have, so that every request that
is on its way is taken; and once it has answered a PING, and so has read that, with the number of the last one
that was. It opens another connection for its next request, and finishes here what it has begun. A connection
on which no request has come yet is told after its first one.

httpx takes GOAWAY for the end of all its requests whose answers it has not read, against the RFC. It hears
one alone, when it has answered a PING that was sent behind the last answer: what has come meanwhile was not
begun, and is above the number that it is told, so that it asks the next generation by itself. It fails within
itself if it is about to send then: so that is said when nothing comes. It does not see the end of a
connection that it keeps, either; so that is not said before the linger is over.

What is used of hypercorn beyond its documentation: `H2Protocol` with its constructor, `handle`, `initiate`,
`connection`, `streams`, `stream_buffers`, `task_group`, `closed`, `_handle_events`, `_close_stream` and
`_flush`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from h2.connection import ConnectionInputs
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, PingAckReceived, RequestReceived
from hypercorn.protocol.h2 import H2Protocol
from hyperframe.frame import GoAwayFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.events import Event

_HIGHEST = 2**31 - 1
_STEP = 0.05
"""Seconds between two looks at a connection that has had all the requests that it may have."""
_TOUCHY = b"python-httpx/"
"""How a client calls itself that ends all its requests when it hears GOAWAY."""
_QUIET = 0.1
"""Seconds in which nothing has come from it."""
_PATIENCE = 1.0
"""Seconds for which its next requests wait for the end of those before."""


class Http2(H2Protocol):
    """A connection of HTTP/2 that can be left."""

    was_told = False
    last: int | None = None
    """The last stream that is taken, once the client was told."""
    _leaves = False
    _touchy = False
    _asked = 0
    """How many PINGs were sent; the last one counts."""
    _waits = False
    """Whether one was sent behind the last answer."""
    _has_read = False
    """Whether it was answered."""
    _heard_at = 0.0
    _held: list[Event]
    """What has come on streams above `_taken`, and waits."""
    _taken: int | None = None
    _held_since = 0.0

    def __init__(self, write: Callable[[bytes], None], *common: Any) -> None:
        """Take what sends at once, and what hypercorn wants."""
        super().__init__(*common)
        self._write = write
        self._held = []
        self._turn = asyncio.Lock()
        # A client that says GOAWAY begins no more; hypercorn, and h2, would end what it has begun, too.
        machine = self.connection.state_machine
        process = machine.process_input
        machine.process_input = (  # type: ignore[method-assign]
            lambda input_: [] if input_ is ConnectionInputs.RECV_GOAWAY else process(input_)
        )
        # With that, hypercorn ends the streams that are open, too, after `keep_alive_max_requests`.
        self.connection.close_connection = lambda *_: self._leave_soon()  # type: ignore[method-assign]

    async def _handle_events(self, events: list[Event]) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        async with self._turn:
            if self._taken is None:
                events, self._held = self._held + events, []
            for event in events:
                await self._handle_event(event)
            await self._flush()

    async def _handle_event(self, event: Event) -> None:
        number = getattr(event, "stream_id", None) or 0
        if self._taken is not None and number > self._taken:
            if self.last is None:
                self._held.append(event)
        elif self.last is not None and isinstance(event, RequestReceived) and number > self.last:
            self.connection.reset_stream(number, ErrorCodes.REFUSED_STREAM)
        elif isinstance(event, DataReceived) and number not in self.streams:
            # It was answered before its end: hypercorn would fail, with all the other streams.
            self.connection.acknowledge_received_data(event.flow_controlled_length, number)
        elif isinstance(event, ConnectionTerminated) and self.streams:
            self.was_told, self.last = True, self.connection.highest_inbound_stream_id
        else:
            if isinstance(event, RequestReceived):
                agent = next((value for name, value in event.headers if name == b"user-agent"), b"")
                self._touchy |= bytes(agent).startswith(_TOUCHY)
            await super()._handle_events([event])
            if isinstance(event, PingAckReceived) and event.ping_data == self._asked.to_bytes(8):
                self._has_read = self._waits
                if self.was_told:
                    self._name_last(self.connection.highest_inbound_stream_id)

    def leave(self, *, late: bool) -> bool:
        """Say what is to be said now; return whether all has been said and done."""
        if self.was_told:
            if late:
                self._name_last(self.connection.highest_inbound_stream_id)
        elif self._touchy:
            self._wait_for_an_end(late=late)
        elif late or self.connection.highest_inbound_stream_id:
            self._tell()
        return self.last is not None and not self.streams and (late or not self._touchy)

    def _leave_soon(self) -> None:
        if not self._leaves:
            self._leaves = True
            self.task_group.spawn(self._leave)

    async def _leave(self) -> None:
        while not (self.closed or self.leave(late=False)):  # noqa: ASYNC110 - the client's time to read is one
            await asyncio.sleep(_STEP)

    def _wait_for_an_end(self, *, late: bool) -> None:
        """Begin nothing more, and ask whether the last answer was read; but do not wait for long."""
        now = asyncio.get_running_loop().time()
        if self._taken is None:
            self._taken, self._held_since = self.connection.highest_inbound_stream_id, now
        if self.streams or self.stream_buffers:
            if late:
                self._tell()
            if late or now >= self._held_since + _PATIENCE:
                self._go_on()
        elif not self._waits:
            self._waits = True
            self._ask()
        elif late or (self._has_read and now >= min(self._heard_at + _QUIET, self._held_since + _PATIENCE)):
            self.was_told = True
            self._name_last(self._taken)  # what is held is never begun

    def _go_on(self) -> None:
        """Begin what was held."""
        if self._taken is not None:
            self._taken, self._waits, self._has_read = None, False, False
            self.task_group.spawn(self._handle_events, [])

    def _tell(self) -> None:
        """Say that it will end, at some number."""
        self.was_told = True
        self._go_away(_HIGHEST)
        self._ask()

    def _ask(self) -> None:
        """Ask whether that was read."""
        self._asked += 1
        self.connection.ping(self._asked.to_bytes(8))
        self._write(self.connection.data_to_send())

    def _name_last(self, last: int) -> None:
        """Say which of the client's streams is the last one that is taken."""
        if self.last is None:
            self.last = last
            self._go_away(last)

    def _go_away(self, last: int) -> None:
        # Not by h2's own method, after which nothing more can be sent on the streams that are open.
        self._write(self.connection.data_to_send() + GoAwayFrame(0, last_stream_id=last).serialize())

"""Requests on streams of HTTP/2 connections, and servers that say GOAWAY."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from bench.load.answers import MOST_BODY_KEPT, Malformed
from bench.load.awaited import Account
from bench.load.heads import fields
from bench.load.link import LINGER, Link
from bench.load.outcomes import Outcome, outcome_of, outcome_of_status, said
from bench.load.partings import Parting, Partings

if TYPE_CHECKING:
    from bench.load.plan import Http2
    from bench.load.setting import Setting

TRIES: Final = 10
"""Times that a request is sent; a server that refuses each one serves nobody."""


class Asked:
    """One request, from when it is due to its end; what has come of its answer."""

    __slots__ = ("body", "due", "generation", "status", "tries")

    def __init__(self, due: float) -> None:
        self.due = due
        self.tries = 0
        self.status = 0
        self.generation: str | None = None
        self.body = b""

    def begin(self) -> None:
        """It is sent, once more perhaps; nothing has come."""
        self.tries += 1
        self.status, self.generation, self.body = 0, None, b""


def unseen(streams: list[int], parting: Parting) -> list[int]:
    """Return which of the streams the server has not processed and never will, as its GOAWAY says."""
    return [number for number in streams if number > parting.last]


def named(code: int) -> str:
    """Return an error of HTTP/2 as a report shows it."""
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"error {code}"


class Session(Link):
    """One HTTP/2 connection: asked on as long as the server wants it."""

    __slots__ = (
        *("_account", "_deadline", "_header", "_http", "_open"),
        *("_owner", "_partings", "_streams", "_told"),
    )

    alpn = "h2"

    def __init__(self, owner: Multiplexed, setting: Setting, kind: Http2) -> None:
        super().__init__(setting)
        self._owner = owner
        self._account = Account(setting.ledger, kind.label)
        self._header = setting.dialect.header
        # What is sent is the same each time, and right; looking at it again would cost a third of the rate.
        self._http = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._partings = Partings()
        self._streams: dict[int, Asked] = {}
        self._open = True  # new requests may be sent on it
        self._told = False  # the server has said GOAWAY
        self._deadline = 0.0  # of closing, once nothing is open on it and it is not used again
        self._http.initiate_connection()

    def begin(self) -> None:
        """Connect, and send what is asked until now."""
        self.connect()
        self._push()

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._streams)

    @property
    def room(self) -> bool:
        """Whether one more may be opened."""
        most = min(self._owner.kind.streams, self._http.remote_settings.max_concurrent_streams)
        return self._open and len(self._streams) < most

    def ask(self, asked: Asked) -> None:
        """Send a request; its answer is awaited from now on."""
        number = self._http.get_next_available_stream_id()
        asked.begin()
        self._streams[number] = asked
        self._http.send_headers(number, self._owner.fields, end_stream=True)
        self._push()

    def sweep(self, now: float) -> None:
        """Give up streams that have waited longer than they may, and a connection the server leaves open."""
        timeout = self._setting.plan.timeout
        late = [number for number, asked in self._streams.items() if now > asked.due + timeout]
        for number in late:
            asked = self._streams.pop(number)
            self._bad(Outcome.TIMEOUT, f"{timeout:g} s", asked, now)
            self._http.reset_stream(number, ErrorCodes.CANCEL)
        if late:
            self._push()
            self._done()
        elif self._deadline and now > self._deadline:
            if self._told:
                self._setting.ledger.connections["left open by the server"] += 1
            self.drop()

    def close(self) -> None:
        """Say goodbye, without waiting for anything: the run is over."""
        if self.there:
            self._http.close_connection()
            self._push()
        self.drop()
        self.mute()

    # --- what the system says ---

    def received(self, data: bytes) -> None:
        """Read frames: GOAWAY here, all others by h2."""
        try:
            for part in self._partings.feed(data):
                if isinstance(part, Parting):
                    self._parted(part)
                else:
                    for event in self._http.receive_data(part):
                        self._hear(event)
                if not self.there:
                    return
        except (Malformed, ProtocolError) as error:
            self.unmade(Outcome.MALFORMED, str(error))
            return
        self._push()
        self._done()

    def ended(self) -> None:
        """Everything that is open on it has failed."""
        self._gone(Outcome.CLOSED, self.end, "closed while idle")

    def lost(self, error: OSError) -> None:
        """Everything that is open on it has failed."""
        self._gone(outcome_of(error), said("connection", error), "reset while idle")

    def unmade(self, outcome: Outcome, detail: str) -> None:
        """Everything that is open on it has failed, or it has, alone."""
        now = self._setting.loop.time()
        self._account.port = self.port
        if not self._streams:
            self._account.alone(outcome, detail, now)
        self._fail(outcome, detail)

    def mute(self) -> None:
        """Nothing more is asked on it."""
        if self._open:
            self._open = False
            self._owner.gone(self)

    # --- what that means ---

    def _hear(self, event: Event) -> None:
        number = getattr(event, "stream_id", None)
        asked = self._streams.get(number) if isinstance(number, int) else None
        if isinstance(event, DataReceived):
            self._http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            if asked is not None and self._setting.dialect.body is not None:
                asked.body += (event.data or b"")[: MOST_BODY_KEPT - len(asked.body)]
        elif asked is None:
            return
        elif isinstance(event, ResponseReceived):
            for name, text in event.headers or ():
                if name == b":status":
                    asked.status = int(text)
                elif name == self._header:
                    asked.generation = bytes(text).decode("latin-1")
        elif isinstance(event, StreamEnded):
            del self._streams[event.stream_id]
            self._answered(asked)
        elif isinstance(event, StreamReset):
            del self._streams[event.stream_id]
            self._reset(asked, int(event.error_code or 0))

    def _answered(self, asked: Asked) -> None:
        now = self._setting.loop.time()
        generation = asked.generation or self._setting.dialect.in_body(asked.body)
        outcome = outcome_of_status(asked.status)
        if outcome is Outcome.OK:
            self._account.good(asked.due, now, generation)
        else:
            self._account.ledger.heard(generation, now, self._account.kind)
            self._bad(outcome, f"status {asked.status}", asked, now)

    def _reset(self, asked: Asked, code: int) -> None:
        if code != ErrorCodes.REFUSED_STREAM:
            detail = f"stream reset: {named(code)}"
            self._bad(Outcome.RESET, detail, asked, self._setting.loop.time())
            return
        self.mute()  # to be tried on another connection, and the next ones too
        self._again(asked)

    def _again(self, asked: Asked) -> None:
        if asked.tries >= TRIES:
            detail = f"refused {asked.tries} times, each time before it was processed"
            self._bad(Outcome.REFUSED, detail, asked, self._setting.loop.time())
        else:
            self._account.apart("retried")
            self._owner.again(asked)

    def _parted(self, parting: Parting) -> None:
        if not self._told and not parting.code:
            self._account.apart("told to leave")
        self._told = True
        self.mute()
        for number in unseen(list(self._streams), parting):
            self._again(self._streams.pop(number))
        if parting.code:
            self.unmade(Outcome.CLOSED, f"GOAWAY: {named(parting.code)}")

    def _done(self) -> None:
        """Let requests that wait for a stream go on; leave a connection that is not used any more."""
        if not self.there:
            return
        if self._open:
            self._owner.freed()
        elif not self._streams and not self._deadline:
            # Who was told to leave gives the server time to close first; else nobody else would.
            self._deadline = self._setting.loop.time() + (LINGER if self._told else 0.0)

    def _gone(self, outcome: Outcome, detail: str, idle: str) -> None:
        if not self._streams:
            if not self._told:
                self._setting.ledger.connections[idle] += 1
            self.drop()
            self.mute()
            return
        after = " after GOAWAY" if self._told else ""
        self._fail(outcome, f"{detail} with {len(self._streams)} streams open{after}")

    def _fail(self, outcome: Outcome, detail: str) -> None:
        now = self._setting.loop.time()
        while self._streams:
            _, asked = self._streams.popitem()
            self._bad(outcome, detail, asked, now)
        self.drop()
        self.mute()

    def _bad(self, outcome: Outcome, detail: str, asked: Asked, now: float) -> None:
        self._account.port = self.port
        self._account.bad(outcome, detail, asked.due, now)

    def _push(self) -> None:
        if self.there:
            data = self._http.data_to_send()
            if data:
                self.push(data)


class Multiplexed:
    """A few connections, and many requests at one time on each."""

    weight = 1

    def __init__(self, setting: Setting, kind: Http2) -> None:
        self.kind = kind
        self.fields = fields(setting, kind)
        self._setting = setting
        self._sessions: list[Session] = []
        self._waiting: deque[Asked] = deque()

    def arrive(self, due: float) -> None:
        """Ask where the fewest streams are open; else wait for one to end."""
        self._give(Asked(due))

    def again(self, asked: Asked) -> None:
        """Ask on another connection, soon, what a server has not processed."""
        self._setting.loop.call_soon(self._give, asked)

    def freed(self) -> None:
        """Some streams have ended: those who wait come first."""
        while self._waiting and (session := self._roomy()) is not None:
            if self._waiting:  # looking for one may have read, and served them
                session.ask(self._waiting.popleft())

    def gone(self, session: Session) -> None:
        """Ask no more on this one."""
        self._sessions.remove(session)
        if self._waiting:
            self._setting.loop.call_soon(self._serve_waiting)

    def sweep(self, now: float) -> None:
        """End requests that never got a stream."""
        timeout = self._setting.plan.timeout
        account = Account(self._setting.ledger, self.kind.label)
        while self._waiting and now > self._waiting[0].due + timeout:
            detail = f"no stream on {self.kind.connections} connections became free"
            account.bad(Outcome.TIMEOUT, detail, self._waiting.popleft().due, now)

    def stop(self) -> None:
        """Every request has an end."""

    def close(self) -> None:
        """Close all."""
        for session in list(self._sessions):
            session.close()

    def _give(self, asked: Asked) -> None:
        full = len(self._sessions) >= self.kind.connections
        if full and (roomy := self._roomy()) is not None:
            roomy.ask(asked)
        elif len(self._sessions) < self.kind.connections:  # perhaps since one was read, a moment ago
            session = Session(self, self._setting, self.kind)
            self._sessions.append(session)
            session.ask(asked)
            session.begin()
        else:
            self._waiting.append(asked)

    def _serve_waiting(self) -> None:
        if self._waiting:
            self._give(self._waiting.popleft())
            self.freed()

    def _roomy(self) -> Session | None:
        """Return the session with the fewest streams, which has heard all that the server has said."""
        while True:
            found = min((each for each in self._sessions if each.room), key=_streams, default=None)
            if found is None:
                return None
            found.poll()
            if found.room:
                return found


def _streams(session: Session) -> int:
    return session.streams

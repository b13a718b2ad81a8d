"""Streams of server-sent events, read for as long as they go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.load.answers import Answer, Malformed, Streamed
from bench.load.awaited import Account
from bench.load.eventstream import Event, EventStream, gap
from bench.load.heads import request
from bench.load.link import Link
from bench.load.outcomes import Outcome, outcome_of, outcome_of_status, said

if TYPE_CHECKING:
    from bench.load.answers import Head
    from bench.load.plan import Events
    from bench.load.setting import Setting


def fault_of(head: Head) -> tuple[Outcome, str] | None:
    """Return what is wrong with the head of a stream; None: nothing."""
    outcome = outcome_of_status(head.status)
    if head.status != 200:
        outcome = Outcome.STATUS if outcome is Outcome.OK else outcome
        return outcome, f"status {head.status} for a stream of events"
    if head.media != b"text/event-stream":
        return Outcome.MALFORMED, f"{head.media.decode('latin-1') or 'no type'}, not text/event-stream"
    return None


class Stream(Link):
    """One stream, from when it is due to its end."""

    __slots__ = (
        *("_account", "_answers", "_due", "_events", "_first"),
        *("_heard", "_last", "_open", "_owner", "_stop"),
    )

    def __init__(self, owner: Listening, setting: Setting, due: float) -> None:
        super().__init__(setting)
        self._owner = owner
        self._account = Account(setting.ledger, owner.kind.label)
        self._answers = Streamed(setting.dialect)
        self._events = EventStream()
        self._due = due
        self._first: float | None = None  # when the first event was here
        self._heard = due  # when the last bytes were
        self._last: int | None = None  # the number of the last event
        self._open = True
        self._stop = False

    def begin(self) -> None:
        """Connect and ask for the stream."""
        self.connect()
        self.push(request(self._setting, self._owner.kind, close=False, more=("Accept: text/event-stream",)))

    def stop(self) -> None:
        """Read no more once its first event is here: then it was going on well."""
        self._stop = True
        if self._first is not None:
            self._good(self._first)

    def sweep(self, now: float) -> None:
        """End it when it has been silent for longer than it may."""
        timeout, silence = self._setting.plan.timeout, self._owner.kind.silence
        if self._first is None:
            if now > self._due + timeout:
                self.unmade(Outcome.TIMEOUT, f"no event in {timeout:g} s")
        elif silence is not None and now > self._heard + silence:
            self.unmade(Outcome.TIMEOUT, f"silent for {silence:g} s")

    def close(self) -> None:
        """The run is over."""
        self._over(again=False)

    # --- what the system says ---

    def received(self, data: bytes) -> None:
        """Read events."""
        complete: list[Answer] = []
        fault = ""
        self._heard = self._setting.loop.time()
        try:
            self._answers.feed(data, complete)
        except Malformed as error:
            fault = str(error)
        if len(complete) + (bool(complete) and self._answers.part) > 1:
            fault = "more bytes than the answer announced"
        if self._answers.head is not None:
            self._read(self._answers.head)
        if not self._open:
            return
        if fault:
            self.unmade(Outcome.MALFORMED, fault)
        elif complete:
            self._ended_whole()

    def ended(self) -> None:
        """A whole answer would have been told before the end of the connection."""
        head = self._answers.head
        if head is None:
            detail = "with no answer"
        elif self._events.part:
            detail = "within an event"
        elif head.until_eof:
            detail = "of a stream without chunks, which no client can tell from a cut"
        else:
            detail = "with no last chunk"
        self.unmade(Outcome.CLOSED, f"{self.end} {detail}")

    def lost(self, error: OSError) -> None:
        """It was cut."""
        self.unmade(outcome_of(error), said("connection", error))

    def unmade(self, outcome: Outcome, detail: str) -> None:
        """It failed, and the next one is opened when one is due."""
        if self._open:
            self._account.port = self.port
            self._account.bad(outcome, detail, self._due, self._setting.loop.time())
        self._over(again=False)

    def mute(self) -> None:
        """Nothing is sent after the request."""

    # --- what that means ---

    def _read(self, head: Head) -> None:
        wrong = fault_of(head)
        self._account.generation = self._account.generation or head.generation
        if wrong is not None:
            self.unmade(*wrong)
            return
        for piece in self._answers.pieces():
            for event in self._events.feed(piece):
                if self._open:
                    self._hear(event)

    def _ended_whole(self) -> None:
        if self._events.part:
            self.unmade(Outcome.CLOSED, "the answer ended within an event")
            return
        self._account.apart("told to leave")
        self._good(self._heard if self._first is None else self._first)

    def _hear(self, event: Event) -> None:
        account = self._account
        fault = gap(self._last, event)
        if fault:
            self.unmade(Outcome.GAP, fault)
            return
        self._last = self._last if event.number is None else event.number
        account.answered += 1
        account.apart("events")
        if self._first is None:
            self._first = self._heard
            account.generation = account.generation or self._setting.dialect.in_body(event.data)
            account.ledger.heard(account.generation, self._heard, account.kind)
            if self._stop:
                self._good(self._first)

    def _good(self, at: float) -> None:
        account = self._account
        if self._open:
            if self._first is None:
                account.ledger.heard(account.generation, at, account.kind)
            account.ledger.good(account.kind, self._due, at, account.generation)
        # One that ends before its first event is not asked for again at once: it might end so for ever.
        self._over(again=self._first is not None)

    def _over(self, *, again: bool) -> None:
        self.drop()
        if self._open:
            self._open = False
            self._owner.over(self, again=again)


class Listening:
    """A number of streams, each opened again when it has ended."""

    weight = 0

    def __init__(self, setting: Setting, kind: Events) -> None:
        self.kind = kind
        self._setting = setting
        self._streams: set[Stream] = set()
        self._stopped = False

    def arrive(self, due: float) -> None:
        """Open another one, unless there are enough."""
        if len(self._streams) < self.kind.connections:
            stream = Stream(self, self._setting, due)
            self._streams.add(stream)
            self._setting.ledger.sent += 1
            stream.begin()

    def over(self, stream: Stream, *, again: bool) -> None:
        """This one has ended; `again`: come back at once, as a browser does."""
        self._streams.discard(stream)
        if again and not self._stopped:
            self._setting.loop.call_soon(self._return)

    def sweep(self, now: float) -> None:
        """Every stream has a connection."""

    def stop(self) -> None:
        """End every stream that is going on well; the others have until their time is over."""
        self._stopped = True
        for stream in list(self._streams):
            stream.stop()

    def close(self) -> None:
        """Close all."""
        for stream in list(self._streams):
            stream.close()

    def _return(self) -> None:
        if not self._stopped:
            self.arrive(self._setting.loop.time())

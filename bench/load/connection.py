"""HTTP/1 on one connection, and the requests that wait for their answers on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.load.answers import Answer, Answers, Malformed
from bench.load.awaited import Awaited
from bench.load.link import LINGER, Link
from bench.load.outcomes import Outcome, outcome_of, said

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.load.setting import Setting

_AFTER: Final = {
    "closed while idle": "closed by the server after the last answer",
    "reset while idle": "reset after the last answer",
    "unsolicited": "said more after the last answer",
}
"""The same events on a connection that is not used again."""


class Connection(Link):
    """A connection to the target.

    First `expect` what is to be sent, then `connect`, then `send`: whatever happens at any of these is then
    the outcome of a request that is known.

    Args:
        setting: shared with all others.
        kind: the name of the kind of client, for the ledger.
        free: called once for every time the last awaited answer is complete and the connection can be used
            again (True), and once when it is gone or no longer usable (False); None: it is used once.

    """

    __slots__ = ("_answers", "_awaited", "_deadline", "_free", "_silent", "_usable")

    def __init__(
        self, setting: Setting, kind: str, free: Callable[[Connection, bool], None] | None = None
    ) -> None:
        super().__init__(setting)
        self._free = free
        self._silent = True  # nothing was sent yet
        self._usable = True  # another request may be sent on it
        self._answers = Answers(setting.dialect)
        self._awaited = Awaited(setting.ledger, kind)
        self._deadline = 0.0  # of closing, once nothing more is expected and it is not used again

    # --- what clients ask ---

    def expect(self, due: float) -> None:
        """Say that a request is (or will have been) sent at `due`, whose answer is awaited from now on."""
        self._awaited.dues.append(due)

    def send(self, data: bytes) -> None:
        """Send as soon as the system takes it; nothing on a connection that is gone, whose end was told."""
        if self._usable:
            self._silent = False
            self.push(data)

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it, as far as is known."""
        return self._usable

    def quiet(self) -> bool:
        """Whether nothing came from the server, not even an end that the loop has not told yet; else close.

        It is what every good pool asks before it reuses an idle connection.
        """
        if self._socket is None or not self._usable:
            return False
        try:
            data = self.glance()
        except OSError as error:
            self.lost(error)
        else:
            if data is None:
                return True
            self._idle_end("unsolicited" if data else "closed while idle")
        return False

    def sweep(self, now: float) -> None:
        """End what has waited longer than it may."""
        if self._awaited.dues:
            if now > self._awaited.dues[0] + self._setting.plan.timeout:
                self.unmade(Outcome.TIMEOUT, f"{self._setting.plan.timeout:g} s {self._got()}")
        elif self._deadline and now > self._deadline:
            self._setting.ledger.connections["left open by the server"] += 1
            self.close()

    def close(self) -> None:
        """Close it and tell the pool; nothing may be expected on it."""
        self.drop()
        self.mute()

    # --- what the system says ---

    def received(self, data: bytes) -> None:
        """Read answers."""
        if not self._awaited.dues:
            self._idle_end("unsolicited")
            return
        complete: list[Answer] = []
        fault = ""
        try:
            self._answers.feed(data, complete)
        except Malformed as error:
            fault = str(error)
        if len(complete) + self._answers.part > len(self._awaited.dues):
            fault = "more bytes than the answer announced"
            del complete[len(self._awaited.dues) - 1 :]
        now = self._setting.loop.time()
        self._awaited.port = self.port
        for answer in complete:
            self._awaited.answer(answer, now)
        if fault:
            self.unmade(Outcome.MALFORMED, fault)
        elif not self._awaited.dues:
            self._done(complete[-1])

    def _done(self, last: Answer) -> None:
        """Everything sent so far is answered: keep it, or wait for the server to close."""
        if self._free is not None and self._usable and not last.close and not self._out:
            self._free(self, True)
            return
        if self._free is not None and self._usable:
            self._setting.ledger.connections["ended by the last answer"] += 1
        self._out = b""
        self._deadline = self._setting.loop.time() + LINGER
        self.mute()

    def ended(self) -> None:
        """Read the answer whose end this is; nothing else is answered any more."""
        if not self._awaited.dues:
            self._idle_end("closed while idle")
            return
        answer = None if self.cut else self._answers.eof()
        if answer is not None:
            self._awaited.answer(answer, self._setting.loop.time())
        self.unmade(Outcome.CLOSED, f"{self.end} {self._got()}")

    def lost(self, error: OSError) -> None:
        """Nothing is answered any more."""
        if not self._awaited.dues:
            self._idle_end("reset while idle")
            return
        self.unmade(outcome_of(error), f"{said('connection', error)} {self._got()}")

    def _got(self) -> str:
        if self._answers.part:
            return "after a part of an answer"
        return "before anything was sent" if self._silent else "with no answer"

    def _idle_end(self, word: str) -> None:
        """The server ended (or spoke on) a connection nothing was sent on: told, but no request's failure."""
        word = word if self._usable else _AFTER[word]
        self._setting.ledger.connections[word] += 1
        self.close()

    def unmade(self, outcome: Outcome, detail: str) -> None:
        """Everything still expected ended so."""
        self._awaited.port = self.port
        self._awaited.fail(outcome, detail, self._setting.loop.time())
        self.close()

    def mute(self) -> None:
        """It is not used again; the pool hears it once."""
        if self._usable:
            self._usable = False
            if self._free is not None:
                self._free(self, False)

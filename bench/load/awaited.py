"""The requests that wait for their answers on one connection, and the ends they come to."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from bench.load.outcomes import Failure, Outcome, outcome_of_status

if TYPE_CHECKING:
    from bench.load.answers import Answer
    from bench.load.ledger import Ledger


class Account:
    """What one connection has answered until now, for the failures that come after it.

    Args:
        ledger: where every end is written down.
        kind: the name of the kind of client.

    """

    __slots__ = ("answered", "generation", "kind", "ledger", "port")

    def __init__(self, ledger: Ledger, kind: str) -> None:
        self.port = 0
        self.answered = 0
        self.generation: str | None = None
        self.ledger = ledger
        self.kind = kind

    def good(self, due: float, now: float, generation: str | None) -> None:
        """What was due then is answered well now."""
        self.answered += 1
        if generation is not None:
            self.generation = generation
        self.ledger.answered(self.kind, due, now, generation)

    def bad(self, outcome: Outcome, detail: str, due: float, now: float) -> None:
        """What was due then has failed."""
        known = (self.generation, self.answered, self.port)
        self.ledger.failed(Failure(outcome, self.kind, detail, due, now, *known))

    def alone(self, outcome: Outcome, detail: str, now: float) -> None:
        """A connection failed while nothing was asked on it, and that counts: as one more that failed."""
        self.ledger.sent += 1
        self.bad(outcome, detail, now, now)

    def apart(self, word: str, count: int = 1) -> None:
        """Count something that is no failure, and worth a word of its own."""
        self.ledger.apart[self.kind][word] += count


class Awaited(Account):
    """When each was due, in the order they are sent. Every one ends in the ledger, exactly once."""

    __slots__ = ("dues",)

    def __init__(self, ledger: Ledger, kind: str) -> None:
        super().__init__(ledger, kind)
        self.dues: deque[float] = deque()

    def answer(self, answer: Answer, now: float) -> None:
        """The oldest has this answer."""
        due = self.dues.popleft()
        outcome = outcome_of_status(answer.status)
        if outcome is Outcome.OK:
            self.good(due, now, answer.generation)
            return
        self.answered += 1
        if answer.generation is not None:
            self.generation = answer.generation
        self.ledger.heard(answer.generation, now, self.kind)
        self.bad(outcome, f"status {answer.status}", due, now)

    def fail(self, outcome: Outcome, detail: str, now: float) -> None:
        """All of them ended so."""
        while self.dues:
            self.bad(outcome, detail, self.dues.popleft(), now)

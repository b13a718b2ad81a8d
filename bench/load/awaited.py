"""The requests that wait for their answers on one connection, and the ends they come to."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from bench.load.outcomes import Failure, Outcome, outcome_of_status

if TYPE_CHECKING:
    from bench.load.answers import Answer
    from bench.load.ledger import Ledger


class Awaited:
    """When each was due, in the order they are sent. Every one ends in the ledger, exactly once."""

    __slots__ = ("_answered", "_generation", "_kind", "_ledger", "dues", "port")

    def __init__(self, ledger: Ledger, kind: str) -> None:
        self.dues: deque[float] = deque()
        self.port = 0
        self._ledger = ledger
        self._kind = kind
        self._answered = 0
        self._generation: str | None = None

    def answer(self, answer: Answer, now: float) -> None:
        """The oldest has this answer."""
        due = self.dues.popleft()
        self._answered += 1
        if answer.generation is not None:
            self._generation = answer.generation
        outcome = outcome_of_status(answer.status)
        if outcome is Outcome.OK:
            self._ledger.answered(self._kind, due, now, answer.generation)
        else:
            self._ledger.heard(answer.generation, now)
            self._fail(outcome, f"status {answer.status}", due, now)

    def fail(self, outcome: Outcome, detail: str, now: float) -> None:
        """All of them ended so."""
        while self.dues:
            self._fail(outcome, detail, self.dues.popleft(), now)

    def _fail(self, outcome: Outcome, detail: str, due: float, now: float) -> None:
        known = (self._generation, self._answered, self.port)
        self._ledger.failed(Failure(outcome, self._kind, detail, due, now, *known))

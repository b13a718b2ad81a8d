"""What all connections of one run share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.load.shield import context_of

if TYPE_CHECKING:
    import asyncio
    import ssl

    from bench.load.answers import Dialect
    from bench.load.ledger import Ledger
    from bench.load.link import Link
    from bench.load.plan import Plan, Target


class Setting:
    """What all connections of a run share."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, target: Target, plan: Plan, dialect: Dialect, ledger: Ledger
    ) -> None:
        self.loop = loop
        self.target = target
        self.plan = plan
        self.dialect = dialect
        self.ledger = ledger
        self.open: set[Link] = set()
        self._trusts: dict[str, ssl.SSLContext] = {}
        if target.secure:
            self.trust("http/1.1")  # before the first request is due, and an error is the caller's

    def trust(self, alpn: str) -> ssl.SSLContext:
        """Return what is trusted by those who speak that language."""
        if alpn not in self._trusts:
            self._trusts[alpn] = context_of(self.plan.ca, alpn)
        return self._trusts[alpn]

    def sweep(self) -> None:
        """End what has waited too long; called now and then, as a timer per request would cost more."""
        now = self.loop.time()
        for connection in list(self.open):
            connection.sweep(now)

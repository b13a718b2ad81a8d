"""What can be asked for a program that knows nothing of overseer: every field of `Config`, and these."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from overseer import addresses, places
from overseer.config import Config
from overseer.errors import ConfigError
from overseer.foreign.acceptor import CAN_LOOK
from overseer.foreign.hasty import is_hasty
from overseer.foreign.placeholders import check
from overseer.settings import Foreign
from overseer.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overseer.settings import Settings


_TCP = {"tcp", "fd"}
"""Kinds of addresses that are of TCP, or may be."""


def _never(_state: object) -> None:
    """Stand where a native program has its function; it is never called."""


@dataclass(frozen=True, kw_only=True)
class Options(Config):
    """All options of `overseer run`. Times are seconds, signals names or numbers."""

    command: Sequence[str] = ()
    """What to run, and its arguments; after `--` on the command line."""
    ready: str = "accept"
    """`accept`: when it accepts a connection, or says READY=1; as `alive` where that is not seen (no address
    of TCP, not Linux). `alive`: after `ready_after`, or READY=1. `notify`: only READY=1."""
    ready_url: str = ""
    """Ready when this answers: `http://HOST:PORT/PATH` with a status below 400, or `tcp://HOST:PORT`."""
    drain_signal: int = int(signal.SIGTERM)
    """The signal that asks a generation to finish what it has and leave."""
    stop_signal: int = 0
    """The same, where the whole service stops; 0: the drain signal."""
    clean_exits: Sequence[int] = ()
    """Exit statuses beside 0 that mean a good end; minus a signal. A drained one may die of its signal."""
    env_files: Sequence[str] = ()
    """Files of NAME=VALUE lines, read anew by each generation; one with `-` in front may be missing."""
    directory: str = ""
    """Where to run; resolved anew by each generation, so that it may be a link to the current release."""
    blocking: bool = False
    """Hand the listeners over in blocking mode, for simple programs that wait in accept(2)."""

    def __post_init__(self) -> None:
        """Check what is special here, then everything else."""
        object.__setattr__(self, "program", _never)
        self._check_texts()
        if not self.command:
            raise ConfigError("command", "is missing; give it after --, as in overseer run -- ./server")
        object.__setattr__(self, "name", self.name or places.name_of_command(self.command))
        self._check_foreign()
        super().__post_init__()

    def _check_texts(self) -> None:
        """A file may hold anything; and a text where a list is meant would be taken for a list of letters."""
        for field in ("command", "addresses", "env_files"):
            given = getattr(self, field)
            if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
                raise ConfigError(field, f"{given!r} is not a list of texts")
            if any("\0" in one for one in given):
                raise ConfigError(field, f"{given!r}: no text in it may have a NUL")
        for field in ("ready", "ready_url", "directory", "address", "name"):
            given = getattr(self, field)
            if not isinstance(given, str) or "\0" in given:
                raise ConfigError(field, f"{given!r} is not a text")

    def _check_foreign(self) -> None:
        if self.ready not in ("accept", "alive", "notify"):
            raise ConfigError("ready", f"{self.ready!r} is none of accept, alive and notify")
        if self.ready_url:
            try:
                parts = urlsplit(self.ready_url)
                port = parts.port or parts.scheme == "http"
                right = parts.scheme in ("http", "tcp") and bool(parts.hostname and port)
            except ValueError:
                right = self.ready_url.startswith(("http://", "tcp://")) and "{port" in self.ready_url
            if not right:
                raise ConfigError(
                    "ready_url", f"{self.ready_url!r} is neither http://HOST:PORT/PATH nor tcp://HOST:PORT"
                )
        numbers = self.clean_exits
        if not isinstance(numbers, list | tuple) or not all(type(number) is int for number in numbers):
            raise ConfigError("clean_exits", f"{self.clean_exits!r} is not a list of whole numbers")
        for text in (*self.command, self.ready_url):
            check(text, self.listens_on)

    @property
    def knocks(self) -> bool:
        """Whether it is found out by knocking when the program is ready: its use of a listener is not seen.

        Not where there is none of TCP, nor on a system that does not tell who accepts.
        """
        kinds = {addresses.parse(text).kind for text in self.listens_on}
        return self.ready == "accept" and not self.ready_url and CAN_LOOK and not kinds.isdisjoint(_TCP)

    @property
    def lives(self) -> float:
        """Seconds of life that count as ready, where they do; endless if they never shall."""
        return inf if self.ready_after is None else self.ready_after

    def settings(self) -> Settings:
        """Return what the master has to know."""
        settings = super().settings()
        policy = settings.policy
        unasked = not (self.knocks or self.ready_url) and self.ready != "notify"
        policy = replace(policy, ready_after=self.lives if unasked else inf)
        foreign = Foreign(
            runs=True,
            drain_signal=self.drain_signal,
            stop_signal=self.stop_signal or self.drain_signal,
            clean_exits=tuple(self.clean_exits),
            probed=bool(self.ready_url) or (self.knocks and is_hasty(self.command, os.environ)),
            watchdog=self.watchdog,
        )
        return replace(settings, policy=policy, foreign=foreign)

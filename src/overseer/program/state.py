"""What a program is told about itself, and what it can say."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from overseer.errors import ConfigError
from overseer.program.draining import Draining
from overseer.program.shelf import OURS, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from overseer.program.listener import Listener
    from overseer.program.shelf import Stored


def _nothing(*_: object) -> None:
    """Say nothing: there is no master."""


@dataclass(frozen=True, kw_only=True)
class State:
    """The one argument of a program.

    A program says nothing about restarts but what it has to: it serves on its `listeners`, may say `ready()`
    when it can, and leaves when `draining` is set.
    """

    enabled: bool = False
    """Whether a master runs this program."""
    id: str = ""
    """SHA-256 of the running binary, in hex; empty where there is no single file."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When this process was let in."""
    listeners: Sequence[Listener] = ()
    """The listeners, in the order of the Config's addresses."""
    addresses: Sequence[str] = ()
    """The addresses of the Config, in their order."""
    bin_path: str = ""
    """The file that runs; for a release from the store, its place there."""
    version: str = ""
    """The Config's version."""
    generation: int = 0
    """Which run of the program this is, counted from 1 by the master; 0 without one."""
    worker: int = 0
    """Which process of its generation this is, counted from 1; a replacement gets a new number."""
    draining: Draining = field(default_factory=Draining)
    """Set when the program shall finish what it has and leave; see `Draining`."""
    say: Callable[[str, str], None] = field(default=_nothing, repr=False)
    """How `ready`, `alive` and `fail` reach the master; and `starting`, which promises `ready`."""
    shelf: Shelf = field(default_factory=lambda: Shelf(None, Draining()), repr=False)
    """How `store` and its sisters reach the master's store of descriptors."""

    @property
    def listener(self) -> Listener:
        """The first listener. Raises `ConfigError` where no address was given."""
        if not self.listeners:
            raise ConfigError("address", "was not given, so there is no listener")
        return self.listeners[0]

    @property
    def address(self) -> str:
        """The first address, or nothing."""
        return self.addresses[0] if self.addresses else ""

    @property
    def graceful_shutdown(self) -> Draining:
        """The original's name for `draining`."""
        return self.draining

    def ready(self) -> None:
        """Say that the program serves: the generation before may drain. Saying it again does nothing."""
        self.say("ready", "")

    def alive(self) -> None:
        """Say that the program is well; with the option `watchdog`, one that has not for so long is killed.

        It may be said as often as it comes: no more is sent than is needed.
        """
        self.say("alive", "")

    def fail(self, reason: str) -> None:
        """Say that this release will not do; on probation it is rolled back, with this reason in the log."""
        self.say("fail", reason)

    def on_drain(self, callback: Callable[[], object]) -> None:
        """Have `callback()` called when draining starts, in a thread of overseer; at once if it has."""
        self.draining.call(callback)

    def store(self, file: Any, name: str, data: bytes = b"") -> bool:
        """Have the master keep a copy of a socket (or another file) for the next generation.

        It is handed over, with its name and up to 48 KiB of data, when this generation drains or has gone;
        before, it is only kept. The same name again replaces it. Return whether there is a master to keep it.
        """
        if name.startswith(OURS):
            raise ValueError(f"{name!r} is taken: what begins with {OURS} is overseer's own")
        return self.shelf.store(file, name, data)

    def unstore(self, name: str) -> None:
        """Take it back: the master closes its copy. Whoever takes over what was stored says so, too."""
        self.shelf.unstore(name)

    @property
    def stored(self) -> Sequence[Stored]:
        """What earlier generations have left, as far as it has come: see `on_stored`."""
        return self.shelf.there()

    def on_stored(self, callback: Callable[[Stored], object]) -> None:
        """Have `callback(stored)` called for everything handed over to this worker, past and to come.

        In a thread of overseer; for what is here already, at once.
        """
        self.shelf.call(callback)


def digest(path: str) -> str:
    """Return the SHA-256 of a file in hex, or nothing where it cannot be read."""
    if not os.path.isfile(path):
        return ""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


DISABLED_STATE = State()
"""What a program holds that no master runs: not enabled, no listeners."""

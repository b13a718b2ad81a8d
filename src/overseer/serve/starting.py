"""The start of a server: it says itself when it is ready, and has nothing left to do then."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overseer.program.state import State

FAILED = 3
"""The status of a program whose application says that it cannot start; that of newer uvicorns."""


def begin(state: State) -> None:
    """Say that `ready` will be said: neither a listener's first use nor being alive counts as it.

    An application may take longer to start than `ready_after`, and may fail; the generation before serves.
    """
    state.say("starting", "")


def settle() -> None:
    """Collect garbage, and put the rest out of the collector's sight.

    A full collection looks at every object, while nothing else runs: 10 to 40 ms for a server with its
    libraries. A young generation makes its first ones within seconds of being ready, so after each restart
    some requests would wait for that. Here it makes one before anybody asks; what was made by then, modules
    for the most part, is not looked at again (`gc.freeze`).
    """
    gc.collect()
    gc.freeze()


def ready(state: State) -> None:
    """Settle, and say that this generation is ready."""
    settle()
    state.ready()

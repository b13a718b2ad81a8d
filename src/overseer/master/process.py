"""A master from its first instruction to its last: read the state, loop, end as the program ended."""

from __future__ import annotations

import os
import signal
import sys

from overseer.master import memory
from overseer.master.children import fill_standard_descriptors
from overseer.master.estate import Estate, read_world
from overseer.master.loop import Master
from overseer.master.signals import block, die_like


def main(argv: list[str]) -> int:
    """Be the master that the state in descriptor `argv[1]` describes; `--try` only reads it."""
    fill_standard_descriptors()
    fd = int(argv[1])
    state = memory.read(fd)
    if "--try" in argv:
        read_world(state)
        return 0
    os.close(fd)
    return serve(Estate(state))


def serve(estate: Estate) -> int:
    """Run the loop and return the exit code, or die by the signal that the program died of."""
    master = Master(estate)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # held back by whoever made us (see succession)
    status = master.run()
    block()  # Python gives signals back to the system before it ends: one that comes now would be our death
    if sys.stderr:  # not where it was closed when we were started
        sys.stderr.flush()
    return die_like(status)

"""How overseer speaks in a program that has not said how it wants to be spoken to.

Everything goes through the standard logger `overseer`. Where nobody has set logging up, warnings and worse
are written to standard error in the form of the master's own lines, so that a log has one voice.
"""

from __future__ import annotations

import logging
import sys


class _Unheard(logging.Handler):
    """Writes what no handler of the program would."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers or len(logging.getLogger("overseer").handlers) > 1:
            return
        line = f"overseer: {record.levelname.lower()}: {record.getMessage()}"
        if record.exc_info:
            line += "\n" + logging.Formatter().formatException(record.exc_info)
        if sys.stderr and not sys.stderr.closed:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def prepare() -> None:
    """Give the logger a voice of its own, once."""
    logger = logging.getLogger("overseer")
    if not any(isinstance(handler, _Unheard) for handler in logger.handlers):
        logger.addHandler(_Unheard(logging.WARNING))

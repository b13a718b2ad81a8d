"""What another master would be made of: this package and this interpreter."""

from __future__ import annotations

import os
import sys

from overseer.version import VERSION


def edition() -> dict[str, str]:
    """Return the version, the package's folder and the interpreter, as a hello has them."""
    return {
        "overseer": VERSION,
        "package": os.path.dirname(os.path.abspath(__file__)),
        "python": "" if getattr(sys, "frozen", False) else sys.executable,
    }

"""Servers that are known by their names: they call no `overseer.run`, and bind addresses of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES = frozenset(
    {"gunicorn", "uvicorn", "hypercorn", "daphne", "uwsgi", "granian", "waitress-serve", "puma", "nginx"}
)
_SHARES = frozenset({"granian"})
"""Those that bind with SO_REUSEPORT, so that two generations can have the same address."""


def server_in(command: Sequence[str]) -> str:
    """Return the name of the server that a command starts, nothing for what is not known."""
    first, second, third = (*map(os.path.basename, command[:3]), "", "", "")[:3]
    if first.startswith("python"):
        first = third if second == "-m" else second
    return first if first in _NAMES else ""


def needs_address(command: Sequence[str]) -> str:
    """Return the name of a server that two generations cannot both be, unless they are given a listener."""
    name = server_in(command)
    return "" if name in _SHARES or "--reuse-port" in command else name

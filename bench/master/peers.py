"""Peers: other masters, each as idle as it can be with one worker (or the fewest it takes)."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from bench.master.running import PROGRAMS, Running, free_port, tiny

if TYPE_CHECKING:
    from collections.abc import Callable

FLOOR: Final = "bare interpreter (-I -S)"
PARTS: Final = "with os, signal, selectors, socket, json"
OURS: Final = "overseer"
GUNICORN: Final = "gunicorn"
UVICORN: Final = "uvicorn --workers 2"
CIRCUS: Final = "circus"


def _interpreter(imports: str) -> Running:
    # It sleeps in the kernel as a master does, on a pipe that nobody writes to.
    code = f"{imports}\nfrom posix import pipe, read\nprint('serves', flush=True)\nread(pipe()[0], 1)"
    return Running([sys.executable, "-I", "-S", "-c", code])


def floor() -> Running:
    """Start an interpreter that does nothing."""
    running = _interpreter("")
    running.said(1)
    return running


def parts() -> Running:
    """Start an interpreter that has imported what any master in Python needs."""
    running = _interpreter("import os, signal, selectors, socket, json")
    running.said(1)
    return running


def overseer() -> Running:
    """Start the tiny program under overseer."""
    return _served(tiny("overseer"))


def gunicorn() -> Running:
    """Start gunicorn with one sync worker."""
    port = free_port()
    options = ["-w", "1", "-b", f"127.0.0.1:{port}", "--no-control-socket", "--log-level", "error"]
    return _served(Running([sys.executable, "-m", "gunicorn", *options, "gates:wsgi"], port=port))


def uvicorn() -> Running:
    """Start uvicorn with two workers: with one it has no parent."""
    port = free_port()
    options = ["--workers", "2", "--port", str(port), "--log-level", "error"]
    return _served(Running([sys.executable, "-m", "uvicorn", *options, "gates:asgi"], port=port))


def circus() -> Running:
    """Start circusd with one watcher of one process, the tiny program, bare."""
    port = free_port()
    ends = "".join(f"{name} = tcp://127.0.0.1:{free_port()}\n" for name in ("endpoint", "pubsub_endpoint"))
    watcher = f"cmd = {sys.executable} {PROGRAMS / 'tiny.py'} bare {port}\nnumprocesses = 1\n"
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as ini:
        ini.write(f"[circus]\n{ends}\n[watcher:tiny]\n{watcher}")
        ini.flush()
        command = [sys.executable, "-m", "circus.circusd", "--log-level", "error", ini.name]
        return _served(Running(command, port=port))


def _served(running: Running) -> Running:
    running.answers()
    return running


MASTERS: Final[dict[str, tuple[str, Callable[[], Running]]]] = {
    OURS: ("overseer", overseer),
    GUNICORN: ("gunicorn", gunicorn),
    UVICORN: ("uvicorn", uvicorn),
    CIRCUS: ("circus", circus),
}
"""Every master: the package it comes in, and how to start it."""


def installed() -> dict[str, Callable[[], Running]]:
    """Return the masters that can be started here."""
    return {name: start for name, (package, start) in MASTERS.items() if importlib.util.find_spec(package)}

"""Operators at work beside a service, with the commands they use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.process.service import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.service import Service

OVERSEER = [sys.executable, "-m", "overseer"]
"""The command."""


def environment(app: Service) -> dict[str, str]:
    """Return the environment of an operator who stands beside a service."""
    return {**os.environ, "RUNTIME_DIRECTORY": str(app.run_folder)}


def overseer(app: Service, *words: str, status: int = 0) -> str:
    """Type a command beside a service; return what it prints, on both ways."""
    done = subprocess.run(
        [sys.executable, "-m", "overseer", *words],
        env=environment(app),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == status, (done.stdout, done.stderr, app.log)
    return done.stdout + done.stderr


def begun(app: Service, *words: str) -> subprocess.Popen[str]:
    """Begin a command that goes on; what it prints is read from its standard output."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "overseer", *words],
        env=environment(app),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def named(name: str) -> Iterator[subprocess.Popen[str]]:
    """Run a service that is found by its name, as all of this user's are; it does not outlive the test."""
    env = {k: v for k, v in os.environ.items() if k != "RUNTIME_DIRECTORY"}
    words = [*OVERSEER, "run", "-n", name, "--", "sleep", "60"]
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as one:
        try:
            yield one
        finally:
            one.send_signal(signal.SIGQUIT)

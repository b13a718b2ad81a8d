"""Operators at work beside a service, with the commands they use."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.process.service import DEADLINE

if TYPE_CHECKING:
    from tests.process.service import Service


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

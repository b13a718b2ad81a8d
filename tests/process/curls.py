"""curl over restarts: a client of which nobody here wrote a line."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Curl:
    """curl, which asks for one thing after the other on one connection, as long as it can.

    It cannot be told not to try again when a connection that it had kept ends before the answer; but it says
    so, and that counts as a failure.
    """

    def __init__(self, port: int, out: Path, pace: Sequence[str], scheme: str = "http") -> None:
        self.out = out
        command = [
            "curl",
            "-q",
            "--verbose",
            "--no-progress-meter",
            *pace,
            "--noproxy",
            "*",
            "-o",
            os.devnull,
        ]
        command += ["--write-out", "%{stderr}done %{http_code} %{num_connects}\n"]
        with out.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, f"{scheme}://127.0.0.1:{port}/?[1-1000000]"], stderr=file
            )

    @property
    def answers(self) -> list[tuple[str, str]]:
        """Status and number of new connections of each answer."""
        return re.findall(r"^done (\d+) (\d+)$", self.out.read_text(), re.MULTILINE)

    @property
    def failures(self) -> list[str]:
        """What went wrong."""
        wrong = [f"status {status}" for status, _ in self.answers if status != "200"]
        return wrong + re.findall(
            r".*(?:[Rr]etrying|reset by peer|Empty reply|curl: ).*", self.out.read_text()
        )

    def end(self) -> None:
        """Ask no more."""
        self.process.terminate()
        self.process.wait()

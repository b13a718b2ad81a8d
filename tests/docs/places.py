"""Places in documentation, and what they become in a test: free loopback ports, a folder of one's own."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ADDRESS = re.compile(
    r"""(?P<quote>["'])(?P<name>(?:[\w.-]+=)?)(?P<kind>(?:tcp:|udp:)?)"""
    r"""(?P<host>127\.0\.0\.1|localhost|\[::1\]|\[::\]|0\.0\.0\.0|):(?P<port>\d{2,5})"""
    r"""(?P<options>(?:\?[^"']*)?)(?P=quote)"""
)
_URL = re.compile(r"https?://(?:localhost|127\.0\.0\.1|releases\.example\.com)(?::(?P<port>\d+))?/")
_ASKED = re.compile(r"\b(?P<host>localhost|127\.0\.0\.1):(?P<port>\d{4,5})\b")
_FOLDER = re.compile(r"(?<![\w./])/(?:run|srv|tmp|var/lib|var/run)/(?:[\w.-]+/)*(?P<name>[\w.-]+)")


def free_port() -> int:
    """Return a port that nobody listens on now, for TCP and UDP alike."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass
class Places:
    """One page's, or one block's, mapping from what is written to what is used."""

    folder: Path
    source: int = 0  # the port of the server that has releases
    ports: dict[str, int] = field(default_factory=dict)

    def port(self, written: str) -> int:
        """Return the free port that stands for a written one: always the same."""
        if written not in self.ports:
            self.ports[written] = free_port()
        return self.ports[written]

    def program(self, text: str) -> str:
        """Rewrite a program: its addresses, the URLs of its sources, its folders."""
        text = _ADDRESS.sub(self._address, text)
        text = _URL.sub(lambda _: f"http://127.0.0.1:{self.source}/", text)
        return _FOLDER.sub(lambda found: str(self.folder / found["name"]), text)

    def commands(self, text: str) -> str:
        """Rewrite commands, and what they are said to print."""
        text = _ASKED.sub(lambda found: f"127.0.0.1:{self.port(found['port'])}", text)
        return _FOLDER.sub(lambda found: str(self.folder / found["name"]), text)

    def _address(self, found: re.Match[str]) -> str:
        # Every interface becomes loopback: a test is nobody else's business.
        host = "[::1]" if ":" in found["host"] else "127.0.0.1"
        port = self.port(found["port"])
        quote = found["quote"]
        return f"{quote}{found['name']}{found['kind']}{host}:{port}{found['options']}{quote}"


def listened_on(text: str) -> list[tuple[str, str, int]]:
    """Return what a rewritten program listens on: (kind, host or path, port)."""
    found: list[tuple[str, str, int]] = [
        (match["kind"].rstrip(":") or "tcp", match["host"].strip("[]"), int(match["port"]))
        for match in _ADDRESS.finditer(text)
    ]
    unix = re.findall(r"""["'](?:[\w.-]+=)?unix:(/[^"'?]+)""", text)
    return found + [("unix", path, 0) for path in unix]

"""Releases to upgrade to, and a master to talk to: stand-ins that are real files and real sockets."""

from __future__ import annotations

import hashlib
import os
import select
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from overseer.fetcher import Download, Offer
from overseer.store import Store
from overseer.wire import Channel, Malformed

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from pathlib import Path

PATIENCE = 30.0
"""Seconds that a test waits for what must come; nothing is ever measured against it."""

ANSWER = """\
    import json, os
    fd = int(os.environ["OVERSEER_CHANNEL"].partition(":")[0])
    word = {"type": "checked", "token": os.environ["OVERSEER_TOKEN"], "protocol": 1,
            "overseer": "1", "version": VERSION, "config": {}}
    os.write(fd, json.dumps(word).encode() + b"\\n")
    raise SystemExit(0)
"""


def program(version: str = "1.0", *, before: str = "", answer: str = ANSWER) -> bytes:
    """Write a Python program that answers its check; `before` runs first, whatever the role."""
    return (
        f"#!/usr/bin/env python3\nimport os\nVERSION = {version!r}\n{before}\n"
        f'if os.environ.get("OVERSEER_ROLE") == "check":\n{answer}'
    ).encode()


def digest(content: bytes) -> str:
    """Name a release."""
    return hashlib.sha256(content).hexdigest()


def offer(
    content: bytes, *, seen: Mapping[str, str] | None = None, piece: int = 1 << 16, **known: Any
) -> Offer:
    """Offer some bytes."""
    pieces = [content[at : at + piece] for at in range(0, len(content), piece)]
    return Offer(seen=seen or {"etag": digest(content)}, open=lambda _: Download(0, iter(pieces)), **known)


def installed(folder: Path, content: bytes | None = None, *, name: str = "app") -> str:
    """Put a program in place as an operator would; return its path."""
    path = folder / name
    path.write_bytes(program() if content is None else content)
    path.chmod(0o755)
    return str(path)


def opened(binary: str, *, version: str = "1.0", **options: Any) -> Store:
    """Open a store and take the program in place as its first release."""
    store = Store.open(binary, {}, tell=Told(), **options)
    store.boot(version=version)
    return store


def content_of(path: str) -> bytes:
    """Read a file."""
    with open(path, "rb") as file:
        return file.read()


class Told(list[tuple[str, str]]):
    """What somebody was told, in order."""

    def __call__(self, level: str, text: str) -> None:
        """Be told."""
        self.append((level, text))


@dataclass
class Master:
    """The master's end of the channel to an updater."""

    sock: socket.socket
    heard: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sock.setblocking(False)
        self.channel = Channel(self.sock)

    def say(self, **word: Any) -> None:
        """Say a word."""
        self.channel.send(word)

    def hear(self, kind: str, *, where: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Wait for the next word of a type; fail with what was heard instead."""
        deadline = time.monotonic() + PATIENCE
        heard = []
        while True:
            while self.heard:
                word = self.heard.pop(0)
                if word["type"] == kind and where(word):
                    return word
                heard.append(word)
            left = deadline - time.monotonic()
            assert left > 0, f"no {kind!r} within {PATIENCE} s, but {heard}"
            if select.select([self.sock], [], [], left)[0]:
                words = self.channel.receive()
                assert words is not None, f"the updater has gone; it said {heard}"
                for word_ in words:
                    assert not isinstance(word_, Malformed), word_
                    self.heard.append(word_)

    def go(self) -> None:
        """Go, as a master does that was killed."""
        self.sock.close()


def inode(path: str) -> int:
    """Tell one file from another one of the same name."""
    return os.stat(path).st_ino

"""A self-upgrading program, as a test sees it: releases that are made, offered, and looked for on disk."""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import textwrap
import zipfile
from typing import TYPE_CHECKING, Any

from tests.process.service import Service, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROGRAM = """
import os, sys, threading
import overseer
from overseer import fetcher

BUILD = "BUILD_NUMBER"

def serve(state, connection):
    with connection:
        connection.settimeout(60)
        words = connection.recv(1000).split()
        if words[:1] == [b"hold"]:
            connection.sendall(b"held\\n")
            connection.recv(1000)
        if words[:1] == [b"fail"]:
            state.fail("it was asked to fail")
        if words[:1] == [b"exit"]:
            os._exit(5)
        connection.sendall(f"{BUILD} {state.generation} {os.getpid()}\\n".encode())

def ask(path):
    with open(path, "rb") as file:
        if b"RE" + b"FUSE" in file.read():
            raise ValueError("not on a Friday")

def program(state):
    # HERE
    print(f"app#{BUILD} listening", flush=True)
    while True:
        connection, _ = state.listener.accept()
        threading.Thread(target=serve, args=(state, connection)).start()

if __name__ == "__main__":
    # MAIN
    source = dict(fetcher=fetcher.File("next.py"), trust=overseer.Unsigned(), pre_upgrade=ask, version=BUILD)
    overseer.run(program, **source, **OPTIONS)
"""
"""A little server of one build; `here` and `main` put a fault into it."""


class Upgrading(Service):
    """One self-upgrading program under overseer: app.py, offered next.py."""

    def __init__(
        self,
        folder: Path,
        *,
        build: str = "1",
        args: Sequence[str] = (),
        name: str = "app.py",
        write: bool = True,
        program: str = PROGRAM,
        **options: Any,
    ) -> None:
        """Start a build; `options` are the program's own, short times by default."""
        options = {"probation": 0.5, "ready_timeout": 10, "terminate_timeout": 10, **options}
        super().__init__(
            folder, program.replace("BUILD_NUMBER", build), args=args, name=name, write=write, **options
        )

    @property
    def store(self) -> Path:
        """Where its releases are."""
        return self.folder / f".{self.app.name}.overseer"

    def source(
        self, build: str, here: str = "", main: str = "", *, text: str = PROGRAM, **options: Any
    ) -> str:
        """Return the text of a build, with statements put where it serves, or where it starts."""
        text = textwrap.dedent(text).replace("BUILD_NUMBER", build)
        text = text.replace("# HERE", here or "pass").replace("# MAIN", main or "pass")
        return text.replace("**OPTIONS", f"**{ {**self.options, **options}!r}")

    def offer(self, build: str, here: str = "", main: str = "", **options: Any) -> str:
        """Put a build where the fetcher looks; return its digest."""
        return self.offer_bytes(self.made(self.source(build, here, main, **options)))

    def offer_bytes(self, content: bytes) -> str:
        """Put anything where the fetcher looks; return its digest."""
        fresh = self.folder / "next.tmp"
        fresh.write_bytes(content)
        fresh.replace(self.folder / "next.py")
        return hashlib.sha256(content).hexdigest()

    @property
    def public(self) -> str:
        """The digest of the public file."""
        return hashlib.sha256(self.app.read_bytes()).hexdigest()

    @property
    def ledger(self) -> dict[str, Any]:
        """What the store says of itself."""
        found: dict[str, Any] = json.loads((self.store / "state.json").read_text())
        return found

    def history(self, what: str) -> list[dict[str, Any]]:
        """Return the entries of one kind in the store's history."""
        lines = (self.store / "history").read_text().splitlines()
        return [entry for line in lines if (entry := json.loads(line))["what"] == what]

    def build(self, text: str = "hello") -> str:
        """Connect anew; return the build that answers, or nothing when it ends instead."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(text.encode() + b"\n")
            try:
                return (connection.makefile().readline().split() or [""])[0]
            except ConnectionError:
                return ""

    def upgraded(self, digest: str) -> None:
        """Wait until a release is current, in the ledger and in the public place."""
        try:
            until(
                lambda: self.public == digest and self.ledger["current"] == digest,
                f"{digest[:12]} is current",
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log\n{self.log}") from None


class Zipped(Upgrading):
    """The same as a zipapp, whose answers come from a module that is imported when the first is given."""

    def __init__(self, folder: Path, **options: Any) -> None:
        """Start it as app.pyz."""
        super().__init__(folder, name="app.pyz", **options)

    def made(self, text: str) -> bytes:
        """Make an archive of a source text: its number is in a module of its own."""
        number = re.search(r'^BUILD = "(.*)"$', text, re.MULTILINE)
        assert number
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            lazily = text.replace('f"{BUILD} {state', "f\"{__import__('late').NUMBER} {state")
            archive.writestr(zipfile.ZipInfo("__main__.py"), lazily)
            archive.writestr(zipfile.ZipInfo("late.py"), f"NUMBER = {number[1]!r}\n")
        return content.getvalue()

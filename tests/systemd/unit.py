"""A program under overseer as a unit of systemd."""

from __future__ import annotations

import json
import os
import socket
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.process.service import DEADLINE, until
from tests.systemd.manager import OVERSEER, SLOW

if TYPE_CHECKING:
    from tests.systemd.manager import Systemd


class Unit:
    """NAME.service, whose program is /srv/NAME/app.py; `start` starts it."""

    def __init__(self, systemd: Systemd, name: str, source: str, *lines: str, **options: Any) -> None:
        """Write it: `lines` belong into [Service], `options` to the program (OPTIONS in its source)."""
        self.systemd = systemd
        self.name = name
        self.options = options
        self.folder = systemd.root / "srv" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.source = source
        self.write(source)
        self.lines = lines
        self.install(*lines)

    def write(self, source: str, **changed: Any) -> None:
        """Replace the program; the next generation runs it."""
        self.options |= changed
        fresh = self.folder / "app.py.new"
        fresh.write_text(textwrap.dedent(source).replace("**OPTIONS", f"**{self.options!r}"))
        fresh.replace(self.folder / "app.py")

    def install(self, *lines: str, files: dict[str, str] | None = None) -> None:
        """Write the unit, and others beside it."""
        service = "\n".join(
            [
                "[Service]",
                "Type=notify",
                f"ExecStart={sys.executable} /srv/{self.name}/app.py",
                f"ExecReload={OVERSEER} restart --control /run/{self.name}/overseer.sock",
                f"WorkingDirectory=/srv/{self.name}",
                f"RuntimeDirectory={self.name}",
                f"StandardOutput=append:/tmp/{self.name}.log",
                f"StandardError=append:/tmp/{self.name}.log",
                *lines,
                "",
            ]
        )
        self.systemd.install({f"{self.name}.service": service, **(files or {})})

    def start(self) -> None:
        """Start it; what `systemctl start` waits for has come then."""
        self.systemd.ctl("start", self.name)

    def show(self, name: str) -> str:
        """Return a property."""
        return self.systemd.show(f"{self.name}.service", name)

    @property
    def pid(self) -> int:
        """The master's, as seen from outside."""
        return self.outside(int(self.show("MainPID")))

    def outside(self, pid: int) -> int:
        """Return what we call the process that is `pid` inside."""
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    status = Path(f"/proc/{entry}/status").read_text()
                except OSError:
                    continue
                names = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
                same = os.path.exists(f"/proc/{entry}/root/srv/{self.name}")
                if len(names) > 1 and names[-1] == str(pid) and same:
                    return int(entry)
        return 0

    @property
    def log(self) -> str:
        """What it has written."""
        path = self.systemd.root / "tmp" / f"{self.name}.log"
        return path.read_text() if path.exists() else ""

    def logged(self, text: str, deadline: float = DEADLINE) -> None:
        """Wait until this stands in the log."""
        try:
            until(lambda: text in self.log, f"{text!r} in the log", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}{self.systemd.story()}") from None

    def is_(self, state: str, deadline: float = SLOW) -> None:
        """Wait for a state such as `active/running`."""
        try:
            until(
                lambda: "/".join(self.show("ActiveState,SubState").split()) == state,
                f"{self.name} is {state}",
                deadline,
            )
        except AssertionError as error:
            told = self.systemd.run("systemctl", "status", self.name).stdout
            raise AssertionError(f"{error}\n{told}{self.systemd.story()}") from None

    def ask(self, kind: str, timeout: float = SLOW) -> dict[str, Any]:
        """Ask on the control socket."""
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(timeout)
            caller.connect(str(self.systemd.root / "run" / self.name / "overseer.sock"))
            caller.sendall(json.dumps({"type": kind}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(caller.makefile().readline())
            return answer

    def overseer(self, *words: str) -> str:
        """Run the command line inside, as an operator would."""
        done = self.systemd.run(OVERSEER, *words, "--control", f"/run/{self.name}/overseer.sock")
        return done.stdout + done.stderr


def knock(port: int, deadline: float = DEADLINE) -> list[str]:
    """Connect and say hello; return the words of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=deadline) as connection:
        return greet(connection)


def greet(connection: socket.socket) -> list[str]:
    """Say hello on a connection; return the words of the answer."""
    connection.sendall(b"hello\n")
    return connection.makefile().readline().split()

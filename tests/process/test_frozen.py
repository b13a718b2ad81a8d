"""A real one-file executable: its loader unpacks it, and the program is the loader's child."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.service import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

SOURCES = Path(__file__).parents[2] / "src"

APP = """
import os, subprocess, sys, threading
import overseer

def serve(state, connection):
    with connection:
        connection.sendall(b"held\\n")
        connection.recv(100)
        connection.sendall(f"{state.generation}\\n".encode())

def program(state):
    child = subprocess.check_output(["env"], text=True)
    os.write(1, f"generation {state.generation} of {state.bin_path} runs in {sys._MEIPASS} "
                f"port {state.listener.getsockname()[1]} ours {child.count('OVERSEER_')} "
                f"id {state.id}\\n".encode())
    while True:
        connection, _ = state.listener.accept()
        threading.Thread(target=serve, args=(state, connection)).start()

if __name__ == "__main__":
    overseer.run(program, address="127.0.0.1:0")
"""

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build one with PyInstaller, in an environment of its own."""
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "app.py").write_text(APP)
    python = str(folder / "v" / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "v")], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pyinstaller>=6.10"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"PyInstaller cannot be installed here: {done.stderr.strip()[-300:]}")
    build = [
        python,
        "-m",
        "PyInstaller",
        "--onefile",
        "--log-level",
        "ERROR",
        "--paths",
        str(SOURCES),
        "app.py",
    ]
    subprocess.run(build, cwd=folder, check=True, env={**os.environ, "PYTHONPATH": str(SOURCES)})
    return folder / "dist" / "app"


@pytest.fixture
def app(executable: Path, service: Callable[..., Service]) -> Service:
    """Start it."""
    return service(python=str(executable), command=()).serves()


def hold(app: Service) -> socket.socket:
    """Begin a request."""
    port = app.said(r"generation \d+ of .* port (\d+) ")[0]
    connection = socket.create_connection(("127.0.0.1", int(port)), DEADLINE)
    assert connection.recv(5) == b"held\n"
    return connection


def finish(connection: socket.socket) -> int:
    """End a request; return the generation that answers."""
    with connection:
        connection.sendall(b"go\n")
        return int(connection.makefile().readline())


def test_an_executable_restarts_and_drains(app: Service, executable: Path) -> None:
    """The request in flight is answered by who took it; each generation runs on files of its own."""
    held = hold(app)
    master = app.status()["pid"]
    app.signal(signal.SIGUSR2)
    app.serves(2)
    assert finish(hold(app)) == 2
    assert finish(held) == 1
    assert app.status()["pid"] == master
    runs = app.said(r"generation \d+ of (\S+) runs in (\S+) .* ours (\d+) id (\w+)", times=2)
    assert {path for path, *_ in runs} == {str(executable)}
    assert len({unpacked for _, unpacked, *_ in runs}) == 2
    assert {(ours, len(identity)) for *_, ours, identity in runs} == {("0", 64)}
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    until(lambda: not any(Path(unpacked).exists() for _, unpacked, *_ in runs), "its files are gone")


def test_an_executable_is_killed_whole(app: Service) -> None:
    """Neither loader nor program is left."""
    tree = app.tree()
    assert len(tree) == 3
    with hold(app):
        app.signal(signal.SIGQUIT)
        assert app.wait() == 137
    until(lambda: not [pid for pid in tree if Path(f"/proc/{pid}").exists()], "nobody is left")


def test_the_death_of_its_master_ends_an_executable(app: Service) -> None:
    """The request in flight is answered; then loader and program leave."""
    held = hold(app)
    tree = app.tree()
    os.kill(app.status()["pid"], signal.SIGKILL)
    app.logged("the master is gone: the program drains")
    assert finish(held) == 1
    assert app.wait() != 0
    until(lambda: not [pid for pid in tree if Path(f"/proc/{pid}").exists()], "nobody is left")


def test_an_executable_that_runs_already_is_named(
    app: Service, executable: Path, service: Callable[..., Service]
) -> None:
    """Somebody else may not have its address, and does not take it for an orphan."""
    port = int(re.findall(r"port (\d+)", app.out)[0])
    second = service(address=f"127.0.0.1:{port}")
    assert second.wait() == 69
    assert executable.name in second.log

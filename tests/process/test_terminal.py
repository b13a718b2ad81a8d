"""A program in the foreground of a real terminal: its keys, its job control, its input and output."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.service import DEADLINE, until
from tests.process.terminal import CTRL_BACKSLASH, CTRL_C, CTRL_Z, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.process.service import Service

APP = """
import os, signal, sys, threading, overseer

def serve(connection):
    with connection:
        connection.sendall(b"held\\n")
        connection.sendall(connection.recv(1000))

def program(state):
    BODY
    os.write(1, f"port {state.listener.getsockname()[1]}\\n".encode())
    while True:
        connection, _ = state.listener.accept()
        threading.Thread(target=serve, args=(connection,)).start()

if __name__ == "__main__":
    overseer.run(program, address="127.0.0.1:0")
"""
"""A server that says its port, and answers a line with that line."""

NOTED = """
    def note(number, frame):
        os.write(1, f"noted {number}\\n".encode())
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
"""

READING = """
    def read():
        for line in sys.stdin:
            os.write(1, f"read {line.strip()}\\n".encode())
    terminals = sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty()
    os.write(1, f"terminals: {terminals}\\n".encode())
    threading.Thread(target=read, daemon=True).start()
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Open terminals that do not outlive the test."""
    opened: list[Terminal] = []

    def open_one(body: str = "    pass\n", command: str = "") -> Terminal:
        (tmp_path / "app.py").write_text(APP.replace("    BODY\n", body))
        shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
        opened.append(Terminal(shell if command else [sys.executable, "app.py"], tmp_path))
        if command:
            opened[-1].type(command.replace("APP", f"{sys.executable} app.py") + "\n")
        return opened[-1]

    yield open_one
    for one in opened:
        one.__exit__()


def hold(shown: Terminal) -> socket.socket:
    """Begin a request."""
    connection = socket.create_connection(("127.0.0.1", int(shown.shows(r"port (\d+)")[0])), DEADLINE)
    assert connection.recv(5) == b"held\n"
    return connection


def finish(connection: socket.socket) -> bytes:
    """End a request begun by `hold`; return the answer."""
    with connection:
        connection.sendall(b"go\n")
        return connection.recv(100)


def test_an_interrupt_key_drains(terminal: Callable[..., Terminal]) -> None:
    """Ctrl-C lets the request in flight finish, and leaves no trace on the terminal but its own."""
    app = terminal()
    held = hold(app)
    app.type(CTRL_C)
    app.shows(r"\^C")
    assert finish(held) == b"go\n"
    assert app.ended() == 0
    assert app.shown.split("\n", 1)[1].strip() == "^C"


def test_an_interrupt_key_reaches_the_program_once(terminal: Callable[..., Terminal]) -> None:
    """The kernel gives it to the whole foreground job; the master does not tell it again."""
    app = terminal(NOTED)
    held = hold(app)
    app.type(CTRL_C)
    app.shows("noted 2")
    finish(held)
    assert app.ended() == 0
    assert app.shown.count("noted") == 1


def test_a_second_interrupt_key_ends_at_once(terminal: Callable[..., Terminal]) -> None:
    """Nobody waits for the request in flight."""
    app = terminal(NOTED)
    with hold(app) as held:
        app.type(CTRL_C)
        until(lambda: not finishes_new(app), "it drains")  # two of one kind at once are one to the kernel
        app.type(CTRL_C)
        assert app.ended() == 137
        assert held.recv(100) == b""


def test_the_quit_key_ends_at_once(terminal: Callable[..., Terminal]) -> None:
    """Ctrl-backslash is not asked twice."""
    app = terminal(NOTED)
    with hold(app):
        app.type(CTRL_BACKSLASH)
        assert app.ended() == 137


def test_a_program_reads_its_terminal(terminal: Callable[..., Terminal]) -> None:
    """Standard input, output and error are the terminal itself."""
    app = terminal(READING)
    app.shows(r"terminals: \(True, True, True\)")
    app.type("one\n")
    app.shows("read one")
    app.type("two\n")
    app.shows("read two")


@pytest.mark.parametrize("command", ["APP", "cat /dev/zero | APP"])
def test_the_suspend_key_stops_the_whole_job_and_fg_goes_on(
    terminal: Callable[..., Terminal], command: str
) -> None:
    """Under a shell with job control: Ctrl-Z, then fg, then Ctrl-C, and the shell gets the status."""
    app = terminal(command=command)
    held = hold(app)
    ours = [pid for pid in app.processes() if "app.py" in words_of(pid)]
    assert len(ours) == 2
    app.type(CTRL_Z)
    app.shows("Stopped")
    until(lambda: all(state_of(pid) == "T" for pid in ours), "master and program are stopped")
    app.type("fg\n")
    until(lambda: all(state_of(pid) in "SR" for pid in ours), "both go on")
    assert finish(held) == b"go\n"
    held = hold(app)
    app.type(CTRL_C)
    app.shows(r"\^C")
    finish(held)
    app.type("echo status=$?\n")
    assert app.shows(r"status=(\d+)") == ["0"]


def test_a_program_in_the_background_of_a_shell_serves_on(terminal: Callable[..., Terminal]) -> None:
    """Ctrl-C is not meant for it; SIGTERM by job number is."""
    app = terminal(command="APP &")
    hold(app).close()
    app.type(CTRL_C)
    app.shows(r"\^C\s+\$ ")
    app.type("echo here\n")
    app.shows("\nhere")
    held = hold(app)
    app.type("kill %1\n")
    until(lambda: not finishes_new(app), "it drains")
    assert finish(held) == b"go\n"
    app.type("wait %1; echo status=$?\n")
    assert app.shows(r"status=(\d+)") == ["0"]


def finishes_new(app: Terminal) -> bool:
    """Tell whether a new connection is answered."""
    port = int(app.shows(r"port (\d+)")[0])
    try:
        with socket.create_connection(("127.0.0.1", port), 0.2) as connection:
            return connection.recv(5) == b"held\n"
    except OSError:
        return False


def test_a_terminal_that_hangs_up_ends_them_all(terminal: Callable[..., Terminal]) -> None:
    """Nobody is left without a terminal."""
    app = terminal()
    hold(app).close()
    assert len(app.processes()) == 2
    app.hang_up()
    assert app._reap(0)
    assert app.status == -signal.SIGHUP
    until(lambda: not app.processes(), "nobody is left")


def test_input_may_be_a_pipe(service: Callable[..., Service]) -> None:
    """What is written into it before and after a restart is there for whoever reads."""
    source = APP.replace("    BODY\n", READING).replace('address="127.0.0.1:0"', "**OPTIONS")
    app = service(source, stdin=subprocess.PIPE).serves()
    assert app.process.stdin is not None
    app.process.stdin.write(b"one\n")
    app.process.stdin.flush()
    app.said("read one")
    app.process.stdin.close()
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


def words_of(pid: int) -> str:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def state_of(pid: int) -> str:
    """Return the state of a process as ps(1) has it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

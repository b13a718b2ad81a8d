"""Where there can be no master, and where something is wrong: what is said, and what runs all the same."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.operators import overseer
from tests.process.releases import PROGRAM, Upgrading
from tests.process.service import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.process.service import Service

APP = """
import os, threading
import overseer

def serve(connection):
    with connection:
        connection.sendall(b"held\\n")
        connection.sendall(connection.recv(100))

def program(state):
    os.write(1, f"enabled {state.enabled} port {state.listener.getsockname()[1]}\\n".encode())
    while True:
        connection, _ = state.listener.accept()
        threading.Thread(target=serve, args=(connection,)).start()

if __name__ == "__main__":
    RUN
"""
"""A server that answers a line with that line."""

SMALL = ("prlimit", "--fsize=800:", "--")
"""Files of 800 bytes at most: enough to complain, and too little for what a master has to know."""

MORE = 'overseer.run(program, address="127.0.0.1:0", MORE)'


class Fallen:
    """A program read from standard input: it cannot be started again, so it has no master."""

    def __init__(self, folder: Path, run: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "stderr").open("wb"),
            cwd=folder,
        )
        self._stderr = folder / "stderr"
        assert self.process.stdin is not None
        self.process.stdin.write(APP.replace("RUN", run).encode())
        self.process.stdin.close()

    @property
    def log(self) -> str:
        """What was written to standard error."""
        return self._stderr.read_text()

    def line(self) -> str:
        """Return the next line of its output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def hold(self) -> socket.socket:
        """Begin a request."""
        found = re.search(r"port (\d+)", self.line())
        assert found, self.log
        connection = socket.create_connection(("127.0.0.1", int(found[1])), DEADLINE)
        assert connection.recv(5) == b"held\n"
        return connection


@pytest.fixture
def fallen(tmp_path: Path) -> Iterator[Callable[..., Fallen]]:
    """Start programs that cannot have a master."""
    started: list[Fallen] = []

    def start(run: str = MORE.replace(", MORE", "")) -> Fallen:
        started.append(Fallen(tmp_path, run))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        assert one.process.stdout is not None
        one.process.stdout.close()


def test_a_program_without_a_master_serves_on_its_addresses(fallen: Callable[..., Fallen]) -> None:
    """It is told that it has none, and the log says it once."""
    app = fallen()
    with app.hold() as connection:
        connection.sendall(b"hello\n")
        assert connection.recv(100) == b"hello\n"
    app.process.terminate()
    assert app.process.wait() == 0
    assert app.line() == ""
    (line,) = app.log.splitlines()
    assert "cannot be started again" in line
    assert "no restarts, no upgrades" in line


def test_a_program_without_a_master_is_told_so(fallen: Callable[..., Fallen]) -> None:
    """`state.enabled` is false."""
    assert fallen().line().startswith("enabled False port ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_without_a_master_drains(fallen: Callable[..., Fallen], number: signal.Signals) -> None:
    """A stop signal lets the request in flight finish."""
    app = fallen()
    held = app.hold()
    app.process.send_signal(number)
    until(lambda: not accepts(held.getpeername()), "it drains")
    with held:
        held.sendall(b"go\n")
        assert held.recv(100) == b"go\n"
    assert app.process.wait() == 0


def accepts(address: tuple[str, int]) -> bool:
    """Tell whether a new connection is answered."""
    try:
        with socket.create_connection(address, 0.2) as connection:
            return connection.recv(5) == b"held\n"
    except OSError:
        return False


def test_a_second_interrupt_ends_a_program_without_a_master(fallen: Callable[..., Fallen]) -> None:
    """Nobody else would."""
    app = fallen()
    with app.hold() as held:
        app.process.send_signal(signal.SIGINT)
        until(lambda: not accepts(held.getpeername()), "it drains")
        app.process.send_signal(signal.SIGINT)
        assert app.process.wait() == 128 + signal.SIGINT


def test_no_warn_is_heeded(fallen: Callable[..., Fallen]) -> None:
    """Whoever knows that there is no master does not need to be told."""
    app = fallen(MORE.replace("MORE", "no_warn=True"))
    app.hold().close()
    app.process.terminate()
    assert app.process.wait() == 0
    assert app.log == ""


def test_required_refuses_to_go_without(fallen: Callable[..., Fallen]) -> None:
    """One line, and the status of what is unavailable."""
    app = fallen(MORE.replace("MORE", "required=True"))
    assert app.process.wait() == 69
    (line,) = app.log.splitlines()
    assert line.startswith("overseer: error: ")


def test_run_err_hands_the_error_over(fallen: Callable[..., Fallen]) -> None:
    """And has started nothing."""
    app = fallen(
        """try:
        overseer.run_err(program, address="127.0.0.1:0")
    except overseer.NotSupportedError as error:
        print("handed over", flush=True)"""
    )
    assert app.line() == "handed over\n"
    assert app.process.wait() == 0
    assert app.log == ""


def test_a_restart_without_a_master_is_an_error(fallen: Callable[..., Fallen]) -> None:
    """There is nobody to ask."""
    app = fallen("overseer.run(lambda state: overseer.restart())")
    assert app.process.wait() == 1
    assert "NotSupportedError: there is no master to ask for a restart" in app.log


@pytest.mark.parametrize("error", ["NotSupportedError('mine')", "ConfigError('mine', 'mine')"])
def test_what_a_program_raises_is_not_taken_for_ours(service: Callable[..., Service], error: str) -> None:
    """It is told as any exception is, and the program is not run a second time."""
    source = f"import overseer\ndef program(state):\n    print('runs')\n    raise overseer.{error}\n"
    app = service(source + "if __name__ == '__main__': overseer.run(program, **OPTIONS)\n")
    assert app.wait() == 1
    assert app.out == "runs\n"
    assert app.log.startswith("Traceback")


def test_a_program_that_calls_run_twice_falls_back(service: Callable[..., Service]) -> None:
    """A master inside a program of a master would be one too many."""
    source = "import overseer\ndef inner(state): print('inner', state.enabled)\n"
    source += "def program(state): overseer.run(inner)\n"
    app = service(source + "if __name__ == '__main__': overseer.run(program, **OPTIONS)\n")
    assert app.wait() == 0
    assert app.out == "inner False\n"
    assert "a second time" in app.log


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"workers": 0}, "overseer: error: workers: 0 is less than 1"),
        (
            {"terminate_timout": 3},
            "overseer: error: terminate_timout: is no option; was terminate_timeout meant?",
        ),
        ({"address": "nonsense"}, "overseer: error: address: nonsense: "),
    ],
)
def test_a_wrong_option_ends_with_one_line(
    service: Callable[..., Service], options: dict[str, Any], line: str
) -> None:
    """It names the field; no traceback, and the status of a wrong configuration."""
    app = service(**{"address": "127.0.0.1:0", **options})
    assert app.wait() == 78
    (said,) = app.log.splitlines()
    assert said.startswith(line)


def test_an_address_of_somebody_else_ends_with_one_line(service: Callable[..., Service]) -> None:
    """It names who has it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app = service(address=f"127.0.0.1:{taken.getsockname()[1]}")
        assert app.wait() == 69
    (said,) = app.log.splitlines()
    assert said.startswith("overseer: error: 127.0.0.1:")
    assert f"pid {os.getpid()}" in said


def test_a_control_socket_that_cannot_be_had_is_called_that(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """Nobody has written an address: what is wrong is where operators ask."""
    app = service(control=f"{tmp_path}/gone/app.sock")
    assert app.wait() == 69
    told = f"error: {tmp_path}/gone/app.sock: is to be the control socket, and cannot be had: there is"
    assert app.log.startswith(f"overseer: {told}"), app.log


def test_a_service_that_runs_already_is_named_at_once(service: Callable[..., Service]) -> None:
    """The second start does not wait for the first to end."""
    first = service().serves()
    second = service(address=f"127.0.0.1:{first.port}")
    assert second.wait() == 69
    assert f"pid {first.pid}" in second.log
    assert first.knock()[0] == 1


def test_closed_standard_descriptors_are_no_sockets(service: Callable[..., Service]) -> None:
    """A master that was started without a log does not write one to its clients."""
    app = service(prefix=("sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh")).serves()
    links = [os.readlink(f"/proc/{app.pid}/fd/{fd}") for fd in range(3)]
    assert links == ["/dev/null"] * 3
    app.signal(signal.SIGUSR2)
    app.serves(2).answers(2)


def test_a_disk_without_room_for_the_store_costs_upgrades_and_no_restart(tmp_path: Path) -> None:
    """The service is under a master all the same, and who asks for an upgrade is told why there is none."""
    padded = PROGRAM + "#" * 100_000  # more than any file of it may have
    with Upgrading(tmp_path, program=padded, prefix=("prlimit", "--fsize=65536:", "--")) as app:
        app.serves()
        assert re.search(r"cannot be used: .*File too large; restarts work, upgrades are off", app.log)
        assert app.restart() == 2
        off = app.status()["trouble"]
        assert off.startswith(f"the store {app.store} cannot be used: ")
        assert off.endswith("File too large; restarts work, upgrades are off")
        assert overseer(app, "upgrade", status=1) == f"no updater runs: {off}\n"
        assert off in overseer(app, "history", status=1)
        assert f"({off})" in overseer(app, "doctor", status=1)
        assert 'overseer_updater_trouble{kind="store",service="app.py"} 1.0' in overseer(app, "metrics")


def test_a_program_that_cannot_have_its_master_leaves_no_socket_for_operators(
    service: Callable[..., Service],
) -> None:
    """Nobody would answer there: what a master is told did not fit on the disk, say."""
    app = service(APP.replace("RUN", "overseer.run(program, **OPTIONS)"), prefix=SMALL)
    until(lambda: "enabled False" in app.out, "it serves without a master")
    assert "the master cannot be started" in app.log
    assert list(app.run_folder.iterdir()) == []

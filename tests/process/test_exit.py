"""How the master ends: as the program did, whatever that was."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

ENDING = """
import os, signal, sys, overseer

def program(state):
    BODY

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
"""A program that does one thing and ends."""

SOURCES = str(Path(__file__).parents[2] / "src")

COMMANDED = """
import os, signal, sys, overseer

def program(state):
    print("serving", state.generation, flush=True)
    connection, _ = state.listener.accept()
    exec(connection.recv(1000))

if __name__ == "__main__":
    if os.path.exists("gate"): open("gate").read()
    overseer.run(program, **OPTIONS)
"""
"""A program that does what its first client says."""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("return", 0),
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("sys.exit(255)", 255),
        ("os._exit(4)", 4),
        ("raise ValueError('no')", 1),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("os.kill(os.getpid(), signal.SIGHUP)", -signal.SIGHUP),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        (
            "signal.signal(signal.SIGTERM, signal.SIG_DFL); signal.raise_signal(signal.SIGTERM)",
            -signal.SIGTERM,
        ),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT]); os.abort()", -signal.SIGABRT),
    ],
)
def test_the_master_ends_as_the_program_does(service: Callable[..., Service], body: str, status: int) -> None:
    """The exit code is the program's, and a death by signal is died again."""
    assert service(ENDING.replace("BODY", body)).wait() == status


@pytest.mark.parametrize(("body", "status"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 11)", -11)])
def test_a_program_that_has_served_ends_the_master_too(
    service: Callable[..., Service], body: str, status: int
) -> None:
    """Overseer is no process manager: a program that ends by itself is not started again."""
    app = service(COMMANDED).serves()
    tell(app, body)
    assert app.wait() == status


def tell(app: Service, body: str) -> None:
    """Have the program that serves do something."""
    with socket.create_connection(("127.0.0.1", app.port)) as connection:
        connection.sendall(body.encode())


def test_an_exception_is_told_as_python_tells_it(service: Callable[..., Service]) -> None:
    """The traceback stands in the log, and nothing of ours beside it."""
    app = service(ENDING.replace("BODY", "raise ValueError('as it is')"))
    assert app.wait() == 1
    assert app.log.startswith("Traceback (most recent call last):")
    assert "ValueError: as it is" in app.log


def test_a_program_that_ends_while_its_successor_starts_does_not_end_the_master(
    service: Callable[..., Service],
) -> None:
    """A restart was asked for, so there is somebody to go on with."""
    app = service(COMMANDED).serves()
    os.mkfifo(app.folder / "gate")
    app.signal(signal.SIGUSR2)
    until(lambda: app.pids(2), "generation 2 starts")
    tell(app, "sys.exit(3)")
    app.logged(r"generation 1 \(pid \d+\) ended unasked while serving, .*: exit status 3")
    with (app.folder / "gate").open("w"):
        pass
    app.serves(2)
    tell(app, "sys.exit(4)")
    assert app.wait() == 4


def test_a_program_that_will_not_drain_is_killed_and_that_is_told(service: Callable[..., Service]) -> None:
    """After terminate_timeout; the status says that it was we."""
    app = service(terminate_timeout=0.2).serves()
    with app.hold():
        app.signal(signal.SIGTERM)
        assert app.wait() == 137
    app.logged(
        r"generation 1 \(pid \d+\) is killed [\d.]+ s old: still there 0.2 s after it was asked to leave"
    )


def test_a_program_that_dies_of_the_stop_signal_has_the_master_die_of_it(
    service: Callable[..., Service],
) -> None:
    """Some servers drain and then raise the signal again; that is their way of saying that all is well."""
    again = "signal.signal(signal.SIGTERM, signal.SIG_DFL); signal.raise_signal(signal.SIGTERM)"
    app = service(ENDING.replace("BODY", f"state.ready(); state.draining.wait(); {again}")).serves()
    app.signal(signal.SIGTERM)
    assert app.wait() == -signal.SIGTERM


def test_a_stop_before_the_program_has_said_a_word_ends_it(service: Callable[..., Service]) -> None:
    """It dies of SIGTERM while it imports, as it would without a master."""
    gate = 'if os.path.exists("gate"): open("gate").read()\n'
    source = ECHO.replace("import overseer\n", "import overseer\n" + gate, 1)
    app = service(source, prefix=("sh", "-c", 'mkfifo gate; exec "$@"', "sh"), debug=True)
    until((app.folder / "gate").exists, "there is a gate")
    with (app.folder / "gate").open("w"):
        pass
    app.logged("generation 1 starts")
    app.signal(signal.SIGTERM)
    assert app.wait() == -signal.SIGTERM


def test_an_interpreter_that_has_gone_fails_the_restart_as_in_a_shell(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """Status 127, one line that names it, and the old generation serves on."""
    python = tmp_path / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    app = service(python=str(python), env={"PYTHONPATH": SOURCES}).serves()
    python.unlink()
    answer = app.ask("restart")
    assert answer["outcome"] == "failed"
    assert "exit status 127" in answer["detail"]
    assert app.log.count(f"overseer: cannot execute {python}: No such file or directory") == 1
    assert app.knock()[0] == 1


def test_a_command_that_is_done_says_nothing_about_it(service: Callable[..., Service]) -> None:
    """A program that returns by itself, without a restart, leaves no line of overseer behind."""
    app = service(
        "import overseer\n\ndef program(state): print('done')\n\noverseer.run(program, **OPTIONS)\n"
    )
    assert app.wait() == 0
    assert (app.out, app.log) == ("done\n", "")


def test_the_control_socket_goes_with_the_master(service: Callable[..., Service]) -> None:
    """Nothing of it is left in the runtime folder, not even after a re-exec of the master."""
    app = service().serves()
    assert app.ask("reexec")["outcome"] == "done"
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    assert not list(app.run_folder.iterdir())


def test_a_closed_standard_error_does_not_change_the_status(service: Callable[..., Service]) -> None:
    """A good end is a good end, also where nobody can be told of it."""
    closes = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    app = service("import overseer\noverseer.run(lambda state: None, **OPTIONS)\n", prefix=closes)
    assert app.wait() == 0


def test_an_accept_loop_in_a_thread_ends_without_a_traceback(service: Callable[..., Service]) -> None:
    """Draining is how it is meant to end."""
    app = service(
        """
        import threading, overseer

        def accept(state):
            while True:
                state.listener.accept()[0].close()

        def program(state):
            thread = threading.Thread(target=accept, args=(state,))
            thread.start()
            thread.join()

        overseer.run(program, **OPTIONS)
        """
    ).serves()
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    assert "Traceback" not in app.log

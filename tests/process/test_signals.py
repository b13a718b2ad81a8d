"""Signals to the master, with real processes: what each means, once, in every phase."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

FORWARDED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, signal.SIGALRM, signal.SIGIO, signal.SIGRTMIN)

NOTING = ECHO.replace(
    "def program(state):\n",
    """
import signal

def note(number, frame):
    os.write(1, f"got {number} in generation {GENERATION}\\n".encode())

def program(state):
    global GENERATION
    GENERATION = state.generation
    for number in (*OPTIONS_HEEDED,):
        signal.signal(number, note)
    os.write(1, f"heeds {state.generation}\\n".encode())
""",
).replace(
    "    with connection:\n",
    # Python tells the main thread only, and does not wake it when another thread takes the signal.
    "    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n    with connection:\n",
)
"""The echo server, noting signals on standard output."""

SLOW = 'if os.path.exists("gate"): open("gate").read()\n'
"""An import that waits, where there is a pipe named gate, until somebody has opened and closed it."""


def noting(heeded: tuple[int, ...] = FORWARDED, *, slow: bool = False) -> str:
    """Return the source of a server that notes these signals."""
    source = NOTING.replace("*OPTIONS_HEEDED", ", ".join(str(int(number)) for number in heeded))
    return source.replace("import overseer\n", "import overseer\n" + (SLOW if slow else ""), 1)


def count(app: Service, number: int, generation: int = 1) -> int:
    """Return how often a signal was noted."""
    return app.out.splitlines().count(f"got {int(number)} in generation {generation}")


@pytest.mark.parametrize("number", FORWARDED)
def test_a_signal_that_is_not_the_masters_reaches_the_program_once(
    service: Callable[..., Service], number: signal.Signals
) -> None:
    """It is told, and the signal after it finds it told once."""
    marker = signal.SIGUSR1 if number != signal.SIGUSR1 else signal.SIGHUP
    app = service(noting()).serves()
    app.signal(number)
    app.said(f"got {int(number)} in")
    app.signal(marker)
    app.said(f"got {int(marker)} in")
    assert count(app, number) == 1


def test_another_restart_signal_restarts_and_frees_the_default_one(service: Callable[..., Service]) -> None:
    """With SIGHUP for restarts, SIGUSR2 is the program's own."""
    app = service(noting((signal.SIGUSR2,)), restart_signal=int(signal.SIGHUP)).serves()
    app.signal(signal.SIGUSR2)
    app.said(f"got {int(signal.SIGUSR2)} in generation 1")
    app.signal(signal.SIGHUP)
    app.serves(2)


def test_the_restart_signal_follows_the_generation_that_serves(service: Callable[..., Service]) -> None:
    """A restart brings another Config, and with it another restart signal."""
    app = service(noting((signal.SIGUSR2,))).serves()
    app.write(noting((signal.SIGUSR2,)), restart_signal=int(signal.SIGUSR1))
    assert app.restart() == 2
    app.signal(signal.SIGUSR2)
    app.said(f"got {int(signal.SIGUSR2)} in generation 2")
    app.signal(signal.SIGUSR1)
    app.serves(3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_drains(service: Callable[..., Service], number: signal.Signals) -> None:
    """The request in flight is answered, and the master ends as the program does."""
    app = service().serves()
    held = app.hold()
    app.signal(number)
    until(lambda: not accepts(app), "the program has left its listener")
    assert app.release(held) == 1
    assert app.wait() == 0


def accepts(app: Service) -> bool:
    """Tell whether generation 1 has not been asked to drain."""
    status = app.status()
    return any(g["phase"] == "serving" for g in status["generations"])


def test_a_second_interrupt_ends_at_once(service: Callable[..., Service]) -> None:
    """Nobody waits for the request in flight; the status says that we killed it."""
    app = service().serves()
    with app.hold() as held:
        app.signal(signal.SIGINT)
        until(lambda: not accepts(app), "it drains")
        app.signal(signal.SIGINT)
        assert app.wait() == 137
        assert held.recv(100) == b""
    app.logged(r"generation 1 \(pid \d+\) is killed [\d.]+ s old: asked to stop at once")


def test_quit_ends_at_once(service: Callable[..., Service]) -> None:
    """SIGQUIT does not drain."""
    app = service().serves()
    with app.hold():
        app.signal(signal.SIGQUIT)
        assert app.wait() == 137


def test_a_kill_of_the_whole_control_group_drains_once(service: Callable[..., Service]) -> None:
    """A service manager that sends SIGTERM to the master and to the program has both drain."""
    app = service(debug=True).serves()
    pid = app.pids(1)[0]
    held = app.hold()
    for target in (pid, app.pid):
        os.kill(target, signal.SIGTERM)
    until(lambda: not accepts(app), "it drains")
    assert app.release(held) == 1
    assert app.wait() == 0
    assert app.log.count("generation 1 drains") == 1


def test_a_program_that_is_sent_the_stop_signal_alone_drains(service: Callable[..., Service]) -> None:
    """Whoever sends SIGTERM to the program only has it finish its requests; the master ends with it."""
    app = service().serves()
    pid, held = app.pids(1)[0], app.hold()
    os.kill(pid, signal.SIGTERM)
    assert app.release(held) == 1
    assert app.wait() == 0


def test_a_signal_for_a_worker_that_is_gone_is_no_error(service: Callable[..., Service]) -> None:
    """The worker dies and the signal comes before the master could see it; the other one is told."""
    app = service(noting(), workers=2).serves()
    app.said("heeds 1", times=2)
    victim = app.pids(1)[0]
    app.signal(signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    app.signal(signal.SIGUSR1)
    app.signal(signal.SIGHUP)
    app.signal(signal.SIGCONT)
    app.said(f"got {int(signal.SIGUSR1)} in generation 1")
    app.said("heeds 1", times=3)
    assert app.log.count("ended unasked") == 1


def test_signals_that_come_while_the_program_starts_wait_for_it(service: Callable[..., Service]) -> None:
    """It would die of them before it knows them; it is told each of them, once, when it serves."""
    app = service(noting(slow=True), prefix=("sh", "-c", 'mkfifo gate; exec "$@"', "sh"), debug=True)
    # The launcher imports the program as well, before it becomes the master.
    open_gate(app)
    app.logged("generation 1 starts")
    for number in FORWARDED * 2:
        app.signal(number)
    app.logged(rf"takes [^\n]*\({int(FORWARDED[-1])}\)")
    open_gate(app)
    app.serves()
    for number in FORWARDED:
        app.said(f"got {int(number)} in generation 1")
        assert count(app, number) == 1


def open_gate(app: Service) -> None:
    """Let one process past its import."""

    def somebody_passes() -> bool:
        try:
            os.close(os.open(app.folder / "gate", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # there is no gate yet, or nobody at it
            return False
        return True

    until(somebody_passes, f"somebody comes to the gate; the log is\n{app.log}")


@pytest.mark.parametrize("phase", ["serving", "draining", "stopping"])
def test_no_signal_ends_the_master_by_accident(service: Callable[..., Service], phase: str) -> None:
    """Whatever comes, in whatever phase: the request is answered and the status is the program's."""
    app = service(noting()).serves()
    held = app.hold()
    if phase == "draining":
        assert app.restart() == 2
        app.said("heeds 2")
    if phase == "stopping":
        app.signal(signal.SIGTERM)
        until(lambda: not accepts(app), "it drains")
    for number in (*FORWARDED, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGCONT) * 3:
        app.signal(number)
    app.said(f"got {int(FORWARDED[-1])} in generation {2 if phase == 'draining' else 1}")
    assert app.release(held) == 1
    if phase == "serving":
        assert app.knock()[0] == 1
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_that_comes_at_the_very_end_changes_nothing(
    service: Callable[..., Service], number: signal.Signals
) -> None:
    """Told over and over to the master and to the program, up to their last instruction: status 0."""
    app = service(noting((signal.SIGUSR1,))).serves()
    pids = (app.pid, *app.pids(1)) if number == signal.SIGTERM else (app.pid,)
    app.signal(signal.SIGTERM)
    while app.process.poll() is None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    assert app.process.returncode == 0


def test_a_hang_up_that_was_ignored_stays_ignored(service: Callable[..., Service]) -> None:
    """Under nohup neither the master nor the program heeds SIGHUP."""
    source = ECHO.replace("def program(state):\n", "import signal\n\ndef program(state):\n    " + _TELL_HUP)
    app = service(source, prefix=("nohup",)).serves()
    assert app.said("SIGHUP is (.*)") == [str(signal.SIG_IGN)]
    app.signal(signal.SIGHUP)
    assert app.restart() == 2
    app.answers(2)


_TELL_HUP = 'print(f"SIGHUP is {signal.getsignal(signal.SIGHUP)!s}", flush=True)\n'


def test_a_signal_that_comes_while_the_next_master_is_tried_is_not_lost(
    service: Callable[..., Service],
) -> None:
    """It waits in the kernel and is taken by the next master, or by this one."""
    app = service(noting()).serves()
    for told in range(1, 6):
        with app.call() as caller:
            caller.sendall(b'{"type":"reexec"}\n')
            while not is_trying(app) and not select.select([caller], [], [], 0)[0]:
                pass
            app.signal(signal.SIGALRM)
            assert b'"done"' in caller.recv(1000)
        until(lambda: count(app, signal.SIGALRM) >= told, "the signal is told")  # noqa: B023 - called at once
    assert count(app, signal.SIGALRM) == 5
    assert app.log == ""


def is_trying(app: Service) -> bool:
    """Tell whether a next master is being tried."""
    for pid in Path(f"/proc/{app.pid}/task/{app.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"\0--try\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
    return False

"""What overseer for Go gets wrong on this side, measured there, and does not happen here.

The stories are told at length in the other files; here each fault has the one test that would fail on it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tests.process.programs import HTTP, raw
from tests.process.service import DEADLINE, ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service


def test_1_a_signal_to_a_child_that_has_just_gone_ends_nobody(service: Callable[..., Service]) -> None:
    """It forwarded every signal, even its runtime's, and took a failed forward for its program's death."""
    app = service().serves()
    harmless = (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT)
    for number in range(2, 12):
        app.signal(signal.SIGUSR2)
        for _ in range(5):
            for each in harmless:
                app.signal(each)
        app.serves(number)
    app.answers(11)
    assert "unasked" not in app.log


def test_2_a_late_word_of_one_generation_is_not_taken_for_anothers(service: Callable[..., Service]) -> None:
    """It kept two generations for ever, the old one answering up to half of the requests."""
    app = service().serves()
    app.write(raw("hello(policy={'ready_after': 0})\nheard('drain')\nsay(type='ready')\nallowed('go')"))
    assert app.restart() == 2
    app.write(ECHO)
    assert app.restart() == 3
    (app.folder / "go").touch()
    assert app.restart() == 4
    until(lambda: [g["number"] for g in app.status()["generations"]] == [4], "only the youngest is left")
    assert {app.knock()[0] for _ in range(20)} == {4}


def test_3_after_a_forced_kill_the_next_ones_death_is_noticed(service: Callable[..., Service]) -> None:
    """A hung drain blinded it for the rest of its life."""
    app = service(terminate_timeout=0.5).serves()
    os.kill(app.pids(1)[0], signal.SIGSTOP)
    assert app.restart() == 2
    app.logged(r"generation 1 \(pid \d+\) is killed")
    app.logged(r"generation 1 \(pid \d+\) left")
    os.kill(app.pids(2)[0], signal.SIGKILL)
    assert app.wait() in (-signal.SIGKILL, 137)


def test_4_a_program_that_exits_at_its_start_is_no_outage(service: Callable[..., Service]) -> None:
    """It replaced the good one and ended with it."""
    app = service().serves()
    app.write("raise SystemExit(1)")
    assert app.ask("restart")["outcome"] == "failed"
    assert app.knock()[0] == 1


def test_5_sigterm_lets_the_request_in_flight_finish(service: Callable[..., Service]) -> None:
    """It cut it, and ended with status 255."""
    app = service().serves()
    held = app.hold()
    app.signal(signal.SIGTERM)
    assert app.release(held) == 1
    assert app.wait() == 0


def test_6_a_request_on_a_kept_connection_is_answered_at_drain(service: Callable[..., Service]) -> None:
    """It reset kept connections; here the answer comes, and says that it is the last one."""
    app = service(HTTP).serves()
    with socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) as kept:
        for _ in range(3):
            kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"X-Generation: 1" in kept.recv(1000)
        kept.sendall(b"GET / HTTP/1.1\r\nHo")
        assert app.restart() == 2
        app.said("drains 1")
        kept.sendall(b"st: x\r\n\r\n")
        answer = kept.recv(1000)
        assert b"X-Generation: 1" in answer
        assert b"Connection: close" in answer
        assert kept.recv(1000) == b""
    app.logged(r"generation 1 \(pid \d+\) left after .*: exit status 0")


def test_9_configuration_follows_the_program(service: Callable[..., Service]) -> None:
    """Addresses, timeouts and signals were frozen until the master was restarted."""
    app = service().serves()
    app.write(ECHO, restart_signal=int(signal.SIGHUP), terminate_timeout=0.5, workers=2)
    assert app.restart() == 2
    assert len(app.pids(2)) == 2
    with app.hold():
        app.signal(signal.SIGHUP)
        app.serves(3)
        app.logged(r"is killed .*: still there 0\.5 s after it was asked to leave")


def test_9_the_programs_first_lines_do_not_run_in_the_master(service: Callable[..., Service]) -> None:
    """The master is another image: none of what the program imports is in it."""
    app = service("import asyncio, sqlite3, ssl\n" + ECHO).serves()
    assert app.restart() == 2
    maps = Path(f"/proc/{app.pid}/maps").read_text()
    assert not re.findall(r"_asyncio|_sqlite3|_ssl|libssl", maps)
    assert re.findall(r"_asyncio|_sqlite3|_ssl", Path(f"/proc/{app.pids(2)[0]}/maps").read_text())


def test_10_a_socket_file_can_be_listened_on(service: Callable[..., Service], tmp_path: Path) -> None:
    """It knew TCP only."""
    path = tmp_path / "app.sock"
    app = service(address=f"unix:{path}").serves()
    assert app.restart() == 2

    def answer() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"hello\n")
            return client.recv(100)

    until(lambda: answer().split()[0] == b"2", "generation 2 answers")


def test_10_the_masters_death_is_noticed_by_the_end_of_the_channel(
    service: Callable[..., Service],
) -> None:
    """It asked every two seconds; here the program is told, finishes what it has, and leaves."""
    app = service().serves()
    pid = app.pids(1)[0]
    held = app.hold()
    app.process.kill()
    app.logged("the master is gone: the program drains")
    assert app.release(held) == 1
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the program has gone")

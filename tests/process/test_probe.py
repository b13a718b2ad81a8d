"""The probe, which knocks where the old generation listens, too."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from overseer.foreign import acceptor, probe
from overseer.foreign.inquiry import Taken
from tests.process.foreigners import foreign
from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

WELL = """
import http.server, os, socket

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists("well") else 503)
        self.end_headers()

server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
"""


class Asked:
    """A probe, with the master's end of its mail in our hands."""

    def __init__(self, url: str, program: int | None = None, timeout: float = 20.0, **rest: float) -> None:
        """Begin nothing yet."""
        self.master, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.probe = probe._Probe(url, program or os.getpid(), ours, timeout, **rest)

    def is_wanted(self, answer: str) -> bool:
        """Give an answer beforehand, and let it ask."""
        self.master.send(answer.encode())
        until(lambda: time.monotonic() >= self.probe._next, "it is time to ask")
        return self.probe._is_wanted()


def test_who_answers_one_client_at_a_time_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of several knocks is taken back as soon as the wrong one has accepted it."""
    monkeypatch.setattr(probe, "_PATIENCE", 3600.0)  # nobody here would live to see it
    judged = list[int]()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as somebody,
    ):  # by whom nothing is accepted
        asked = Asked(f"tcp://127.0.0.1:{listener.getsockname()[1]}", somebody.pid)
        asked.probe._now = replace(asked.probe._now, knocks=3)
        ask = threading.Thread(target=lambda: judged.append(asked.probe._answers()), daemon=True)
        ask.start()
        listener.settimeout(20)
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                assert connection.recv(1) == b""  # as gunicorn's sync worker waits for a request
        until(lambda: judged, "the try is over")
        somebody.kill()
    assert judged == [0]
    assert asked.probe._now.knocks == 4  # the one before is quick: next time there is one more


def test_what_is_closed_while_it_is_looked_for_was_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for somebody else's: who accepts and closes at once may be the program itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = Asked(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        accepted = list[socket.socket]()

        def look(inode: str, _: int) -> bool:
            until(lambda: accepted, "it is accepted")
            assert inode == str(os.fstat(accepted[0].fileno()).st_ino)
            accepted[0].close()
            return False

        monkeypatch.setattr(probe, "is_below", look)
        ask = threading.Thread(target=asked.probe._answers, daemon=True)
        ask.start()
        accepted.append(listener.accept()[0])
        ask.join(20)
    assert asked.probe._now.taken is Taken.UNSEEN


def test_it_is_the_master_that_knows_for_how_long() -> None:
    """Its own time may have been made longer; and the program may have said READY=1, or be gone."""
    asked = Asked("tcp://127.0.0.1:1", timeout=0.0)
    assert asked.is_wanted("READY=0")
    assert asked.is_wanted("READY=0")
    assert not asked.is_wanted("READY=1")
    asked = Asked("tcp://127.0.0.1:1")
    asked.master.close()
    assert not asked.probe._is_wanted()
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert not Asked("tcp://127.0.0.1:1", done.pid).probe._is_wanted()


def test_the_last_word_of_the_master_counts() -> None:
    """One that was busy has not answered in time, and then answers all that it was asked."""
    asked = Asked("tcp://127.0.0.1:1")
    for late in ("READY=0", "READY=0"):
        asked.master.send(late.encode())
    assert not asked.is_wanted("READY=1")


def test_a_bad_answer_of_the_new_generation_is_told(service: Callable[..., Service]) -> None:
    """Once, with its status: else nobody knew why the generation does not get ready."""
    command = ["-m", "overseer", "run", "--address", "127.0.0.1:0", "--ready-url", "http://127.0.0.1:{port}/"]
    app = service(WELL, command=[*command, "--", sys.executable, "app.py"])
    app.logged(r"overseer: http://127.0.0.1:\d+/ answers with status 503, which is not ready")
    (app.folder / "well").touch()
    app.serves()
    assert app.log.count("which is not ready") == 1


@pytest.mark.parametrize("look", [acceptor._ask_kernel, acceptor._look_up])
@pytest.mark.parametrize(("host", "listens"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "")])
def test_the_kernel_tells_who_has_accepted(
    look: Callable[..., tuple[str, int]], host: str, listens: str
) -> None:
    """Over IPv4, IPv6, and IPv4 to a listener of both, in either way of asking."""
    both = not listens
    family = socket.AF_INET6 if both or ":" in listens else socket.AF_INET
    with (
        socket.create_server((listens or "::", 0), family=family, dualstack_ipv6=both) as listener,
        socket.create_connection((host, listener.getsockname()[1])) as knocks,
    ):
        assert look(knocks)[0] == "0"
        accepted, _ = listener.accept()
        with accepted:
            inode, user = look(knocks)
            assert user == os.geteuid()
            assert inode == str(os.fstat(accepted.fileno()).st_ino)
            assert acceptor.is_below(inode, os.getpid())


def test_gunicorn_is_not_believed_without_a_word(service: Callable[..., Service]) -> None:
    """Whoever has it asked for nothing is told what that means; `no_warn` has it not said."""
    gunicorn = ["-m", "overseer", "run", "--", sys.executable, "-m", "gunicorn", "--version"]
    app = service(command=gunicorn)
    assert app.wait() == 0
    assert "gunicorn says that it is ready before its workers" in app.log
    quiet = service(command=[*gunicorn[:3], "--no-warn", *gunicorn[3:]])
    assert quiet.wait() == 0
    assert "gunicorn says" not in quiet.log


LATE = """
import time
while not os.path.exists(f"go{generation}"):
    time.sleep(0.01)
if generation == "2":
    sys.exit(3)
program()
"""
"""What is alive for as long as one likes before it accepts; the second one fails then."""


def test_who_accepts_nothing_yet_is_not_ready(service: Callable[..., Service]) -> None:
    """However long it has been alive: the one before serves until it does, or for good if it fails."""
    app = foreign(service, "--ready", "accept", "--ready-after", "0.01", body=LATE)
    go(app, 1)
    app.serves()
    for generation, outcome in ((2, "failed"), (3, "done")):
        with ThreadPoolExecutor(1) as aside:
            restart = aside.submit(app.ask, "restart")
            until(lambda: app.pids(generation), "it is alive")  # noqa: B023
            then = time.monotonic()
            until(lambda then=then: time.monotonic() > then + 0.3, "it has been alive for long")  # type: ignore[misc]
            assert app.knock()[0] == 1
            assert not restart.done()
            go(app, generation)
            assert restart.result()["outcome"] == outcome
    app.answers(3)


def go(app: Service, generation: int) -> None:
    """Let a generation accept."""
    (app.folder / f"go{generation}").touch()


@pytest.mark.parametrize("place", ["255.255.255.255:1", "127.0.0.1:1"])
def test_where_nobody_can_knock_the_program_has_to_live(
    capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """Within a service manager's walls, or in a network where nobody listens; and that is told."""
    asked = Asked(f"tcp://{place}", alive=0.1)
    until(asked.probe._is_ready, "it has lived")
    assert capsys.readouterr().err.count(f"knocking at tcp://{place} tells nothing here (") == 1


def test_an_address_that_nobody_can_ask_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Once, where it was given: nothing else counts then."""
    asked = Asked("tcp://255.255.255.255:1")
    assert not asked.probe._is_ready()
    assert not asked.probe._is_ready()
    assert capsys.readouterr().err.count("tcp://255.255.255.255:1 cannot be asked here (") == 1
    refused = Asked("tcp://127.0.0.1:1")  # nobody listens there yet
    assert not refused.probe._is_ready()
    assert capsys.readouterr().err == ""


def test_it_is_told_what_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Once, when half of its time is over: a program may never accept, and be meant to."""
    asked = Asked("tcp://127.0.0.1:1", timeout=0.0, alive=0.1)
    assert asked.is_wanted("READY=0")
    assert asked.is_wanted("READY=0")
    assert capsys.readouterr().err.count("has accepted nothing at tcp://127.0.0.1:1, its first") == 1


def test_who_is_ready_already_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """It has said READY=1, and may never accept."""
    asked = Asked("tcp://127.0.0.1:1", timeout=0.0, alive=0.1)
    assert not asked.is_wanted("READY=1")
    assert capsys.readouterr().err == ""


def test_the_knocks_end_when_the_program_says_that_it_is_ready(service: Callable[..., Service]) -> None:
    """Nobody stays behind who would fill the queue of its listener."""
    app = foreign(service, body="notify('READY=1')\nleft.wait()").serves()
    (pid,) = app.pids(1)
    until(lambda: in_session(pid) == [pid], "the probe has ended")


def in_session(leader: int) -> list[int]:
    """Find all processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[3] == str(leader):
                found.append(int(stat.parent.name))
    return found


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--ready-url", "tcp://127.0.0.1:{port}")])
def test_who_says_that_it_needs_longer_is_asked_for_longer(
    service: Callable[..., Service], options: tuple[str, ...]
) -> None:
    """EXTEND_TIMEOUT_USEC holds for the probe, too."""
    body = """
for _ in range(24):
    notify("EXTEND_TIMEOUT_USEC=10000000")
    left.wait(0.5)
program()
"""
    foreign(service, "--ready-timeout", "2", *options, body=body).serves()


HIDES = """
import ctypes
ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE: as for one who has changed its user
program()
"""


def test_a_program_that_may_not_be_looked_into_has_to_live(service: Callable[..., Service]) -> None:
    """As in a container, whose root may not see what the processes of another user have open."""
    prefix = () if os.geteuid() else ("setpriv", "--bounding-set", "-sys_ptrace")
    app = foreign(service, body=HIDES, prefix=prefix).serves()
    app.logged(r"knocking at \S+ tells nothing here \(.* for want of CAP_SYS_PTRACE\): the program is ready")
    assert app.restart() == 2


def test_only_who_may_have_accepted_hides_something() -> None:
    """Neither a helper of another user's, nor what is left of a process, of which the folder is root's."""
    users = {os.geteuid()}
    assert acceptor._is_of(os.getpid(), users)
    assert not acceptor._is_of(os.getpid(), {os.geteuid() + 1})
    with subprocess.Popen([sys.executable, "-c", ""]) as done:
        os.waitid(os.P_PID, done.pid, os.WEXITED | os.WNOWAIT)
        assert not acceptor._is_of(done.pid, users)
        assert not acceptor.hides(done.pid, users)


BRIEF = """
signal.signal(signal.SIGTERM, signal.SIG_DFL)
listener = socket.socket(fileno=3)
listener.setblocking(True)
while True:
    listener.accept()[0].close()
"""


@pytest.mark.long
def test_who_closes_at_once_is_ready_nevertheless(service: Callable[..., Service]) -> None:
    """Before it is seen who has accepted; so it has to live."""
    foreign(service, "--ready-timeout", "10", "--blocking", body=BRIEF).serves()


def test_never_is_never_also_where_nobody_can_knock(service: Callable[..., Service]) -> None:
    """A Unix socket of the service manager's: only READY=1 counts, which the second one does not say."""
    options = ("--ready", "accept", "--ready-after", "never", "--ready-timeout", "2")
    with socket.socket(socket.AF_UNIX) as given:
        given.bind("")
        given.listen()
        fd = given.fileno()
        app = foreign(
            service,
            *options,
            body="notify('READY=1') if generation == '1' else None\nprogram()",
            address="fd:web",
            prefix=(sys.executable, "-c", GIVES, str(fd)),
            pass_fds=[fd],
        ).serves()
        assert app.ask("restart")["detail"] == "was not ready within 2 s"


GIVES = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
os.execvp(sys.argv[2], sys.argv[2:])
"""


def test_the_first_listener_of_tcp_is_knocked_at() -> None:
    """By a URL; where there is none, by none."""
    with (
        socket.socket(socket.AF_UNIX) as unix,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        assert probe.place_of([unix, udp, six]) == f"tcp://[::1]:{six.getsockname()[1]}"
        assert probe.place_of([unix, udp]) == ""

"""The probe of `--ready-url`, which knocks where the old generation listens, too."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from overseer.foreign import acceptor, probe
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


def test_who_answers_one_client_at_a_time_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of several knocks is taken back as soon as the wrong one has accepted it."""
    monkeypatch.setattr(probe, "_PATIENCE", 3600.0)  # nobody here would live to see it
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()  # so that nothing is accepted by it
    judged = list[int]()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        ask = threading.Thread(target=lambda: judged.append(probe._answers(url, done.pid, 3)), daemon=True)
        ask.start()
        listener.settimeout(20)
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                assert connection.recv(1) == b""  # as gunicorn's sync worker waits for a request
        until(lambda: judged, "the try is over")
    assert judged == [0]


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
def test_the_kernel_tells_who_has_accepted(look: Callable[..., str], host: str, listens: str) -> None:
    """Over IPv4, IPv6, and IPv4 to a listener of both, in either way of asking."""
    both = not listens
    family = socket.AF_INET6 if both or ":" in listens else socket.AF_INET
    with (
        socket.create_server((listens or "::", 0), family=family, dualstack_ipv6=both) as listener,
        socket.create_connection((host, listener.getsockname()[1])) as knocks,
    ):
        assert look(knocks) == "0"
        accepted, _ = listener.accept()
        with accepted:
            inode = look(knocks)
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


def test_where_nobody_can_knock_the_program_has_to_live(capsys: pytest.CaptureFixture[str]) -> None:
    """Within a service manager's walls, for one; and that is told."""
    asked = probe._Probe("tcp://255.255.255.255:1", os.getpid(), 20, alive=0.1)
    until(lambda: asked._is_ready(1), "it has lived")
    assert capsys.readouterr().err.count("nobody can knock at tcp://255.255.255.255:1 here") == 1


def test_it_is_told_what_is_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, when it takes long: a program may never accept, and be meant to."""
    monkeypatch.setattr(probe, "_PATIENCE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as nobodys:
        asked = probe._Probe(probe.place_of([nobodys]), os.getpid(), 20, alive=0.1)
        assert not asked._is_ready(1)
        assert not asked._is_ready(1)
    assert capsys.readouterr().err.count("has accepted nothing at tcp://127.0.0.1:") == 1


def test_the_first_listener_of_tcp_is_knocked_at() -> None:
    """By a URL; where there is none, by none."""
    with (
        socket.socket(socket.AF_UNIX) as unix,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        assert probe.place_of([unix, udp, six]) == f"tcp://[::1]:{six.getsockname()[1]}"
        assert probe.place_of([unix, udp]) == ""

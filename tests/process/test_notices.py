"""What a program may say to its NOTIFY_SOCKET, word for word as sd_notify(3) has it, and what comes of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.process.foreigners import NOTIFYING, foreign, written
from tests.process.service import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

WHERE = "print('told at', os.environ['NOTIFY_SOCKET'], flush=True)\n"


def test_a_life_is_heard_word_for_word(service: Callable[..., Service]) -> None:
    """Each word has its meaning, and those that have none do no harm."""
    app = foreign(service, "--ready", "notify", body=WHERE + "program()")
    told = app.said(r"told at @(\S+)")[0]

    def say(text: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mail:
            mail.sendto(text.encode(), f"\0{told}")

    def worker() -> dict[str, object]:
        found: dict[str, object] = app.status()["generations"][0]["workers"][0]
        return found

    say("STATUS=opens the books\nX_OF_ITS_OWN=1\nREADY=0\nno word")
    until(lambda: worker()["says"] == "opens the books", "it says what it does")
    assert app.status()["generations"][0]["phase"] == "starting"
    say("EXTEND_TIMEOUT_USEC=90000000")
    app.logged(r"generation 1 \(pid \d+\) needs longer: 90 s from now")
    say("READY=1\nSTATUS=well\nMAINPID=1")
    app.serves()
    assert worker()["says"] == "well"
    app.logged(r"generation 1 \(pid \d+\) names 1 as its main process, which is not followed")
    say("ERRNO=28")
    app.logged(r"generation 1 \(pid \d+\) says that it failed: No space left on device \(28\)")
    say("RELOADING=1\nMONOTONIC_USEC=5")
    say("STATUS=" + "x" * 5000)
    say("STATUS=reloaded\nREADY=1")
    until(lambda: worker()["says"] == "reloaded", "a word that was too long has been left out")
    assert app.knock()[0] == 1
    say("STOPPING=1")
    app.logged(r"generation 1 \(pid \d+\) says that it is stopping")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("WATCHDOG=trigger", r"says itself that it is ill \(WATCHDOG=trigger\): it is killed"),
        ("WATCHDOG_USEC=300000", r"was silent for .* s, its watchdog allows 0\.3 s: it is killed"),
    ],
)
def test_a_program_can_have_itself_replaced(service: Callable[..., Service], words: str, told: str) -> None:
    """By its word, or by its silence after it has asked to be watched."""
    app = foreign(service, "--ready", "notify", "--workers", "2", body=NOTIFYING).serves()
    before = set(app.pids(1))
    with socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) as sock:
        sock.sendall(f"notify {words}".encode())  # it may be killed before it answers
        with contextlib.suppress(ConnectionResetError):
            sock.recv(100)
    app.logged(rf"generation 1, worker [12] \(pid \d+\) {told}")
    until(lambda: len({*app.pids(1)} - before) == 1 and len(app.pids(1)) == 2, "it is replaced")
    assert app.process.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_word_of_another_user_means_nothing(service: Callable[..., Service]) -> None:
    """Anybody can find the socket; the kernel says who has sent."""
    app = foreign(service, "--ready", "notify", body=WHERE + "program()")
    told = app.said(r"told at @(\S+)")[0]
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mail:
                mail.sendto(b"READY=1\nSTATUS=taken over", f"\0{told}")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    app.logged(rf"a notice for generation 1 \(pid \d+\) came from pid {pid}, uid 65534: left out")
    (generation,) = app.status()["generations"]
    assert generation["phase"] == "starting"
    assert not generation["workers"][0].get("says")


ANSWERING = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.path == "/health?deep=1" and os.path.exists("good")
        print("asked", generation, self.path, flush=True)
        self.send_response(204 if good else 503)
        self.end_headers()
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket.close()
        self.socket = socket.socket(fileno=3)
        self.socket.setblocking(False)
        self.server_name, self.server_port = "x", 0
    server_activate = lambda self: None
    def get_request(self):
        connection, address = super().get_request()
        connection.setblocking(True)
        return connection, address
for number in (signal.SIGTERM,):
    signal.signal(number, signal.SIG_DFL)
Server(("", 0), Answer).serve_forever(0.05)
"""


def test_an_answer_of_a_wrong_status_is_not_ready(service: Callable[..., Service]) -> None:
    """It is asked again, at the path that was told, until it is well."""
    url = "http://127.0.0.1:{port}/health?deep=1"
    app = foreign(service, "--ready-url", url, "--ready-after", "0", body=ANSWERING)
    app.said(r"asked 1 /health\?deep=1\n", 3)
    assert app.status()["generations"][0]["phase"] == "starting"
    (app.folder / "good").touch()
    app.serves()
    (app.folder / "good").unlink()
    app.write(written(ANSWERING))
    with app.call() as caller:
        caller.sendall(b'{"type": "restart"}\n')
        app.said(r"asked 2 /health\?deep=1\n")
        assert [g["phase"] for g in app.status()["generations"]] == ["serving", "starting"]
        (app.folder / "good").touch()
        app.serves(2)
    app.signal(signal.SIGTERM)
    assert app.wait() == 0

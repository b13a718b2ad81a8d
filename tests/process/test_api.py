"""What a program under a master holds and may call, as it is in real processes."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.service import Service

APP = """
import asyncio, json, os, selectors, signal, sys, threading, time
import overseer

def tell(**told):
    os.write(1, json.dumps(told).encode() + b"\\n")

BODY

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""


def app_of(body: str) -> str:
    """Return a program."""
    return APP.replace("BODY", body)


def told(app: Service, times: int = 1) -> list[dict[str, Any]]:
    """Wait for so many lines that the program told."""
    app.said(r"(?m)^{.*}$", times)
    return [json.loads(line) for line in app.out.splitlines() if line.startswith("{")]


STATE = """
def program(state):
    tell(enabled=state.enabled, id=state.id, started_at=state.started_at.isoformat(), bin_path=state.bin_path,
         version=state.version, generation=state.generation, worker=state.worker, address=state.address,
         addresses=list(state.addresses), ports=[l.getsockname()[1] for l in state.listeners],
         named=[l.address for l in state.listeners], first=state.listener is state.listeners[0])
    state.ready()
    state.draining.wait()
"""


def test_a_program_is_told_who_and_what_it_is(service: Callable[..., Service]) -> None:
    """Its file and what is in it, version, generation, when it began, and where it listens, in order."""
    addresses = ["127.0.0.1:0", "[::1]:0", "127.0.0.1:0"]
    app = service(app_of(STATE), addresses=addresses, version="1.2").serves()
    (state,) = told(app)
    assert state["enabled"]
    assert state["bin_path"] == str(app.app)
    assert state["id"] == hashlib.sha256(app.app.read_bytes()).hexdigest()
    assert (state["version"], state["generation"], state["worker"]) == ("1.2", 1, 1)
    assert dt.datetime.fromisoformat(state["started_at"]).tzinfo
    assert (state["address"], state["addresses"], state["named"]) == (addresses[0], addresses, addresses)
    assert sorted(state["ports"]) == app.ports()
    assert state["first"]


def test_the_next_generation_is_told_its_own(service: Callable[..., Service]) -> None:
    """Another file, another identity; and workers have numbers."""
    app = service(app_of(STATE), version="1").serves()
    app.write(app_of(STATE) + "\n# another\n", version="2", workers=2)
    app.restart()
    first, *others = told(app, 3)
    assert {(state["generation"], state["worker"]) for state in others} == {(2, 1), (2, 2)}
    assert {state["version"] for state in others} == {"2"}
    assert first["id"] != others[0]["id"]


WAYS_TO_WAIT = {
    "a question": """
def program(state):
    state.ready()
    while not state.draining:
        time.sleep(0.01)
    tell(left=state.draining.reason)
""",
    "a thread": """
def program(state):
    state.ready()
    assert state.draining.wait(60)
    tell(left=state.draining.reason)
""",
    "a coroutine": """
async def program(state):
    state.ready()
    await asyncio.gather(state.draining, state.graceful_shutdown)
    tell(left=state.draining.reason)
""",
    "a selector": """
def program(state):
    state.ready()
    with selectors.DefaultSelector() as selector:
        selector.register(state.draining, selectors.EVENT_READ)
        assert selector.select(60)
    tell(left=state.draining.reason)
""",
    "a callback": """
def program(state):
    gone = threading.Event()
    state.on_drain(lambda: 1 / 0)
    state.on_drain(gone.set)
    state.ready()
    assert gone.wait(60)
    late = []
    state.on_drain(lambda: late.append(1))
    assert late
    tell(left=state.draining.reason)
""",
    "accept": """
def program(state):
    try:
        state.listener.accept()
    except overseer.ListenerDrainingError:
        tell(left=state.draining.reason)
""",
}


@pytest.mark.parametrize("way", WAYS_TO_WAIT)
def test_a_program_that_is_replaced_hears_of_it(service: Callable[..., Service], way: str) -> None:
    """In whichever way it waits; and it leaves with status 0."""
    app = service(app_of(WAYS_TO_WAIT[way])).serves()
    app.restart()
    assert told(app) == [{"left": "another generation serves"}]
    app.logged(r"generation 1 \(pid \d+\) left after .*: exit status 0")


def test_a_coroutine_function_is_a_program(service: Callable[..., Service]) -> None:
    """It runs in an event loop of its own, and may use a listener as asyncio uses sockets."""
    body = """
async def serve(reader, writer):
    writer.write(await reader.readline())
    writer.close()

async def program(state):
    server = await asyncio.start_server(serve, sock=state.listener)
    await state.draining
    server.close()
"""
    app = service(app_of(body)).serves()
    app.restart()
    app.logged(r"generation 1 \(pid \d+\) left after")  # until then it may accept, and asyncio may drop it
    with socket.create_connection(("127.0.0.1", app.port), 20) as connection:
        connection.sendall(b"hello\n")
        assert connection.recv(100) == b"hello\n"


def test_a_program_asks_for_its_own_restart(service: Callable[..., Service]) -> None:
    """From a thread or from a signal handler; it returns at once and drains when the next one serves."""
    body = """
def program(state):
    signal.signal(signal.SIGUSR1, lambda *_: overseer.restart())
    tell(generation=state.generation)
    if state.generation == 1:
        threading.Thread(target=overseer.restart).start()
    state.ready()
    state.draining.wait()
"""
    app = service(app_of(body)).serves(2)
    app.signal(10)
    app.serves(3)
    assert [state["generation"] for state in told(app, 3)] == [1, 2, 3]


def test_a_restart_that_was_asked_for_and_failed_is_told(service: Callable[..., Service]) -> None:
    """The old generation serves on, and its log says why."""
    body = """
def program(state):
    signal.signal(signal.SIGUSR1, lambda *_: overseer.restart())
    state.ready()
    state.draining.wait()
"""
    app = service(app_of(body)).serves()
    app.write("raise SystemExit(5)\n")
    app.signal(10)
    app.logged("the restart that was asked for failed: ended before it was ready .exit status 5.")
    assert app.status()["generations"][0]["phase"] == "serving"


def test_with_no_restart_a_restart_is_a_graceful_shutdown(service: Callable[..., Service]) -> None:
    """Asked for from inside as by the signal."""
    body = """
def program(state):
    state.ready()
    if state.generation == 1 and "go" in sys.argv:
        overseer.restart()
    state.draining.wait()
    sys.exit(6)
"""
    assert service(app_of(body), args=("go",), no_restart=True).wait() == 6
    app = service(app_of(body), no_restart=True).serves()
    app.signal(12)
    assert app.wait() == 6


def test_a_program_that_says_that_it_will_not_do_fails_its_restart(service: Callable[..., Service]) -> None:
    """With its own reason."""
    body = """
def program(state):
    if state.generation == 2:
        state.fail("the database is another one")
    state.ready()
    state.draining.wait()
"""
    app = service(app_of(body)).serves()
    answer = app.ask("restart")
    assert answer["outcome"] == "failed"
    assert "the database is another one" in answer["detail"]


def check(folder: Path, source: str) -> tuple[dict[str, Any], str]:
    """Run a program as a release is checked; return its answer, and what it wrote to standard output."""
    (folder / "app.py").write_text(source)
    code = """
import os, subprocess, sys
from overseer import wire
reader, writer = os.pipe()
private = {wire.ROLE: "check", wire.CHANNEL: wire.name_channel(writer), wire.TOKEN: "token"}
process = subprocess.Popen([sys.executable, "app.py"], pass_fds=[writer], env={**os.environ, **private},
                           stdout=subprocess.PIPE)
os.close(writer)
print(open(reader).read())
print(process.communicate()[0].decode(), process.returncode)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    answer, _, rest = done.stdout.partition("\n\n")
    return json.loads(answer), rest.strip()


def test_a_check_is_answered_with_everything_known(tmp_path: Path) -> None:
    """By `run`, without running the program: token, versions and settings, on the private pipe only."""
    source = app_of("def program(state): print('ran')").replace("**OPTIONS", "version='7', workers=3")
    answer, rest = check(tmp_path, source)
    assert (answer["type"], answer["token"], answer["version"]) == ("checked", "token", "7")
    assert answer["config"]["policy"]["workers"] == 3
    assert rest == "0"


def test_a_sanity_check_is_answered_early(tmp_path: Path) -> None:
    """And ends the process there: what comes later is not run."""
    answer, rest = check(tmp_path, "import overseer\noverseer.sanity_check()\nraise SystemExit(9)\n")
    assert (answer["token"], rest) == ("token", "0")


def test_a_sanity_check_of_nobody_does_nothing(service: Callable[..., Service]) -> None:
    """In the launcher and in the program it is passed by."""
    body = "overseer.sanity_check()\ndef program(state):\n    overseer.sanity_check()\n    tell(here=1)\n"
    app = service(app_of(body))
    assert app.wait() == 0
    assert told(app) == [{"here": 1}]


def test_a_config_may_be_given_in_one_piece(service: Callable[..., Service]) -> None:
    """`run(Config(...))` is `run(...)`."""
    source = app_of("def program(state):\n    tell(v=state.version)\n").replace(
        "overseer.run(program, **OPTIONS)", "overseer.run(overseer.Config(program=program, version='3'))"
    )
    app = service(source)
    assert app.wait() == 0
    assert told(app) == [{"v": "3"}]


def test_run_err_returns_when_the_program_has(service: Callable[..., Service]) -> None:
    """The program's process goes on behind it."""
    source = app_of("def program(state):\n    tell(a=1)\n").replace(
        "overseer.run(program, **OPTIONS)", "overseer.run_err(program); tell(b=2); sys.exit(7)"
    )
    app = service(source)
    assert app.wait() == 7
    assert told(app) == [{"a": 1}, {"b": 2}]


def test_linux_is_supported() -> None:
    """So is every system with fork and execve."""
    done = subprocess.run(
        [sys.executable, "-c", "import overseer; print(overseer.is_supported())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"

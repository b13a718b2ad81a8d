"""When a new generation counts as ready, and that the old one serves until then."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.process.programs import gated
from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

READY_BY_WORD = gated("""
    threading.Thread(target=answer, args=(state,)).start()
    allowed("go", state) if state.generation > 1 else None
    state.ready()
    state.draining.wait()
""")
ASYNCIO = """
import asyncio
import overseer

async def program(state):
    async def answer(reader, writer):
        await reader.readline()
        writer.write(f"{state.generation} {state.worker} 0\\n".encode())
        writer.close()
    server = await asyncio.start_server(answer, sock=state.listener)
    async with server:
        await state.draining

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
SELECTORS = """
import selectors
import overseer

def program(state):
    state.listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(state.listener, selectors.EVENT_READ)
    selector.register(state.draining, selectors.EVENT_READ)
    while not state.draining:
        for key, _ in selector.select():
            try:
                connection, _ = state.listener.accept()
            except BlockingIOError:
                continue
            with connection:
                connection.recv(100)
                connection.sendall(f"{state.generation} {state.worker} 0\\n".encode())

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
LISTENS = gated("state.listener.listen(); allowed('go', state)")
WORKS = gated("""
    print("works", state.generation, flush=True)
    while state.generation > 1 and not os.path.exists("go"):
        assert not os.path.exists("bad")
        time.sleep(0.01)
""")
"""Does much before it accepts, and may fail at it."""
FORKS = gated("""
    if child := os.fork():
        state.draining.wait()
        os.waitpid(child, 0)
        return
    print("forked", state.generation, flush=True)
    allowed("go", state) if state.generation > 1 else None
    answer(state)
    os._exit(0)
""")
SILENT = """
import overseer
overseer.run(lambda state: state.draining.wait(), **OPTIONS)
"""


def test_its_own_word_is_the_only_one_where_it_says_so(service: Callable[..., Service]) -> None:
    """With `ready_after=None` a generation may accept long before it is ready; the old one serves on."""
    app = service(READY_BY_WORD, ready_after=None).serves()
    app.signal(signal.SIGUSR2)
    app.said("begun 2")
    until(lambda: 2 in {app.knock()[0] for _ in range(10)}, "the new one accepts")
    assert _phases(app) == {1: "serving", 2: "starting"}
    (app.folder / "go").touch()
    app.serves(2)


@pytest.mark.parametrize("source", [ECHO, ASYNCIO, SELECTORS, LISTENS], ids=lambda s: str(len(s)))
def test_using_the_listener_counts_as_ready(service: Callable[..., Service], source: str) -> None:
    """A blocking accept, asyncio, selectors, or a mere `listen()`: no program has to say a word."""
    app = service(source, ready_after=1000).serves()
    assert app.restart() == 2
    app.signal(signal.SIGTERM)
    (app.folder / "go").touch()
    assert app.wait() == 0


@pytest.mark.parametrize("source", [ASYNCIO, SELECTORS], ids=["asyncio", "selectors"])
def test_servers_with_a_loop_answer_and_leave(service: Callable[..., Service], source: str) -> None:
    """What accepts without blocking answers before and after a restart, and leaves when asked to."""
    app = service(source).serves()
    assert app.knock()[0] == 1
    assert app.restart() == 2
    app.logged(r"generation 1 \(pid \d+\) left after .*: exit status 0")
    app.answers(2)


@pytest.mark.parametrize("ends", ["done", "failed"])
def test_a_program_with_an_address_is_ready_when_it_uses_it(
    service: Callable[..., Service], ends: str
) -> None:
    """However long it works before: nobody is asked to leave for one that has only lived for a while."""
    app = service(WORKS, ready_after=0.05).serves()
    with app.call() as caller:
        caller.sendall(b'{"type": "restart"}\n')
        app.said("works 2")
        until(lambda: app.status()["generations"][-1]["workers"][0]["age"] > 1.5, "it lives")
        assert _phases(app) == {1: "serving", 2: "starting"}
        assert app.knock()[0] == 1
        (app.folder / ("go" if ends == "done" else "bad")).touch()
        assert json.loads(caller.makefile().readline())["outcome"] == ends


def test_a_forked_process_may_be_the_one_that_accepts(service: Callable[..., Service]) -> None:
    """Then its use of the listener counts, and not before."""
    app = service(FORKS, ready_after=0.05).serves()
    app.signal(signal.SIGUSR2)
    app.said("forked 2")
    until(lambda: app.status()["generations"][-1]["workers"][0]["age"] > 1.5, "it lives")
    assert _phases(app) == {1: "serving", 2: "starting"}
    (app.folder / "go").touch()
    app.serves(2)
    app.answers(2)
    assert "means nothing" not in app.log


def test_a_listener_that_is_given_away_is_used(service: Callable[..., Service]) -> None:
    """Whoever has its descriptor may accept without our knowing."""
    source = ECHO.replace(
        "    while True:\n",
        "    import socket\n    listener = socket.socket(fileno=state.listener.detach())\n"
        "    listener.setblocking(True)\n    state.draining.wait() or sys.exit()\n    while True:\n",
    )
    service(source, ready_timeout=5).serves()


def test_being_alive_for_a_while_counts_as_ready(service: Callable[..., Service]) -> None:
    """A program that has no listener and says nothing is ready after `ready_after`."""
    app = service(SILENT, addresses=[], ready_after=0.1).serves()
    assert app.restart() == 2
    app.logged(r"generation 1 \(pid \d+\) left")


def test_one_that_never_gets_ready_is_given_up(service: Callable[..., Service]) -> None:
    """It runs, but never says so: the old one serves on, and the log says how long it was waited for."""
    app = service(READY_BY_WORD, ready_after=None).serves()
    app.write(READY_BY_WORD, ready_timeout=0.5)
    answer = app.ask("restart")
    assert (answer["outcome"], answer["detail"]) == ("failed", "was not ready within 0.5 s")
    app.logged(r"generation 2 is given up: was not ready within 0\.5 s")
    app.logged(r"generation 2 \(pid \d+\) left after")
    assert app.knock()[0] == 1


@pytest.mark.long
def test_one_that_hangs_before_its_hello_is_given_up(service: Callable[..., Service]) -> None:
    """An import that never ends is told apart from a program that is never ready."""
    app = service(ready_timeout=3).serves()
    app.write("import threading\nthreading.Event().wait()")
    answer = app.ask("restart")
    assert (answer["outcome"], answer["detail"]) == ("failed", "did not say hello within 3 s")
    app.logged(r"generation 2 \(pid \d+\) left after .*: killed by signal 15")
    assert app.knock()[0] == 1


def test_one_that_hangs_and_ignores_sigterm_is_killed(service: Callable[..., Service]) -> None:
    """It is asked, then killed, and the next restart does not have to wait for that."""
    app = service(ready_timeout=3, terminate_timeout=1).serves()
    app.write(
        "import signal, threading\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nthreading.Event().wait()"
    )
    assert app.ask("restart")["outcome"] == "failed"
    app.write(ECHO)
    assert app.restart() == 3
    app.logged(r"generation 2 \(pid \d+\) is killed .* old: still there 1 s after it was asked to leave")
    app.logged(r"generation 2 \(pid \d+\) left after")


def test_times_longer_than_any_clock_do_no_harm(service: Callable[..., Service]) -> None:
    """A timeout of a billion years means never; the master neither ends nor wakes up for it."""
    app = service(ready_timeout=1e17, terminate_timeout=1e18, ready_after=1e300).serves()
    held = app.hold()
    assert app.restart() == 2
    app.release(held)
    app.logged(r"generation 1 \(pid \d+\) left")
    assert not re.findall("Traceback", app.log)


def _phases(app: Service) -> dict[int, str]:
    return {g["number"]: g["phase"] for g in app.status()["generations"]}

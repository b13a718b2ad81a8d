"""Draining is bounded in time and in number, and what is forced is said."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.process.programs import gated, raw
from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

STUBBORN = """
    if state.generation == 1:
        for escape in (lambda: None, os.setsid):
            if (pid := os.fork()) == 0:
                import signal
                escape()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                print("helper", os.getpid(), flush=True)
                while True:
                    signal.pause()
        state.listener.listen()
        while True:
            time.sleep(1)
"""
BUSY_IN_C = """
    if state.generation == 1:
        import ctypes
        state.listener.listen()
        time.sleep(0.1)  # the word is on its way
        print("deaf", flush=True)
        ctypes.PyDLL(None).sleep(1000)
"""


def test_one_that_overstays_is_killed_with_all_its_helpers(service: Callable[..., Service]) -> None:
    """After `terminate_timeout` the whole tree goes, whatever it ignores; the new generation is untouched."""
    app = service(gated(STUBBORN), terminate_timeout=1).serves()
    helpers = app.said(r"helper (\d+)", times=2)
    assert app.restart() == 2
    app.logged(
        r"generation 1 \(pid \d+\) is killed \d+\.\d\d s old: still there 1 s after it was asked to leave"
    )
    app.logged(r"generation 1 \(pid \d+\) left after .*: killed by signal 9")
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in helpers), "its helpers have gone")
    app.answers(2)


def test_one_that_is_stopped_is_killed(service: Callable[..., Service]) -> None:
    """A process under SIGSTOP never reads that it shall leave."""
    app = service(terminate_timeout=1).serves()
    os.kill(app.pids(1)[0], signal.SIGSTOP)
    assert app.restart() == 2
    app.logged(r"generation 1 \(pid \d+\) is killed")
    app.logged(r"generation 1 \(pid \d+\) left")
    app.answers(2)


def test_one_that_is_busy_in_c_is_killed(service: Callable[..., Service]) -> None:
    """Whoever holds the interpreter's lock for ever hears nothing, not even a signal."""
    app = service(gated(BUSY_IN_C), terminate_timeout=1).serves()
    app.said("deaf")
    assert app.restart() == 2
    app.logged(r"generation 1 \(pid \d+\) is killed")
    app.logged(r"generation 1 \(pid \d+\) left")
    app.answers(2)


def test_the_oldest_is_killed_when_too_many_drain(service: Callable[..., Service]) -> None:
    """A third restart does not wait for the first one's long request: that one has had the longest."""
    app = service(max_draining=2).serves()
    held = []
    for number in (2, 3, 4):
        held.append(app.hold())
        assert app.restart() == number
        app.said(f"drains {number - 1}")
    app.logged(r"generation 1 \(pid \d+\) is killed .* old: more than 2 generations would be draining")
    with pytest.raises((OSError, IndexError)):
        app.release(held[0])
    assert [app.release(each) for each in held[1:]] == [2, 3]


def test_a_long_drain_does_not_hold_up_the_next_restart(service: Callable[..., Service]) -> None:
    """Generations drain side by side."""
    app = service().serves()
    held = [app.hold()]
    for number in (2, 3, 4):
        assert app.restart() == number
        app.said(f"drains {number - 1}")
        held.append(app.hold())
    assert [app.release(each) for each in reversed(held)] == [4, 3, 2, 1]


def test_one_has_left_when_its_helpers_have(service: Callable[..., Service]) -> None:
    """A program whose real work is done by a child: the generation lasts until that is finished."""
    app = service(
        gated(
            """
    if state.generation == 1 and os.fork() == 0:
        import signal
        def finish(*_):
            allowed("done", overseer.DISABLED_STATE)
            print("finished", flush=True)
            os._exit(0)
        signal.signal(signal.SIGTERM, finish)
        print("helper", os.getpid(), flush=True)
        while True:
            signal.pause()
    """
        )
    ).serves()
    app.said("helper")
    assert app.restart() == 2
    app.logged(r"generation 1 \(pid \d+\) has ended, others of its process group have not")
    assert [g["number"] for g in app.status()["generations"]] == [1, 2]
    (app.folder / "done").touch()
    app.logged(r"generation 1 \(pid \d+\) left after .*: exit status 0")
    assert app.out.endswith("finished\n")


def test_one_that_closed_its_channel_is_asked_by_signal(service: Callable[..., Service]) -> None:
    """Some programs close every descriptor they do not know; SIGTERM reaches them all the same."""
    app = service().serves()
    app.write(
        raw(
            """
            hello(policy={"ready_after": 0})
            heard("welcome")
            channel.close()
            signal.pause()
            """
        )
    )
    assert app.restart() == 2
    app.write(ECHO)
    assert app.restart() == 3
    app.logged(r"generation 2 \(pid \d+\) left after .*: killed by signal 15")


def test_a_program_may_end_while_it_drains_in_any_way(service: Callable[..., Service]) -> None:
    """An exception on the way out is that generation's, and nobody else's."""
    app = service(gated("answer(state); raise ValueError('on the way out')")).serves()
    assert app.restart() == 2
    app.logged(r"generation 1 \(pid \d+\) left after .*: exit status 1")
    app.answers(2)

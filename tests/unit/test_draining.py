"""The moment a program is asked to leave, in every way it can be waited for."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import threading
from typing import TYPE_CHECKING

import pytest

import overseer
from overseer import Draining, State

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 20.0


def later(call: Callable[[], object]) -> threading.Thread:
    """Do something in another thread."""
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_it_is_false_until_it_begins() -> None:
    """As a truth value, as a question, and with its reason."""
    draining = Draining()
    assert not draining
    assert not draining.is_set()
    draining.begin("because")
    assert draining
    assert draining.is_set()
    assert draining.reason == "because"


def test_only_the_first_reason_counts() -> None:
    """It begins once."""
    draining = Draining()
    draining.begin("first")
    draining.begin("second")
    assert draining.reason == "first"


def test_threads_wait_for_it() -> None:
    """For ever, or for a while."""
    draining = Draining()
    assert not draining.wait(0)
    thread = later(lambda: draining.begin("now"))
    assert draining.wait(DEADLINE)
    thread.join()


def test_any_number_of_tasks_await_it() -> None:
    """Also such as come after it has begun; and one that is cancelled leaves nothing behind."""
    draining = Draining()

    async def wait() -> str:
        await draining
        return draining.reason

    async def main() -> list[str]:
        cancelled = asyncio.create_task(wait())
        tasks = [asyncio.create_task(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        cancelled.cancel()
        later(lambda: draining.begin("now"))
        found = await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE)
        return [*found, await asyncio.wait_for(wait(), DEADLINE)]

    assert asyncio.run(main()) == ["now"] * 4


def test_a_loop_that_is_closed_meanwhile_is_no_error() -> None:
    """Somebody waited in it; nobody is there to be told."""
    draining = Draining()

    async def wait() -> None:
        await draining

    loop = asyncio.new_event_loop()
    task = loop.create_task(wait())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    draining.begin("now")
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_selector_waits_for_it() -> None:
    """The descriptor becomes readable, and stays so for everybody who looks."""
    draining = Draining()
    assert select.select([draining], [], [], 0)[0] == []
    thread = later(lambda: draining.begin("now"))
    for _ in range(3):
        assert select.select([draining], [], [], DEADLINE)[0] == [draining]
    thread.join()


def test_callbacks_are_called_once_each_in_their_order() -> None:
    """In the thread in which it begins."""
    state, called = State(), []
    state.on_drain(lambda: called.append((1, threading.current_thread())))
    state.on_drain(lambda: called.append((2, threading.current_thread())))
    thread = later(lambda: state.draining.begin("now"))
    thread.join()
    state.draining.begin("again")
    assert called == [(1, thread), (2, thread)]


def test_a_callback_that_comes_late_is_called_at_once() -> None:
    """Whoever registers it need not ask first."""
    state, called = State(), []
    state.draining.begin("now")
    state.on_drain(lambda: called.append(1))
    assert called == [1]


def test_a_callback_that_fails_does_not_keep_the_others_from_being_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its traceback stands in the log."""
    state, called = State(), []
    state.on_drain(lambda: 1 / 0)
    state.on_drain(lambda: called.append(1))
    with caplog.at_level(logging.ERROR, "overseer"):
        state.draining.begin("now")
    assert called == [1]
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_may_register_another() -> None:
    """It is called as well; nobody waits for a lock that he holds himself."""
    state, called = State(), []
    state.on_drain(lambda: state.on_drain(lambda: called.append(1)))
    state.draining.begin("now")
    assert called == [1]


def in_a_fork(call: Callable[[], bool]) -> Callable[[], bool]:
    """Fork a process that says whether `call` was true; return how to wait for what it says."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, b"." if call() else b"!")
        finally:
            os._exit(0)
    os.close(writer)

    def answer() -> bool:
        with open(reader, "rb") as file:
            said = file.read()
        os.waitpid(pid, 0)
        return said == b"."

    return answer


def test_a_forked_process_is_told_as_well() -> None:
    """It waits before its parent drains, and asks afterwards."""
    draining = Draining()
    waits = in_a_fork(lambda: draining.wait(DEADLINE))
    draining.begin("now")
    assert waits()
    assert in_a_fork(draining.is_set)()


def test_a_forked_process_that_asks_is_not_killed_by_sigterm_while_it_drains() -> None:
    """What is left of a generation is sent one; it knows already."""
    draining = Draining()
    draining.begin("now")

    def survives() -> bool:
        assert draining.is_set()
        signal.raise_signal(signal.SIGTERM)
        return True

    assert in_a_fork(survives)()


def test_a_forked_process_dies_of_sigterm_before() -> None:
    """As it would without us."""
    draining = Draining()

    def survives() -> bool:
        assert not draining.is_set()
        signal.raise_signal(signal.SIGTERM)
        return True

    assert not in_a_fork(survives)()


def test_the_original_calls_it_graceful_shutdown() -> None:
    """It is the same thing."""
    state = State()
    assert state.graceful_shutdown is state.draining


def test_the_disabled_state_is_a_state_without_a_master() -> None:
    """Not enabled, nothing to listen on, and saying something does nothing."""
    state = overseer.DISABLED_STATE
    assert not state.enabled
    assert state.listeners == ()
    with pytest.raises(overseer.ConfigError, match="there is no listener"):
        _ = state.listener
    assert state.address == ""
    state.ready()
    state.fail("nobody hears it")


def test_forked_processes_are_told_before_anybody_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits here may end this process at once, and with it the thread that tells them."""
    draining = Draining()
    told: list[bool] = []
    here = draining._event.set

    def look() -> None:
        told.append(bool(select.select([draining], [], [], 0)[0]))
        here()

    monkeypatch.setattr(draining._event, "set", look)
    draining.begin("another generation serves")
    assert told == [True]
    assert draining.is_set()

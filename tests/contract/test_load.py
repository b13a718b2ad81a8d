"""The load generator against real little servers that misbehave: every fault is counted as what it is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from bench.load import (
    Drip,
    Events,
    Fresh,
    Http2,
    Kept,
    Kind,
    Late,
    Load,
    LoadError,
    LoadProcess,
    Marks,
    Outcome,
    Pipeline,
    Plan,
    Report,
    Target,
    Upload,
    WebSocket,
    run,
)
from tests.contract.loaded import ANSWER, BYE, Server, Visit, busy, kind_answer, noting, once, only, put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVERY: list[Kind] = [
    Fresh(rate=40),
    Kept(rate=40, connections=4),
    Late(rate=40),
    Drip(rate=10, over=0.1),
    Upload(rate=10, size=300_000, over=0.1),
    Pipeline(rate=10, depth=4),
]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.label)
def test_every_kind_of_client_is_content_with_a_server_that_behaves(
    kind: Kind, serve: Callable[..., Server]
) -> None:
    """What a good server answers is ok, and it saw each request once."""
    server = serve(kind_answer)
    report = put(server.target, kind)
    only(report, Outcome.OK)
    assert server.requests == report.sent


def test_a_server_on_a_unix_socket_is_loaded_the_same_way(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """Every kind at once, through a path."""
    server = serve(kind_answer, str(tmp_path / "s"))
    only(put(server.target, *EVERY), Outcome.OK)


def test_nobody_listening_is_refused() -> None:
    """A port that is taken but not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        only(put(f"http://127.0.0.1:{taken.getsockname()[1]}", *EVERY), Outcome.REFUSED)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    """What a client sees when a server has unlinked its socket too early."""
    only(put(f"unix:{tmp_path}/none", Fresh(rate=20), Kept(rate=20)), Outcome.REFUSED)


def test_a_reset_is_a_reset(serve: Callable[..., Server]) -> None:
    """The request was read, then the connection was torn down."""

    def behave(visit: Visit) -> None:
        visit.request()
        visit.reset()

    report = put(serve(behave).target, Fresh(rate=40), Kept(rate=40), Late(rate=40))
    only(report, Outcome.RESET)
    assert report.failures[0].port > 0


def test_a_close_with_an_unread_request_is_a_reset(serve: Callable[..., Server]) -> None:
    """The commonest fault of all: accepted, not yet read, and the process ends."""

    def behave(visit: Visit) -> None:
        visit.link.recv(1)

    only(put(serve(behave).target, Fresh(rate=40)), Outcome.RESET)


def test_a_close_before_the_answer_is_closed(serve: Callable[..., Server]) -> None:
    """The request was read, and there was no answer."""
    report = put(serve(once(b"")).target, Fresh(rate=40), Kept(rate=40), Late(rate=40))
    only(report, Outcome.CLOSED)
    assert report.failures[0].detail == "end of file with no answer"


def test_a_part_of_an_answer_is_closed(serve: Callable[..., Server]) -> None:
    """A body shorter than announced is no answer."""
    report = put(serve(once(ANSWER[:-1])).target, Fresh(rate=40), Kept(rate=40))
    only(report, Outcome.CLOSED)
    assert report.failures[0].detail == "end of file after a part of an answer"


def test_an_answer_of_a_server_error_is_told_from_other_statuses(serve: Callable[..., Server]) -> None:
    """503 is what proxies say during restarts; 404 is another fault."""
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\nX-Generation: 3\r\n\r\n"
    report = put(serve(once(busy)).target, Fresh(rate=40))
    only(report, Outcome.SERVER_ERROR)
    assert report.failures[0].generation == "3"
    lost = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    only(put(serve(once(lost)).target, Fresh(rate=40)), Outcome.STATUS)


def test_rubbish_is_malformed(serve: Callable[..., Server]) -> None:
    """Bytes that are not HTTP."""
    only(put(serve(once(b"220 smtp ready\r\n")).target, Fresh(rate=40), Kept(rate=40)), Outcome.MALFORMED)


def test_more_bytes_than_announced_are_malformed(serve: Callable[..., Server]) -> None:
    """They would be read as the start of the next answer."""
    only(put(serve(once(ANSWER + b"!")).target, Fresh(rate=40), Kept(rate=40)), Outcome.MALFORMED)


def test_no_answer_in_time_is_a_timeout(serve: Callable[..., Server]) -> None:
    """The server reads, and says nothing for ever."""

    def behave(visit: Visit) -> None:
        visit.request()
        visit.server.ended.wait()

    only(put(serve(behave).target, Fresh(rate=20), Kept(rate=20), timeout=0.3), Outcome.TIMEOUT)


def test_a_kept_connection_closed_while_idle_is_no_failure(serve: Callable[..., Server]) -> None:
    """The server closes after each answer without announcing it; the pool notices before it sends."""

    def behave(visit: Visit) -> None:
        visit.request()
        visit.send(ANSWER, and_close=True)

    server = serve(behave)
    report = put(server.target, Kept(rate=40, connections=1))
    only(report, Outcome.OK)
    assert report.connections["opened"] == report.sent
    assert report.connections["closed while idle"] >= report.sent - 1  # the run may end before the last one


def test_a_waiting_request_is_not_sent_on_a_connection_whose_end_has_come(
    serve: Callable[..., Server],
) -> None:
    """Requests queue for the only connection; its end came with the answer, and the pool looks first."""

    def behave(visit: Visit) -> None:
        visit.request()
        visit.server.ended.wait(0.03)
        visit.send(ANSWER, and_close=True)

    server = serve(behave)
    report = put(server.target, Kept(rate=100, connections=1, most=1))
    only(report, Outcome.OK)
    assert report.connections["opened"] == server.requests == report.sent


def test_an_announced_end_of_a_kept_connection_is_no_failure(serve: Callable[..., Server]) -> None:
    """`Connection: close` in the answer: the pool opens another one."""
    report = put(serve(once(BYE)).target, Kept(rate=40, connections=1))
    only(report, Outcome.OK)
    assert report.connections["ended by the last answer"] == report.sent


def test_a_request_sent_on_a_kept_connection_is_never_sent_again(serve: Callable[..., Server]) -> None:
    """The second request on each connection is read and not answered: a failure, seen once by the server."""

    def behave(visit: Visit) -> None:
        visit.request()
        visit.send(ANSWER)
        visit.request()

    server = serve(behave)
    report = put(server.target, Kept(rate=40, connections=1))
    assert report.count(Outcome.CLOSED) == report.failed > 0, report
    assert report.ok > 0
    assert {failure.answered for failure in report.failures} == {1}
    assert server.requests == report.sent


def test_a_connection_closed_before_a_late_sender_spoke_is_a_failure(serve: Callable[..., Server]) -> None:
    """Accepted and silent is not idle: it has a request coming."""
    report = put(serve(lambda _: None).target, Late(rate=20, wait=1.0))
    only(report, Outcome.CLOSED)
    assert report.failures[0].detail == "end of file before anything was sent"


def test_a_dripped_request_comes_byte_by_byte(serve: Callable[..., Server]) -> None:
    """The server has to read many times."""
    reads: list[list[int]] = []
    only(put(serve(noting(reads)).target, Drip(rate=10, over=0.5)), Outcome.OK)
    assert max(len(each) for each in reads) > 5
    assert min(min(each) for each in reads) == 1


def test_an_upload_arrives_whole(serve: Callable[..., Server]) -> None:
    """And in pieces, over its time."""
    sizes: Counter[int] = Counter()

    def behave(visit: Visit) -> None:
        request = visit.request()
        assert request is not None
        sizes[len(request.partition(b"\r\n\r\n")[2])] += 1
        visit.send(BYE)

    report = put(serve(behave).target, Upload(rate=10, size=1_000_000, over=0.3, pieces=7))
    only(report, Outcome.OK)
    assert sizes == {1_000_000: report.sent}


def test_an_upload_cut_off_with_an_answer_is_counted_by_that_answer(serve: Callable[..., Server]) -> None:
    """The server said why before it closed, and that is read although sending failed."""
    only(put(serve(busy).target, Upload(rate=10, size=5_000_000, over=0.3)), Outcome.SERVER_ERROR)


def test_what_a_pipeline_is_not_answered_counts_request_by_request(serve: Callable[..., Server]) -> None:
    """One answer for four requests: one ok, three failures."""

    def behave(visit: Visit) -> None:
        for _ in range(4):
            visit.request()
        visit.send(ANSWER)

    report = put(serve(behave).target, Pipeline(rate=10, depth=4))
    assert report.ok * 3 == report.count(Outcome.CLOSED) == report.failed


def stalling() -> Callable[[Visit], None]:
    """Behave: answer one at a time, and hold the tenth request, and all behind it, for 300 ms."""
    turn = threading.Lock()

    def behave(visit: Visit) -> None:
        while (request := visit.request()) is not None:
            with turn:
                if visit.server.requests >= 10 and not visit.server.ended.is_set():
                    visit.server.ended.wait(0.3)
                    visit.server.ended.set()
            close = b"Connection: close" in request
            visit.send(BYE if close else ANSWER)
            if close:
                return

    return behave


@pytest.mark.parametrize(
    "kind", [Fresh(rate=100), Kept(rate=100, connections=1, most=1)], ids=lambda kind: kind.label
)
def test_a_stall_shows_in_the_latency_of_all_that_were_due_in_it(
    kind: Kind, serve: Callable[..., Server]
) -> None:
    """No coordinated omission: a closed loop would have one slow request, here it is every one that was due.

    Of 100 requests a tenth is due in the first third of the stall, so the slowest hundredth waited long; with
    a pool of one connection it is the queue before the pool that shows it.
    """
    report = put(serve(stalling()).target, kind, seconds=1.0)
    only(report, Outcome.OK)
    assert report.total.all.most >= 0.29
    assert report.total.all.p99 >= 0.2


def test_latency_counts_from_the_time_due_even_when_the_generator_was_late(
    serve: Callable[..., Server],
) -> None:
    """Its own loop is held for 300 ms: what was due meanwhile is sent at once, its wait counts."""
    server = serve(kind_answer)

    async def held() -> Report:
        asyncio.get_running_loop().call_later(0.2, server.ended.wait, 0.3)
        return await run(server.target, Plan(kinds=(Fresh(rate=100),), seconds=1.0))

    report = asyncio.run(held())
    only(report, Outcome.OK)
    assert report.sent == 100
    assert report.lag.most >= 0.28
    assert report.total.all.p99 >= 0.2


def test_windows_tell_apart_what_was_under_way_in_them(serve: Callable[..., Server]) -> None:
    """A window around the end of the run, marked afterwards."""
    server = serve(kind_answer)

    async def marked() -> Report:
        marks = Marks()
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, marks.open, "late")
        return await run(server.target, Plan(kinds=(Fresh(rate=100),), seconds=0.6), marks=marks)

    report = asyncio.run(marked())
    split = report.kinds["fresh"]
    assert split.inside.count + split.outside.count == split.all.count == report.sent
    assert split.inside.count > 0
    assert split.outside.count > 0
    (window,) = report.windows
    assert (window.label, window.summary) == ("late", report.total.inside)


def test_a_window_marked_afterwards_holds_the_stall(serve: Callable[..., Server]) -> None:
    """Windows can be named when their ends are known; a request that reaches into one is inside."""
    marks = Marks()
    marks.add(0.0, 2.0**40, "all")
    report = put(serve(stalling()).target, Fresh(rate=100), marks=marks)
    assert report.total.inside == report.total.all
    assert report.total.outside.count == 0
    assert report.windows[0].summary.most >= 0.29


def test_answers_are_counted_by_the_generation_that_gave_them(serve: Callable[..., Server]) -> None:
    """The header names it; the order is that of the first answers."""

    def behave(visit: Visit) -> None:
        visit.request()
        name = b"old" if visit.server.requests <= 10 else b"new"
        visit.send(BYE.replace(b"\r\n\r\n", b"\r\nX-Generation: " + name + b"\r\n\r\n"))

    report = put(serve(behave).target, Fresh(rate=50))
    assert list(report.generations) == ["old", "new"]
    assert sum(each.answers for each in report.generations.values()) == report.sent
    assert report.generations["old"].first < report.generations["new"].first


def test_a_load_in_a_thread_can_be_stopped_early(serve: Callable[..., Server]) -> None:
    """It would have gone on for a minute."""
    with Load(serve(kind_answer).target, Plan(kinds=(Fresh(rate=50),), seconds=60)) as load:
        load.wait_started()
        report = load.stop()
    assert report.failed == 0
    assert 0 < report.ok < 3000
    assert load.stop() is report


def test_a_load_process_tells_its_news_while_it_runs(serve: Callable[..., Server]) -> None:
    """First answer, generations, failures, marks, and the report at the end."""
    fault = threading.Event()
    tell = {"generation": b"1"}

    def behave(visit: Visit) -> None:
        if visit.request() is not None and not fault.is_set():
            visit.send(BYE.replace(b"\r\n\r\n", b"\r\nX-Generation: " + tell["generation"] + b"\r\n\r\n"))

    with LoadProcess(serve(behave).target, Plan(kinds=(Fresh(rate=50),), seconds=60), timeline=True) as load:
        load.wait_started()
        assert not load.failures
        with load.mark("change"):
            tell["generation"] = b"2"
            came = load.wait_generation(2)
        assert load.wait_one(lambda name: int(name) > 1) == "2"
        assert load.generations == ("1", "2")
        with pytest.raises(TimeoutError, match="generations heard: 1, 2"):
            load.wait_one(lambda name: int(name) > 2, timeout=0.1)
        fault.set()
        load.wait_failures(1)
        assert load.failures[0].outcome == Outcome.CLOSED
        report = load.stop()
    assert report.count(Outcome.CLOSED) == report.failed > 0
    assert set(report.generations) == {"1", "2"}
    assert report.generations["2"].first == came
    (window,) = report.windows
    assert window.label == "change"
    assert window.new_after is not None
    assert report.labels == {"change": window.summary}
    assert sum(moment.ok for moment in report.timeline) == report.ok
    assert Report.from_json(report.to_json()) == report


def test_a_load_process_told_to_end_finishes_what_is_under_way(serve: Callable[..., Server]) -> None:
    """SIGTERM begins nothing more; requests already sent get their answers."""
    hold = threading.Event()
    seen = threading.Event()

    def behave(visit: Visit) -> None:
        if visit.request() is not None:
            if visit.server.requests > 5:
                seen.set()
                hold.wait(10)
            visit.send(BYE)

    server = serve(behave)
    with LoadProcess(server.target, Plan(kinds=(Fresh(rate=50),), seconds=60)) as load:
        assert seen.wait(20)
        os.kill(load.pid, signal.SIGTERM)
        hold.set()
        report = load.stop()
    only(report, Outcome.OK)
    assert report.sent == server.requests


def test_a_load_process_that_was_killed_is_an_error(serve: Callable[..., Server]) -> None:
    """No report must not look like a good one."""
    load = LoadProcess(serve(kind_answer).target, Plan(kinds=(Fresh(rate=50),), seconds=60)).start()
    load.wait_started()
    os.kill(load.pid, signal.SIGKILL)
    with pytest.raises(LoadError, match="status -9"):
        load.stop()


def test_a_load_process_ends_when_its_master_is_gone(serve: Callable[..., Server]) -> None:
    """The end of its stdin is the word to stop: no load outlives the test that started it."""
    command = [
        sys.executable,
        "-m",
        "bench.load",
        serve(kind_answer).target,
        "--fresh",
        "50",
        "--seconds",
        "60",
    ]
    ended = subprocess.run([*command, "--control"], input=b"", capture_output=True, check=False, timeout=30)
    assert ended.returncode == 0


def test_waiting_for_an_answer_that_cannot_come_says_what_failed() -> None:
    """The message names the last failure."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        plan = Plan(kinds=(Fresh(rate=50),), seconds=60)
        with LoadProcess(f"http://127.0.0.1:{taken.getsockname()[1]}", plan) as load:
            load.wait_failures(1)
            with pytest.raises(TimeoutError, match="refused"):
                load.wait_started(0.1)
            only(load.stop(), Outcome.REFUSED)


def test_the_command_line_prints_a_table_for_people(serve: Callable[..., Server]) -> None:
    """And its exit status says whether a request failed."""
    command = [sys.executable, "-m", "bench.load", "--fresh", "50", "--kept", "50", "--seconds", "0.3"]
    good = subprocess.run([*command, serve(kind_answer).target], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    assert "p99.9" in good.stdout
    assert "0 failed" in good.stdout
    bad = subprocess.run([*command, serve(once(b"")).target], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "end of file with no answer" in bad.stdout


def test_a_target_that_is_not_on_this_machine_needs_a_word_more() -> None:
    """Load on strangers is a decision, not a typo (192.0.2.0/24 is nobody's)."""
    with pytest.raises(ValueError, match="not on this machine"):
        Target.parse("http://192.0.2.1:80")
    assert Target.parse("http://192.0.2.1:80", anywhere=True).address == ("192.0.2.1", 80)


def test_a_plan_goes_through_json_unchanged() -> None:
    """The load's own process gets exactly the plan that was made."""
    kinds = (*EVERY, WebSocket(path="/ws"), Events(silence=2.0), Http2(rate=1))
    plan = Plan(kinds=kinds, headers=(("A", "b"),), generation_body=r"app#(\d+)", seconds=None)
    assert Plan.from_json(plan.to_json()) == plan

"""The load generator's streams of events against servers that misbehave, and against one that does not."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from bench.load import Events, Outcome, Plan, Report, run
from tests.contract.loaded import Server, Visit, once, only, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

pytestmark = pytest.mark.long

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def listen(connections: int = 3, **more: Any) -> Events:
    """Return a kind of client."""
    return Events(rate=50, connections=connections, **more)


def chunk(data: bytes) -> bytes:
    """Return a chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def numbered(numbers: Iterable[int]) -> bytes:
    """Return the beginning of a stream, with these events in it, cut into chunks within each."""
    return HEAD + b"".join(chunk(b"id: %d\nda" % number) + chunk(b"ta: x\n\n") for number in numbers)


def sending(data: bytes) -> Callable[[Visit], None]:
    """Behave: answer a request with this, and close."""
    return once(data)


def going_on(visit: Visit) -> None:
    """Behave: send events until the client goes."""
    if visit.request() is not None:
        visit.send(HEAD)
        for number in itertools.count():
            visit.send(chunk(b"data: %d\n\n" % number))
            visit.server.ended.wait(0.02)


def failing(report: Report, outcome: Outcome) -> None:
    """See that every stream failed so, but those whose time had not come when the load ended."""
    assert report.failed == report.count(outcome) > 0, report
    assert report.ok <= 3, report


def detail(report: Report) -> str:
    """Return what the first failure says."""
    return report.failures[0].detail


def test_streams_that_go_on_well_are_good_when_the_load_ends(serve: Callable[..., Server]) -> None:
    """Each is one request, however many events it had."""
    report = put(serve(going_on).target, listen(), seconds=0.5)
    only(report, Outcome.OK)
    assert report.sent == report.connections["opened"] == 3
    assert report.apart["events"]["events"] > 3
    assert "told to leave" not in report.apart["events"]


def test_a_stream_that_is_new_when_the_load_ends_is_read_to_its_first_event(
    serve: Callable[..., Server],
) -> None:
    """It is under way, and its latency counts to there."""

    def behave(visit: Visit) -> None:
        if visit.request() is not None:
            visit.send(HEAD)
            visit.server.ended.wait(0.4)
            visit.send(chunk(b"data: 1\n\n"))
            visit.server.ended.wait()

    report = put(serve(behave).target, listen(1))
    only(report, Outcome.OK)
    assert report.total.all.most >= 0.4


def test_who_is_told_to_leave_comes_back_and_nothing_has_failed(serve: Callable[..., Server]) -> None:
    """Every stream ends between two events, as a whole answer; also after a comment."""
    report = put(serve(sending(numbered([7, 8, 9]) + chunk(b": bye\n") + LAST)).target, listen())
    only(report, Outcome.OK)
    left = report.apart["events"]["told to leave"]
    assert left > 3
    assert left <= report.sent <= left + 3
    assert report.apart["events"]["events"] >= 3 * left


def test_a_stream_that_ends_before_its_first_event_is_not_asked_for_at_once(
    serve: Callable[..., Server],
) -> None:
    """It is good, and the next arrival opens another: a server that always does so is not flooded."""
    report = put(serve(sending(HEAD + LAST)).target, listen(), seconds=0.5)
    only(report, Outcome.OK)
    assert report.sent <= 25


@pytest.mark.parametrize("end", [LAST, b""], ids=["as a whole answer", "cut"])
def test_an_end_within_an_event_is_a_failure(serve: Callable[..., Server], end: bytes) -> None:
    """Even when the answer is whole: who reads it has half an event."""
    report = put(serve(sending(numbered([1]) + chunk(b"id: 2\ndata: y\n") + end)).target, listen())
    failing(report, Outcome.CLOSED)
    assert "within an event" in detail(report)
    assert report.failures[0].answered == 1


def test_an_end_without_the_last_chunk_is_a_failure(serve: Callable[..., Server]) -> None:
    """Between two events, but not as a whole answer: browsers call it an error."""
    report = put(serve(sending(numbered([1, 2]))).target, listen())
    failing(report, Outcome.CLOSED)
    assert detail(report) == "end of file with no last chunk"


def test_an_end_that_cannot_be_told_from_a_cut_is_a_failure(serve: Callable[..., Server]) -> None:
    """A stream without chunks lasts as long as its connection."""
    head = HEAD.replace(b"Transfer-Encoding: chunked", b"Connection: close")
    report = put(serve(sending(head + b"data: 1\n\n")).target, listen())
    failing(report, Outcome.CLOSED)
    assert "which no client can tell from a cut" in detail(report)


def test_a_reset_is_a_reset(serve: Callable[..., Server]) -> None:
    """Also between two events."""

    def behave(visit: Visit) -> None:
        if visit.request() is not None:
            visit.send(numbered([1]))
            visit.server.ended.wait(0.02)
            visit.reset()

    failing(put(serve(behave).target, listen()), Outcome.RESET)


@pytest.mark.parametrize("numbers", [[1, 2, 4], [1, 1], [2, 1]], ids=["missing", "twice", "backwards"])
def test_numbers_that_leap_are_a_gap(serve: Callable[..., Server], numbers: list[int]) -> None:
    """An event that is missing in a stream was lost by its server."""
    report = put(serve(sending(numbered(numbers) + LAST)).target, listen())
    failing(report, Outcome.GAP)
    assert detail(report) == f"event {numbers[-1]} after event {numbers[-2]}"


def test_each_stream_counts_for_itself(serve: Callable[..., Server]) -> None:
    """Where the next one begins is its server's business."""

    def behave(visit: Visit) -> None:
        if visit.request() is not None:
            visit.send(numbered(range(visit.server.requests * 10, visit.server.requests * 10 + 5)) + LAST)

    only(put(serve(behave).target, listen()), Outcome.OK)


def test_another_answer_than_a_stream_of_events_is_a_failure(serve: Callable[..., Server]) -> None:
    """By its status or by its type."""
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nX-Generation: 3\r\n\r\n"
    report = put(serve(sending(busy)).target, listen())
    only(report, Outcome.SERVER_ERROR)
    assert report.failures[0].generation == "3"
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    only(put(serve(sending(empty)).target, listen()), Outcome.STATUS)
    page = numbered([1]).replace(b"event-stream", b"html") + LAST
    only(put(serve(sending(page)).target, listen()), Outcome.MALFORMED)


def test_bytes_that_are_no_chunks_are_malformed(serve: Callable[..., Server]) -> None:
    """Also more of them than the answer has."""
    failing(put(serve(sending(numbered([1]) + b"x\r\n")).target, listen()), Outcome.MALFORMED)
    for more in (b"more", b"HTTP/1.1 20", numbered([2]) + LAST):
        failing(put(serve(sending(numbered([1]) + LAST + more)).target, listen()), Outcome.MALFORMED)


def test_a_stream_without_an_answer_is_a_failure(serve: Callable[..., Server]) -> None:
    """The request was read, and the connection closed."""
    report = put(serve(sending(b"")).target, listen())
    only(report, Outcome.CLOSED)
    assert detail(report) == "end of file with no answer"


def test_silence_is_a_timeout(serve: Callable[..., Server]) -> None:
    """Before the first event always, after it if the plan says how long is too long."""

    def behave(visit: Visit) -> None:
        if visit.request() is not None:
            visit.send(HEAD)
            visit.server.ended.wait()

    report = put(serve(behave).target, listen(), timeout=0.3)
    only(report, Outcome.TIMEOUT)
    assert detail(report) == "no event in 0.3 s"

    def later(visit: Visit) -> None:
        if visit.request() is not None:
            visit.send(numbered([1]))
            visit.server.ended.wait()

    report = put(serve(later).target, listen(silence=0.1), seconds=0.5)
    assert report.count(Outcome.TIMEOUT) == report.failed >= 3
    assert detail(report) == "silent for 0.1 s"
    only(put(serve(later).target, listen()), Outcome.OK)


def test_a_generation_is_told_by_the_head_or_by_the_first_event(serve: Callable[..., Server]) -> None:
    """And is heard of when it speaks, not when the stream ends."""
    told: list[str] = []

    async def load(server: Server) -> Report:
        stop = asyncio.Event()

        def hear(event: dict[str, Any]) -> None:
            if event["event"] == "generation":
                told.append(event["generation"])
                stop.set()

        plan = Plan(kinds=(listen(),), seconds=30, generation_body=r"^of (\d+)")
        return await run(server.target, plan, stop=stop, told=hear)

    def by_event(visit: Visit) -> None:
        if visit.request() is not None:
            visit.send(HEAD + chunk(b"data: of 4\n\n"))
            visit.server.ended.wait()

    def by_head(visit: Visit) -> None:
        if visit.request() is not None:
            visit.send(HEAD.replace(b"\r\n\r\n", b"\r\nX-Generation: 5\r\n\r\n") + chunk(b"data: x\n\n"))
            visit.server.ended.wait()

    for behave, name in ((by_event, "4"), (by_head, "5")):
        report = asyncio.run(load(serve(behave)))
        assert told.pop() == name
        assert report.generations[name].timed == report.ok > 0


def test_nobody_listening_is_refused(serve: Callable[..., Server]) -> None:
    """And asked again no more often than the plan says."""
    server = serve(going_on)
    server.close()
    report = put(server.target, listen(), seconds=0.5)
    only(report, Outcome.REFUSED)
    assert report.sent <= 25

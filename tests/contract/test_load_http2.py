"""The load generator's HTTP/2 against servers that misbehave: what they promise by GOAWAY is held to."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from bench.load import Http2, Outcome, Plan, Report, run
from h2.errors import ErrorCodes
from tests.contract.loaded import ANSWER, Server, Sessions, Visit, once, only, put

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.long


def ask(rate: float = 40, connections: int = 1, **more: Any) -> Http2:
    """Return a kind of client."""
    return Http2(rate=rate, connections=connections, **more)


def speaking(behave: Callable[[Sessions], object]) -> Callable[[Visit], None]:
    """Behave so on each connection, then close it."""

    def visit(visit: Visit) -> None:
        session = Sessions(visit)
        behave(session)
        session.leave()

    return visit


def detail(report: Report) -> str:
    """Return what the first failure says."""
    return report.failures[0].detail


def test_requests_share_a_few_connections(serve: Callable[..., Server]) -> None:
    """Each was asked once."""
    server = serve(speaking(Sessions.answer_all))
    report = put(server.target, ask(rate=100, connections=2))
    only(report, Outcome.OK)
    assert server.requests == report.sent
    assert report.connections == {"opened": 2}
    assert report.apart == {}


def test_streams_are_open_side_by_side(serve: Callable[..., Server]) -> None:
    """The first is answered when five are open, in the order that the server likes."""

    def behave(session: Sessions) -> None:
        while (first := session.stream()) is not None:
            numbers = [first]
            while len(numbers) < 5 and (number := session.stream()) is not None:
                numbers.append(number)
            for number in reversed(numbers):
                session.answer(number, body=b"x" * 8000)

    report = put(serve(speaking(behave)).target, ask(rate=40), seconds=0.5)
    only(report, Outcome.OK)
    assert report.sent == 20


@pytest.mark.parametrize("whose", ["client", "server"])
def test_no_more_streams_are_open_than_either_side_wants(serve: Callable[..., Server], whose: str) -> None:
    """The others wait, and their wait counts."""
    most = 0

    def visit(visit: Visit) -> None:
        nonlocal most
        session = Sessions(visit, 2 if whose == "server" else None)
        first = session.stream()
        assert first is not None
        session.answer(first)  # by now the client has heard what the server wants
        open_: list[int] = []
        while (number := session.stream()) is not None:
            open_.append(number)
            most = max(most, len(open_))
            if len(open_) == 2:
                visit.server.ended.wait(0.1)
                while open_:
                    session.answer(open_.pop())

    report = put(serve(visit).target, ask(rate=39, streams=2 if whose == "client" else 50), seconds=0.53)
    only(report, Outcome.OK)
    assert most == 2
    assert report.total.all.most > 0.3


def test_a_generation_is_told_by_a_field_or_by_the_body(serve: Callable[..., Server]) -> None:
    """As in HTTP/1."""

    def by_field(session: Sessions) -> None:
        while (number := session.stream()) is not None:
            session.answer(number, 200, ("x-generation", "5"))

    report = put(serve(speaking(by_field)).target, ask())
    assert report.generations["5"].timed == report.ok == report.sent

    def by_body(session: Sessions) -> None:
        while (number := session.stream()) is not None:
            session.answer(number, body=b"I am app#6")

    plan = Plan(kinds=(ask(),), seconds=0.25, generation_body=r"app#(\d+)")
    report = asyncio.run(run(serve(speaking(by_body)).target, plan))
    assert report.generations["6"].timed == report.ok == report.sent


def test_who_is_told_to_leave_is_answered_first_and_comes_back(serve: Callable[..., Server]) -> None:
    """Streams up to the last that the server has seen; GOAWAY does not end the connection."""

    def behave(session: Sessions) -> None:
        numbers = [session.stream() for _ in range(3)]
        if None not in numbers:
            session.goaway(numbers[-1] or 0)
            session.visit.server.ended.wait(0.02)
            for number in numbers:
                session.answer(number or 0)

    server = serve(speaking(behave))
    report = put(server.target, ask(rate=100), seconds=0.6)
    only(report, Outcome.OK)
    assert report.apart["http2"]["told to leave"] >= 10
    assert server.requests <= report.sent + report.apart["http2"].get("retried", 0)


def test_streams_above_the_last_are_retried_on_a_new_connection(serve: Callable[..., Server]) -> None:
    """The first server has read three requests and says that it has processed one; the second does all."""
    answered: list[int] = []

    def behave(session: Sessions) -> None:
        if answered:
            session.answer_all()
            return
        numbers = [session.stream() or 0 for _ in range(3)]
        answered.append(numbers[0])
        session.goaway(numbers[0])
        session.answer(numbers[0])

    server = serve(speaking(behave))
    report = put(server.target, ask(rate=40))
    only(report, Outcome.OK)
    assert report.connections["opened"] == 2
    assert report.apart["http2"]["told to leave"] == 1
    assert report.apart["http2"]["retried"] >= 2
    assert server.requests <= report.sent + report.apart["http2"]["retried"]


def test_a_warning_before_goaway_names_no_stream(serve: Callable[..., Server]) -> None:
    """RFC 9113, 6.8: first 2**31-1, and some time later the last one that has come."""

    def behave(session: Sessions) -> None:
        first = session.stream()
        if first is None:
            return
        session.goaway(2**31 - 1)
        session.visit.server.ended.wait(0.02)
        session.goaway(first)
        session.answer(first)
        session.answer_all()

    report = put(serve(speaking(behave)).target, ask())
    only(report, Outcome.OK)
    assert report.apart["http2"]["told to leave"] == report.connections["opened"] > 3


def test_a_stream_that_was_promised_an_answer_and_has_none_is_a_failure(
    serve: Callable[..., Server],
) -> None:
    """GOAWAY with its number, and then the end of the connection."""

    def behave(session: Sessions) -> None:
        number = session.stream()
        if number is not None:
            session.goaway(number)

    report = put(serve(speaking(behave)).target, ask())
    only(report, Outcome.CLOSED)
    assert detail(report) == "end of file with 1 streams open after GOAWAY"


def test_an_end_with_streams_open_is_a_failure(serve: Callable[..., Server]) -> None:
    """Without GOAWAY nobody knows what was processed: nothing is sent again."""
    server = serve(speaking(Sessions.stream))
    report = put(server.target, ask())
    only(report, Outcome.CLOSED)
    assert detail(report) == "end of file with 1 streams open"
    assert server.requests == report.sent


def test_an_end_within_an_answer_is_a_failure(serve: Callable[..., Server]) -> None:
    """The head of the answer was here."""

    def behave(session: Sessions) -> None:
        number = session.stream()
        if number is not None:
            session.http.send_headers(number, [(":status", "200")])
            session.http.send_data(number, b"half of it")
            session.visit.send(session.http.data_to_send())

    only(put(serve(speaking(behave)).target, ask()), Outcome.CLOSED)


def test_an_end_with_no_stream_open_is_no_failure(serve: Callable[..., Server]) -> None:
    """As with connections that are kept in HTTP/1, with GOAWAY or without."""

    def behave(session: Sessions) -> None:
        number = session.stream()
        if number is not None:
            session.answer(number)

    report = put(serve(speaking(behave)).target, ask(rate=20))
    assert report.failed == 0, report
    assert report.connections["closed while idle"] > 0


def test_a_reset_with_streams_open_is_a_failure(serve: Callable[..., Server]) -> None:
    """Of the connection."""

    def behave(session: Sessions) -> None:
        session.stream()
        session.visit.reset()

    only(put(serve(speaking(behave)).target, ask()), Outcome.RESET)


def test_a_refused_stream_is_retried_and_another_reset_is_a_failure(serve: Callable[..., Server]) -> None:
    """REFUSED_STREAM says that nothing was done; INTERNAL_ERROR does not."""

    def refusing(session: Sessions) -> None:
        number = session.stream()
        if number is not None and session.visit.server.requests % 2:
            session.reset(number, ErrorCodes.REFUSED_STREAM)
        elif number is not None:
            session.answer(number)
        session.answer_all()

    report = put(serve(speaking(refusing)).target, ask(rate=20))
    only(report, Outcome.OK)
    assert report.apart["http2"]["retried"] > 0

    def failing(session: Sessions) -> None:
        while (number := session.stream()) is not None:
            session.reset(number, ErrorCodes.INTERNAL_ERROR)

    report = put(serve(speaking(failing)).target, ask())
    only(report, Outcome.RESET)
    assert detail(report) == "stream reset: INTERNAL_ERROR"
    assert "http2" not in report.apart


def test_a_server_that_refuses_every_stream_has_failed(serve: Callable[..., Server]) -> None:
    """It says each time that nothing was done, and nothing is done."""

    def behave(session: Sessions) -> None:
        while (number := session.stream()) is not None:
            session.reset(number, ErrorCodes.REFUSED_STREAM)

    server = serve(speaking(behave))
    report = put(server.target, ask(rate=10))
    only(report, Outcome.REFUSED)
    assert server.requests == 10 * report.sent


def test_goaway_with_an_error_is_a_failure(serve: Callable[..., Server]) -> None:
    """Of what is open; or of itself, when nothing is."""

    def behave(session: Sessions) -> None:
        number = session.stream()
        if number is not None:
            session.goaway(number, ErrorCodes.INTERNAL_ERROR)

    report = put(serve(speaking(behave)).target, ask())
    only(report, Outcome.CLOSED)
    assert detail(report) == "GOAWAY: INTERNAL_ERROR"

    def later(session: Sessions) -> None:
        number = session.stream()
        if number is not None:
            session.answer(number)
            session.goaway(number, ErrorCodes.ENHANCE_YOUR_CALM)
            session.answer_all()

    report = put(serve(speaking(later)).target, ask(rate=20))
    assert report.ok > 0
    assert report.failed == report.count(Outcome.CLOSED) > 0
    assert "told to leave" not in report.apart.get("http2", {})


def test_an_answer_of_a_server_error_is_told_from_other_statuses(serve: Callable[..., Server]) -> None:
    """As in HTTP/1."""

    def busy(session: Sessions) -> None:
        while (number := session.stream()) is not None:
            session.answer(number, 503)

    only(put(serve(speaking(busy)).target, ask()), Outcome.SERVER_ERROR)

    def lost(session: Sessions) -> None:
        while (number := session.stream()) is not None:
            session.answer(number, 404)

    only(put(serve(speaking(lost)).target, ask()), Outcome.STATUS)


def test_no_answer_in_time_is_a_timeout_of_its_stream_alone(serve: Callable[..., Server]) -> None:
    """The others on its connection are answered."""

    def behave(session: Sessions) -> None:
        session.stream()
        session.answer_all()

    report = put(serve(speaking(behave)).target, ask(), seconds=0.5, timeout=0.4)
    assert report.count(Outcome.TIMEOUT) == report.failed == 1
    assert report.connections["opened"] == 1


def test_no_stream_in_time_is_a_timeout(serve: Callable[..., Server]) -> None:
    """One is open for ever, and there is room for no other."""

    def behave(session: Sessions) -> None:
        while session.stream() is not None:
            pass

    report = put(serve(speaking(behave)).target, ask(streams=1), timeout=0.3)
    only(report, Outcome.TIMEOUT)


def test_another_language_is_malformed(serve: Callable[..., Server]) -> None:
    """An answer in HTTP/1, say."""

    def behave(visit: Visit) -> None:
        visit.link.recv(65536)
        visit.send(ANSWER)
        visit.server.ended.wait()

    only(put(serve(behave).target, ask()), Outcome.MALFORMED)


def test_nobody_listening_is_refused(serve: Callable[..., Server]) -> None:
    """Every request, as it comes."""
    server = serve(once(b""))
    server.close()
    only(put(server.target, ask(connections=3)), Outcome.REFUSED)


def test_a_server_that_leaves_the_connection_open_after_goaway_is_left(serve: Callable[..., Server]) -> None:
    """After a while, and it is no failure."""
    left = threading.Event()

    def behave(session: Sessions) -> None:
        number = session.stream()
        if number is not None:
            session.goaway(number)
            session.answer(number)
            assert session.stream() is None
            left.set()

    report = put(serve(speaking(behave)).target, ask(rate=5), seconds=1.5)
    only(report, Outcome.OK)
    assert report.connections["left open by the server"] > 0
    assert left.is_set()

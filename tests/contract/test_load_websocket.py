"""The load generator's WebSockets against servers that misbehave, and against those that do not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bench.load import Fresh, Outcome, Plan, Report, WebSocket, run
from tests.contract.loaded import Server, Talker, Visit, echo, once, only, put
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.frames import Opcode

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.long


def talk(rate: float = 40, connections: int = 2, **more: Any) -> WebSocket:
    """Return a kind of client."""
    return WebSocket(rate=rate, connections=connections, **more)


def talking(behave: Callable[[Talker], object]) -> Callable[[Visit], None]:
    """Behave so once the WebSocket is open."""

    def visit(visit: Visit) -> None:
        behave(Talker(visit).open())

    return visit


def detail(report: Report) -> str:
    """Return what the first failure says."""
    return report.failures[0].detail


def test_echoes_are_counted_message_by_message(serve: Callable[..., Server]) -> None:
    """Each was sent once, on as many connections as were asked for."""
    server = serve(talking(echo))
    report = put(server.target, talk())
    only(report, Outcome.OK)
    assert len(server.messages) == len(set(server.messages)) == report.sent
    assert report.connections["opened"] == 2
    assert report.apart == {}


def test_a_generation_is_told_by_the_opening_or_by_each_echo(serve: Callable[..., Server]) -> None:
    """A server may put a word of its own before the message."""
    server = serve(lambda visit: echo(Talker(visit, b"X-Generation: 5\r\n").open()))
    assert list(put(server.target, talk()).generations) == ["5"]

    def speak(talk: Talker) -> None:
        while (data := talk.message()) is not None:
            talk.say(b"6 " + data)

    plan = Plan(kinds=(talk(),), seconds=0.25, generation_body=r"^(\d+) ")
    report = asyncio.run(run(serve(talking(speak)).target, plan))
    only(report, Outcome.OK)
    assert report.generations["6"].timed == report.sent


def test_pings_are_answered_and_pieces_are_put_together(serve: Callable[..., Server]) -> None:
    """As every client has to."""
    pongs: list[bytes] = []

    def behave(talk: Talker) -> None:
        while (data := talk.message()) is not None:
            talk.say(data[:5], fin=False)
            talk.say(b"there?", Opcode.PING)
            talk.say(b"", Opcode.CONT, fin=False)
            talk.say(data[5:], Opcode.CONT)
            frame = talk.read()
            assert frame is not None
            pongs.append(bytes(frame.data))

    report = put(serve(talking(behave)).target, talk(rate=20, connections=1))
    only(report, Outcome.OK)
    assert pongs == [b"there?"] * report.sent


@pytest.mark.parametrize("code", [1000, 1001, 1012])
def test_who_is_told_to_leave_comes_back_and_nothing_has_failed(
    serve: Callable[..., Server], code: int
) -> None:
    """After three messages each connection is closed in order; the next one is opened at once."""

    def behave(talk: Talker) -> None:
        if echo(talk, 3):
            talk.end(code)

    report = put(serve(talking(behave)).target, talk(rate=100), seconds=0.5)
    only(report, Outcome.OK)
    left = report.apart["websocket"]["told to leave"]
    assert left >= report.sent // 3 - 2
    assert left <= report.connections["opened"] <= left + 2


def test_a_message_that_crossed_the_close_is_sent_again_and_counted(serve: Callable[..., Server]) -> None:
    """It was read and not echoed, which nobody can see from outside; the next connection answers it."""

    def behave(talk: Talker) -> None:
        if echo(talk, 1) and talk.message() is not None:
            talk.end(1012)

    server = serve(talking(behave))
    report = put(server.target, talk(rate=40, connections=1), seconds=0.5)
    only(report, Outcome.OK)
    again = report.apart["websocket"]["sent again"]
    assert again >= report.sent - 1
    assert len(server.messages) == report.sent + again


def test_a_message_sent_long_before_the_close_did_not_cross_it(serve: Callable[..., Server]) -> None:
    """The server had time to answer it: that is a failure, and it is not sent again."""

    def behave(talk: Talker) -> None:
        talk.message()
        talk.visit.server.ended.wait(0.1)
        talk.end(1012)

    server = serve(talking(behave))
    report = put(server.target, talk(rate=20, connections=20, crossing=0.05))
    only(report, Outcome.CLOSED)
    assert "before the close 1012 as told" in detail(report)
    assert len(server.messages) == report.sent


def test_a_server_that_always_closes_and_never_echoes_has_failed(serve: Callable[..., Server]) -> None:
    """Nothing crosses every close."""

    def behave(talk: Talker) -> None:
        talk.message()
        talk.end(1012)

    server = serve(talking(behave))
    report = put(server.target, talk(rate=10, connections=1))
    only(report, Outcome.CLOSED)
    assert detail(report).startswith("closed 10 times with no echo")
    assert len(server.messages) == 10 * report.sent


@pytest.mark.parametrize("code", [1002, 1011, 1013, 4000])
def test_a_close_that_says_that_something_is_wrong_is_a_failure(
    serve: Callable[..., Server], code: int
) -> None:
    """Also when no message was under way: then it is one more."""

    def behave(talk: Talker) -> None:
        talk.message()
        talk.end(code)

    report = put(serve(talking(behave)).target, talk(connections=1))
    only(report, Outcome.CLOSED)
    assert detail(report) == f"close {code} as told"

    def later(talk: Talker) -> None:
        echo(talk, 1)
        talk.end(code)

    report = put(serve(talking(later)).target, talk(rate=10, connections=1))
    assert report.ok > 0
    assert report.failed == report.count(Outcome.CLOSED) > 0
    assert any(failure.due == failure.at for failure in report.failures), "nothing was under way"


def test_a_close_without_a_code_is_a_failure(serve: Callable[..., Server]) -> None:
    """It does not tell the client to come back."""

    def behave(talk: Talker) -> None:
        talk.message()
        talk.say(b"", Opcode.CLOSE)
        talk.message()

    report = put(serve(talking(behave)).target, talk(connections=1))
    only(report, Outcome.CLOSED)
    assert detail(report) == "close a close without a code"


def test_an_end_of_file_without_a_close_frame_is_a_failure(serve: Callable[..., Server]) -> None:
    """What browsers call 1006."""
    report = put(serve(talking(lambda talk: talk.message())).target, talk())
    only(report, Outcome.CLOSED)
    assert detail(report) == "end of file with no close frame"


def test_an_end_of_file_on_an_idle_websocket_is_a_failure_too(serve: Callable[..., Server]) -> None:
    """Everything sent was answered, and yet it is one more that failed: nobody told the client to leave."""
    report = put(serve(talking(lambda talk: echo(talk, 1))).target, talk(rate=20, connections=1))
    assert report.ok > 0
    assert report.failed >= report.ok - 1
    idle = [failure for failure in report.failures if failure.due == failure.at]
    assert {failure.outcome for failure in idle} == {Outcome.CLOSED}


def test_an_end_within_a_frame_is_a_failure(serve: Callable[..., Server]) -> None:
    """And said to be one."""

    def behave(talk: Talker) -> None:
        talk.message()
        talk.visit.send(b"\x81\x20....")

    report = put(serve(talking(behave)).target, talk(connections=1))
    only(report, Outcome.CLOSED)
    assert detail(report) == "end of file within a frame"


def test_a_reset_is_a_reset(serve: Callable[..., Server]) -> None:
    """With a message under way or without."""

    def behave(talk: Talker) -> None:
        talk.message()
        talk.visit.reset()

    only(put(serve(talking(behave)).target, talk()), Outcome.RESET)

    def later(talk: Talker) -> None:
        echo(talk, 1)
        talk.visit.server.ended.wait(0.02)
        talk.visit.reset()

    report = put(serve(talking(later)).target, talk(rate=10, connections=1))
    assert report.ok > 0
    assert report.failed == report.count(Outcome.RESET) > 0


def test_a_message_without_its_echo_in_time_has_failed(serve: Callable[..., Server]) -> None:
    """The server reads, and says nothing for ever."""

    def behave(talk: Talker) -> None:
        while talk.message() is not None:
            pass

    report = put(serve(talking(behave)).target, talk(), timeout=0.3)
    only(report, Outcome.TIMEOUT)
    assert detail(report) == "no echo in 0.3 s"


def test_an_opening_that_is_not_answered_in_time_has_failed(serve: Callable[..., Server]) -> None:
    """Accepted and silent."""
    report = put(serve(lambda visit: visit.server.ended.wait()).target, talk(), timeout=0.3)
    only(report, Outcome.TIMEOUT)
    assert detail(report) == "no WebSocket in 0.3 s"


def test_who_comes_back_and_is_not_answered_misses_the_websocket_and_not_an_echo(
    serve: Callable[..., Server],
) -> None:
    """The message that is sent again is overdue before the opening is."""
    visits: list[Visit] = []

    def behave(visit: Visit) -> None:
        visits.append(visit)
        if len(visits) == 1:
            talk = Talker(visit).open()
            assert talk.message() is not None
            visit.server.ended.wait(0.15)
            talk.end(1012)
        visit.server.ended.wait()

    report = put(serve(behave).target, talk(rate=10, connections=1), timeout=0.3)
    only(report, Outcome.TIMEOUT)
    assert report.apart["websocket"]["sent again"] >= 1
    assert detail(report) == "no WebSocket in 0.3 s"


def test_another_message_than_the_one_sent_is_malformed(serve: Callable[..., Server]) -> None:
    """So is one that nobody asked for."""

    def behave(talk: Talker) -> None:
        data = talk.message()
        assert data is not None
        talk.say(data[:-1] + b"!")

    only(put(serve(talking(behave)).target, talk()), Outcome.MALFORMED)


def test_frames_that_a_server_may_not_send_are_malformed(serve: Callable[..., Server]) -> None:
    """Here one that is masked."""

    def behave(talk: Talker) -> None:
        data = talk.message()
        assert data is not None
        talk.visit.send(bytes((0x81, 0x80 | len(data))) + bytes(4) + data)

    only(put(serve(talking(behave)).target, talk()), Outcome.MALFORMED)


def test_a_refused_opening_is_counted_by_its_status(serve: Callable[..., Server]) -> None:
    """503 is what proxies say during restarts; 200 is an answer, and no WebSocket."""
    busy = once(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nX-Generation: 3\r\n\r\n")
    report = put(serve(busy).target, talk())
    only(report, Outcome.SERVER_ERROR)
    assert report.failures[0].generation == "3"
    only(put(serve(once(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).target, talk()), Outcome.STATUS)


def test_an_opening_that_is_answered_wrongly_is_malformed(serve: Callable[..., Server]) -> None:
    """For another key than the one sent, or not in HTTP at all."""

    def behave(visit: Visit) -> None:
        visit.send(Talker(visit).opening.replace(b"Accept: ", b"Accept: x"))

    report = put(serve(behave).target, talk())
    only(report, Outcome.MALFORMED)
    assert "another key" in detail(report)
    only(put(serve(once(b"220 smtp ready\r\n")).target, talk()), Outcome.MALFORMED)


def test_an_opening_without_an_answer_is_a_failure(serve: Callable[..., Server]) -> None:
    """Closed at once, or after the request."""
    for behave in (lambda _: None, once(b""), once(b"HTTP/1.1 101 Swi")):
        report = put(serve(behave).target, talk())
        assert report.failed == report.sent == report.count(Outcome.CLOSED) + report.count(Outcome.RESET)


def test_who_does_not_close_after_the_close_frames_is_closed(serve: Callable[..., Server]) -> None:
    """That is impolite and no failure."""

    def behave(talk: Talker) -> None:
        if echo(talk, 1):
            talk.end(1012)
            talk.visit.server.ended.wait()

    report = put(serve(talking(behave)).target, talk(rate=10, connections=1), seconds=1.5)
    only(report, Outcome.OK)
    assert report.connections["left open by the server"] > 0


def test_a_reset_after_the_close_frame_is_no_failure(serve: Callable[..., Server]) -> None:
    """The client has been told to leave."""

    def behave(talk: Talker) -> None:
        if echo(talk, 1):
            talk.end(1012)
            talk.visit.reset()

    report = put(serve(talking(behave)).target, talk(rate=10, connections=1))
    only(report, Outcome.OK)
    assert report.connections["reset after the close"] > 0


def test_the_websockets_library_is_talked_with() -> None:
    """A server that nobody here wrote, which closes each connection after its third message."""

    async def answer(connection: ServerConnection) -> None:
        for _ in range(3):
            await connection.send(await connection.recv())
        await connection.close(1012)

    async def both() -> Report:
        async with serve_websockets(answer, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            plan = Plan(kinds=(talk(rate=100, connections=5),), seconds=0.5)
            return await run(f"http://127.0.0.1:{port}", plan)

    report = asyncio.run(both())
    only(report, Outcome.OK)
    assert report.apart["websocket"]["told to leave"] >= 10


def test_other_clients_go_on_beside_it(serve: Callable[..., Server]) -> None:
    """An end that is no message's is counted with its own kind only."""

    def behave(visit: Visit) -> None:
        head = visit.request()
        if head is None or b"websocket" not in head:
            visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    report = put(serve(behave).target, talk(), Fresh(rate=20))
    assert report.kinds["fresh"].all.failed == 0
    assert report.kinds["websocket"].all.ok == 0
    assert report.kinds["websocket"].all.failed == report.failed > 0

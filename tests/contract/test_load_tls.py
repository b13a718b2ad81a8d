"""The load generator over TLS: ends that were announced or made up, and hands that are not shaken."""

from __future__ import annotations

import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trustme
from bench.load import (
    Drip,
    Events,
    Fresh,
    Http2,
    Kept,
    Kind,
    Late,
    Outcome,
    Pipeline,
    Report,
    Target,
    Upload,
    WebSocket,
)
from tests.contract.loaded import (
    ANSWER,
    Server,
    Sessions,
    Talker,
    Visit,
    busy,
    echo,
    kind_answer,
    noting,
    once,
    only,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"
)


class Authority:
    """Whom the load trusts, and a server's certificate of it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)
        self._authority = authority

    def context(self, name: str = "127.0.0.1") -> ssl.SSLContext:
        """Return what a server of that name shakes hands with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name).configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Have one of one's own."""
    return Authority(tmp_path)


@pytest.fixture
def loaded(serve: Callable[..., Server], authority: Authority) -> Callable[..., Report]:
    """Put a load on a server that behaves so, over TLS."""

    def load(behave: Callable[[Visit], None], *kinds: Kind) -> Report:
        return put(serve(behave, "", authority.context()).target, *kinds, ca=authority.ca)

    return load


def answers(visit: Visit) -> None:
    """Behave well, whatever is spoken."""
    assert isinstance(visit.link, ssl.SSLSocket)
    if visit.link.selected_alpn_protocol() == "h2":
        Sessions(visit).answer_all()
        return
    visit.rest = visit.link.recv(65536)
    if b"websocket" in visit.rest:
        echo(Talker(visit).open())
    elif b"event-stream" in visit.rest:
        visit.request()
        visit.send(EVENTS)
    else:
        kind_answer(visit)


@pytest.mark.parametrize(
    "kind",
    [
        Fresh(rate=40),
        Kept(rate=40, connections=4),
        Late(rate=40),
        Drip(rate=10, over=0.1),
        Upload(rate=10, size=300_000, over=0.1),
        Pipeline(rate=10, depth=4),
        WebSocket(rate=40, connections=2),
        Events(connections=2),
        Http2(rate=40),
    ],
    ids=lambda kind: kind.label,
)
def test_every_kind_of_client_speaks_it(kind: Kind, loaded: Callable[..., Report]) -> None:
    """And nothing that TLS says for itself, such as a ticket, is taken for the server's word."""
    report = loaded(answers, kind)
    only(report, Outcome.OK)
    assert set(report.connections) <= {"opened", "closed by the server after the last answer"}


def test_a_kept_connection_has_one_handshake(loaded: Callable[..., Report]) -> None:
    """The pool keeps it over the tickets that come behind it."""
    report = loaded(kind_answer, Kept(rate=40, connections=1, most=1))
    only(report, Outcome.OK)
    assert report.sent > report.connections["opened"] == 1


def test_an_end_without_close_notify_is_one_that_anybody_could_have_made(
    loaded: Callable[..., Report],
) -> None:
    """A body that lasts as long as the connection is whole only if TLS says so."""
    body = b"HTTP/1.1 200 OK\r\n\r\nas long as it lasts"

    def politely(visit: Visit) -> None:
        once(body)(visit)
        visit.bye()

    only(loaded(politely, Fresh(rate=40)), Outcome.OK)
    report = loaded(once(body), Fresh(rate=40))
    only(report, Outcome.CLOSED)
    assert report.failures[0].detail == "end of file without close_notify after a part of an answer"


def test_an_end_before_the_answer_is_a_failure_announced_or_not(loaded: Callable[..., Report]) -> None:
    """What is said about it tells which it was."""

    def politely(visit: Visit) -> None:
        visit.request()
        visit.bye()

    kinds = (Fresh(rate=40), Kept(rate=40), Late(rate=40))
    report = loaded(politely, *kinds)
    only(report, Outcome.CLOSED)
    assert {failure.detail for failure in report.failures} == {"end of file with no answer"}
    report = loaded(once(b""), *kinds)
    only(report, Outcome.CLOSED)
    assert {failure.detail for failure in report.failures} == {
        "end of file without close_notify with no answer"
    }


@pytest.mark.parametrize("polite", [True, False], ids=["announced", "not announced"])
def test_a_kept_connection_closed_while_idle_is_no_failure(
    loaded: Callable[..., Report],
    polite: bool,  # noqa: FBT001
) -> None:
    """The word of TLS is enough, the connection below it may stay open."""

    def behave(visit: Visit) -> None:
        visit.request()
        visit.send(ANSWER)
        if polite:
            visit.bye()

    report = loaded(behave, Kept(rate=20, connections=1))
    only(report, Outcome.OK)
    assert report.connections["opened"] == report.sent
    assert report.connections["closed while idle"] >= report.sent - 1  # the run may end before the last one


def test_a_reset_is_a_reset(loaded: Callable[..., Report]) -> None:
    """Also below TLS."""

    def behave(visit: Visit) -> None:
        visit.request()
        visit.reset()

    only(loaded(behave, Fresh(rate=40), Kept(rate=40), Late(rate=40)), Outcome.RESET)


def test_an_upload_cut_off_with_an_answer_is_counted_by_that_answer(loaded: Callable[..., Report]) -> None:
    """The server said why before it closed, and that is read although sending failed."""
    only(loaded(busy, Upload(rate=10, size=5_000_000, over=0.3)), Outcome.SERVER_ERROR)


def test_a_dripped_request_comes_in_as_many_records(loaded: Callable[..., Report]) -> None:
    """None is held back, once hands are shaken."""
    reads: list[list[int]] = []
    only(loaded(noting(reads), Drip(rate=10, over=0.5)), Outcome.OK)
    assert max(len(each) for each in reads) > 20
    assert min(min(each) for each in reads) == 1


@pytest.mark.parametrize("whose", ["of another host", "of a stranger"])
def test_a_certificate_that_is_not_trusted_is_a_failure(
    serve: Callable[..., Server], authority: Authority, tmp_path: Path, whose: str
) -> None:
    """Nothing is asked of such a server."""
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    context = authority.context("localhost") if "host" in whose else Authority(stranger).context()
    server = serve(kind_answer, "", context)
    report = put(server.target, Fresh(rate=40), Kept(rate=40), Late(rate=40), ca=authority.ca)
    only(report, Outcome.TLS)
    assert report.failures[0].detail.startswith("connection: CERTIFICATE_VERIFY_FAILED")
    assert server.requests == 0


def test_who_does_not_speak_it_is_found_out(serve: Callable[..., Server], authority: Authority) -> None:
    """A server that answers in plain HTTP, and one whose TLS is too old."""
    server = serve(lambda visit: visit.send(ANSWER * 10))
    only(put(server.target.replace("http", "https"), Fresh(rate=40), ca=authority.ca), Outcome.TLS)
    old = authority.context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    only(put(serve(kind_answer, "", old).target, Fresh(rate=40), ca=authority.ca), Outcome.TLS)


@pytest.mark.parametrize("way", ["closed", "reset", "silent"])
def test_hands_that_are_not_shaken_are_a_failure(
    serve: Callable[..., Server], authority: Authority, way: str
) -> None:
    """As the same is before an answer."""

    def behave(visit: Visit) -> None:
        visit.link.recv(65536)
        if way == "reset":
            visit.reset()
        elif way == "silent":
            visit.server.ended.wait()

    target = serve(behave).target.replace("http", "https")
    report = put(target, Fresh(rate=40), Kept(rate=40), timeout=0.3, ca=authority.ca)
    only(report, {"closed": Outcome.CLOSED, "reset": Outcome.RESET, "silent": Outcome.TIMEOUT}[way])
    if way == "closed":
        assert report.failures[0].detail == "end of file while shaking hands with no answer"


def test_the_handshake_is_a_part_of_the_latency(serve: Callable[..., Server], authority: Authority) -> None:
    """Of a request that comes with a connection of its own."""
    context = authority.context()

    def behave(visit: Visit) -> None:
        visit.server.ended.wait(0.2)
        with context.wrap_socket(visit.link, server_side=True) as talk:
            kind_answer(Visit(visit.server, talk))

    report = put(serve(behave).target.replace("http", "https"), Fresh(rate=20), ca=authority.ca)
    only(report, Outcome.OK)
    assert report.total.all.p50 >= 0.2


def test_the_command_line_is_told_whom_to_trust(serve: Callable[..., Server], authority: Authority) -> None:
    """Without that it trusts whom the system trusts."""
    target = serve(kind_answer, "", authority.context()).target
    command = [sys.executable, "-m", "bench.load", target, "--fresh", "50", "--seconds", "0.3"]
    good = subprocess.run([*command, "--ca", authority.ca], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout + good.stderr
    bad = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in bad.stdout


def test_a_target_says_whether_it_wants_it() -> None:
    """By the scheme of its URL, which has a port of its own."""
    assert Target.parse("https://127.0.0.1/x").address == ("127.0.0.1", 443)
    assert Target.parse("https://127.0.0.1/x").secure
    assert not Target.parse("http://127.0.0.1/x").secure

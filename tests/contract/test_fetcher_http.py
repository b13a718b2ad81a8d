"""HTTP as a source, against servers that are polite, careless and malicious."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
from tests.contract.hostile import Asked, Hostile, Wire, chunked, reply

from overseer.errors import ConfigError, FetchError
from overseer.fetcher import HTTP, Offer, Partial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RELEASE = bytes(range(256)) * 40
OTHER = RELEASE[::-1]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the machine's own proxies and authorities out of it."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def source(url: str, **options: Any) -> HTTP:
    """Make a source that is in a hurry."""
    return HTTP(url, **({"connect_timeout": 5.0, "read_timeout": 5.0} | options))


def take(fetcher: HTTP, seen: Mapping[str, str] | None = None, partial: Partial | None = None) -> bytes:
    """Look, open, and read to the end."""
    offer = fetcher.latest(seen)
    assert offer is not None
    return read(offer, partial)


def read(offer: Offer, partial: Partial | None = None) -> bytes:
    """Read an offer to its end."""
    return b"".join(offer.open(partial).chunks)


def says(*parts: bytes) -> Callable[[Asked, Wire], object]:
    """Answer every request with the same bytes, then hang up."""
    return lambda _, wire: wire.say(*parts)


def ranged(content: Callable[[], tuple[bytes, str]]) -> Callable[[Asked, Wire], object]:
    """Answer as a good server does: conditions, ranges, If-Range."""

    def answer(asked: Asked, wire: Wire) -> None:
        body, etag = content()
        if asked.headers.get("if-none-match") == etag:
            wire.say(reply(b"", "304 Not Modified", etag=etag, content_length=""))
        elif "range" in asked.headers and asked.headers.get("if-range", etag) == etag:
            start = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
            told = f"bytes {start}-{len(body) - 1}/{len(body)}"
            wire.say(reply(body[start:], "206 Partial Content", etag=etag, content_range=told))
        else:
            wire.say(reply(body, etag=etag))

    return answer


# --- looking ---


def test_a_look_that_finds_something_new_is_one_request() -> None:
    """The conditional GET of the look is the download, too."""
    with Hostile(ranged(lambda: (RELEASE, '"one"'))) as server:
        offer = source(server.url + "/app-1.pyz").latest(None)
        assert offer is not None
        assert (offer.name, offer.size, offer.seen["etag"]) == ("app-1.pyz", len(RELEASE), '"one"')
        assert read(offer) == RELEASE
        assert [(asked.method, asked.headers["accept-encoding"]) for asked in server.asked] == [
            ("GET", "identity")
        ]


def test_what_was_seen_is_not_offered_again() -> None:
    """The server's 304 to our condition is nothing new."""
    with Hostile(ranged(lambda: (RELEASE, '"one"'))) as server:
        fetcher = source(server.url)
        offer = fetcher.latest(None)
        assert offer is not None
        assert fetcher.latest(offer.seen) is None
        assert server.asked[-1].headers["if-none-match"] == '"one"'


def test_what_was_seen_at_another_url_is_no_condition() -> None:
    """A changed URL is another source, whatever its validators say."""
    with Hostile(ranged(lambda: (RELEASE, '"one"'))) as server:
        offer = source(server.url + "/a").latest(None)
        assert offer is not None
        assert source(server.url + "/b").latest(offer.seen) is not None
        assert "if-none-match" not in server.asked[-1].headers


def test_a_server_with_dates_only_is_asked_by_date() -> None:
    """Last-Modified is a validator for looking."""
    date = formatdate(0, usegmt=True)
    with Hostile(says(reply(RELEASE, last_modified=date))) as server:
        fetcher = source(server.url)
        offer = fetcher.latest(None)
        assert offer is not None
        assert fetcher.latest(offer.seen) is None
        assert server.asked[-1].headers["if-modified-since"] == date


def test_a_server_without_validators_is_asked_with_head() -> None:
    """Its Content-Length is compared, as in the original, and nothing is downloaded for it."""

    def answer(asked: Asked, wire: Wire) -> None:
        wire.say(reply(RELEASE if asked.method == "GET" else b"", content_length=str(len(RELEASE))))

    with Hostile(answer) as server:
        fetcher = source(server.url)
        offer = fetcher.latest(None)
        assert offer is not None
        assert fetcher.latest(offer.seen) is None
        assert [asked.method for asked in server.asked] == ["GET", "HEAD"]


def test_a_server_that_ignores_conditions_is_asked_with_head_from_then_on() -> None:
    """It has an ETag and sends everything all the same: it must not send it for every look."""
    with Hostile(says(reply(RELEASE, etag='"one"'))) as server:
        fetcher = source(server.url)
        offer = fetcher.latest(None)
        assert offer is not None
        assert fetcher.latest(offer.seen) is None
        assert fetcher.latest(offer.seen) is None
        assert [asked.method for asked in server.asked] == ["GET", "GET", "HEAD"]


def test_a_server_that_does_not_know_head_is_asked_with_get() -> None:
    """The original's way is not everybody's."""

    def answer(asked: Asked, wire: Wire) -> None:
        wire.say(reply(RELEASE) if asked.method == "GET" else reply(b"", "405 Method Not Allowed"))

    with Hostile(answer) as server:
        fetcher = source(server.url, head=True)
        offer = fetcher.latest(None)
        assert offer is not None
        assert fetcher.latest(offer.seen) is None
        assert [asked.method for asked in server.asked] == ["HEAD", "GET", "GET"]


def test_only_the_chosen_headers_tell_releases_apart() -> None:
    """`check_headers` is the user's to choose."""
    version = ["1"]
    with Hostile(lambda _, wire: wire.say(reply(RELEASE, x_version=version[0], date="never"))) as server:
        fetcher = source(server.url, check_headers=["X-Version"], head=True)
        offer = fetcher.latest(None)
        assert offer is not None
        assert fetcher.latest(offer.seen) is None
        version[0] = "2"
        assert fetcher.latest(offer.seen) is not None


def test_a_release_that_changed_between_look_and_download_is_refused() -> None:
    """What is remembered must be what was downloaded."""
    etag = ['"one"']
    with Hostile(lambda _, wire: wire.say(reply(RELEASE, etag=etag[0]))) as server:
        offer = source(server.url, head=True).latest(None)
        assert offer is not None
        etag[0] = '"two"'
        with pytest.raises(FetchError, match="changed between"):
            offer.open(None)


# --- what is not whole ---


WHOLE = {
    "by length": reply(b"release" * 12, etag='"one"', content_type="application/octet-stream"),
    "by chunks": reply(b"", transfer_encoding="chunked", content_length="")
    + chunked(b"release" * 10, b"release" * 2),
    "by padded chunks": reply(b"", transfer_encoding="chunked", content_length="")
    + chunked(b"release" * 10, b"release" * 2, width=8),
}


@pytest.mark.parametrize("ending", ["closed", "reset"])
@pytest.mark.parametrize("framing", WHOLE)
def test_an_answer_cut_after_any_byte_is_an_error(framing: str, ending: str) -> None:
    """Nothing that was cut passes for whole: not in the headers, not in a chunk's size, not at the end."""
    whole, body = WHOLE[framing], b"release" * 12

    def answer(asked: Asked, wire: Wire) -> None:
        wire.say(whole[: int(asked.target[1:])])
        if ending == "reset":
            wire.reset()

    passed = []
    with Hostile(answer) as server:
        for length in range(len(whole)):
            try:
                got = take(source(f"{server.url}/{length}"))
            except FetchError:
                continue
            passed.append(length)
            assert got == body
    # After "0 CR LF", the last chunk, nothing of the body can be missing.
    assert len(passed) <= (0 if framing == "by length" else 2)


def test_a_resumed_download_cut_after_any_byte_is_an_error() -> None:
    """The rest of a release is as easily cut as the whole."""
    body = b"release" * 12
    rest = reply(
        body[10:], "206 Partial", etag='"one"', content_range=f"bytes 10-{len(body) - 1}/{len(body)}"
    )

    def answer(asked: Asked, wire: Wire) -> None:
        length = len(rest) if asked.target == "/whole" else int(asked.target[1:])
        wire.say(rest[:length] if "range" in asked.headers else reply(body, etag='"one"'))

    with Hostile(answer) as server:
        for length in range(rest.index(b"\r\n\r\n") + 4, len(rest)):
            offer = source(f"{server.url}/{length}").latest(None)
            assert offer is not None
            download = offer.open(Partial(10, offer.seen))
            assert download.start == 10
            with pytest.raises(FetchError):
                list(download.chunks)
        offer = source(f"{server.url}/whole").latest(None)
        assert offer is not None
        assert read(offer, Partial(10, offer.seen)) == body[10:]


def test_a_cut_download_is_offered_again() -> None:
    """Nothing is remembered of it (the original never tried again)."""
    whole = reply(RELEASE, etag='"one"')
    lengths = [len(whole) - 1, len(whole)]
    with Hostile(lambda _, wire: wire.say(whole[: lengths.pop(0)])) as server:
        fetcher = source(server.url)
        with pytest.raises(FetchError):
            take(fetcher)
        assert take(fetcher) == RELEASE


def test_a_cut_download_is_told_by_its_last_chunk_not_before() -> None:
    """What came is handed on as it comes: it can be kept and resumed."""
    with Hostile(says(reply(RELEASE)[:-1])) as server:
        offer = source(server.url).latest(None)
        assert offer is not None
        chunks = offer.open(None).chunks
        came = b""
        while len(came) < len(RELEASE) - 1:
            came += next(chunks)
        assert came == RELEASE[:-1]
        with pytest.raises(FetchError, match="cut"):
            next(chunks)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(RELEASE, content_length=""), "does not tell how long"),
        (reply(RELEASE, content_length="ten"), "length that is none"),
        (reply(RELEASE, content_length="-1"), "length that is none"),
        (reply(RELEASE, content_length="10, 12"), "unmatching"),
        (reply(b""), "nothing at all"),
        (reply(b"", transfer_encoding="chunked", content_length="") + chunked(), "nothing at all"),
        (
            reply(b"", transfer_encoding="chunked", content_length="") + b"zz\r\nhello\r\n",
            "could not be read",
        ),
        (
            reply(b"", transfer_encoding="chunked", content_length="") + b"-5\r\nhello\r\n",
            "could not be read",
        ),
        (b"", "could not be read"),
        (b"\0\xff" * 40, "could not be read"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000 + b"\r\n", "could not be read"),
        (b"HTTP/1.1 200 " + b"O" * 200_000, "could not be read"),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(answer: bytes, reason: str) -> None:
    """Whatever a server says, it is a release or a `FetchError`."""
    with Hostile(says(answer)) as server, pytest.raises(FetchError, match=reason):
        take(source(server.url))


def test_an_answer_without_a_length_is_taken_when_the_user_says_so() -> None:
    """It costs a word."""
    with Hostile(says(reply(RELEASE, content_length=""))) as server:
        assert take(source(server.url, require_length=False)) == RELEASE


@pytest.mark.parametrize(
    "page",
    [
        reply(b"<p>Please log in</p>", content_type="text/html; charset=utf-8"),
        reply(b"\n <!DOCTYPE html><title>Hotel</title>", content_type="application/octet-stream"),
        reply(b"<HTML>" + b"x" * 1000),
    ],
)
def test_a_page_for_people_is_no_release(page: bytes) -> None:
    """Login pages and captive portals answer with 200."""
    with Hostile(says(page)) as server, pytest.raises(FetchError, match="HTML"):
        take(source(server.url))


def test_a_release_that_is_announced_too_big_is_not_begun() -> None:
    """The limit is checked against what is announced, and the same offer would fail again."""
    with Hostile(says(reply(RELEASE))) as server, pytest.raises(FetchError, match="max_size") as caught:
        source(server.url, max_size=len(RELEASE) - 1).latest(None)
    assert caught.value.permanent


def test_an_endless_body_ends_at_the_limit() -> None:
    """A server that never stops does not fill the disk."""

    def answer(_: Asked, wire: Wire) -> None:
        wire.say(reply(b"", transfer_encoding="chunked", content_length=""))
        while wire.say(b"10000\r\n", b"x" * 0x10000, b"\r\n"):
            pass

    with Hostile(answer) as server:
        offer = source(server.url, max_size=300_000).latest(None)
        assert offer is not None
        came: list[int] = []
        with pytest.raises(FetchError, match="max_size"):
            came.extend(map(len, offer.open(None).chunks))
        assert 0 < sum(came) <= 300_000


def test_silence_is_an_error() -> None:
    """The read timeout bounds every silence, before and inside the body."""
    for said in (b"", b"HTTP/1.1 200", reply(RELEASE)[:-10]):
        with (
            Hostile(lambda _, wire, said=said: (wire.say(said), wire.hold())) as server,  # type: ignore[misc]
            pytest.raises(FetchError, match="silent"),
        ):
            take(source(server.url, read_timeout=0.2))


def test_a_body_that_drips_is_an_error() -> None:
    """Each byte comes in time, and the release never would."""

    def answer(_: Asked, wire: Wire) -> None:
        wire.say(reply(b"", content_length="1000000"))
        wire.drip(b"drip", every=0.02)

    with Hostile(answer) as server, pytest.raises(FetchError, match="stalled"):
        take(source(server.url, read_timeout=0.3, min_rate=1000))


def test_a_slow_transfer_may_take_longer_than_any_timeout() -> None:
    """There is no time limit for a whole transfer."""

    def answer(_: Asked, wire: Wire) -> None:
        wire.say(reply(b"", content_length="30"))
        for _step in range(30):
            wire.closing.wait(0.02)
            wire.say(b"x")

    with Hostile(answer) as server:
        assert take(source(server.url, read_timeout=0.2, min_rate=1)) == b"x" * 30


@pytest.mark.parametrize("packing", ["gzip", "x-gzip", "br", "zstd", "deflate"])
def test_an_answer_packed_unasked_is_refused(packing: str) -> None:
    """Its bytes would not be those of the release."""
    with Hostile(says(reply(RELEASE, content_encoding=packing))) as server:
        with pytest.raises(FetchError, match="packed"):
            source(server.url + "/app").latest(None)
        if packing.endswith("gzip"):
            assert take(source(server.url + "/app.gz")) == RELEASE  # only told, by careless servers


# --- resuming ---


def test_a_download_goes_on_where_it_was_cut() -> None:
    """With Range and If-Range, on a strong validator."""
    with Hostile(ranged(lambda: (RELEASE, '"one"'))) as server:
        offer = source(server.url).latest(None)
        assert offer is not None
        download = offer.open(Partial(1000, offer.seen))
        assert download.start == 1000
        assert b"".join(download.chunks) == RELEASE[1000:]
        assert server.asked[-1].headers["range"] == "bytes=1000-"
        assert server.asked[-1].headers["if-range"] == '"one"'


def test_a_complete_partial_needs_no_request() -> None:
    """It was cut after its last byte."""
    with Hostile(ranged(lambda: (RELEASE, '"one"'))) as server:
        offer = source(server.url).latest(None)
        assert offer is not None
        download = offer.open(Partial(len(RELEASE), offer.seen))
        assert (download.start, list(download.chunks), len(server.asked)) == (len(RELEASE), [], 1)


@pytest.mark.parametrize("etag", ['W/"one"', "one", ""])
def test_without_a_strong_validator_nothing_is_resumed(etag: str) -> None:
    """Two halves of two releases make no release."""
    with Hostile(says(reply(RELEASE, etag=etag, last_modified=formatdate(0, usegmt=True)))) as server:
        offer = source(server.url).latest(None)
        assert offer is not None
        download = offer.open(Partial(1000, offer.seen))
        assert (download.start, b"".join(download.chunks)) == (0, RELEASE)
        assert not any("range" in asked.headers for asked in server.asked)


def test_a_partial_of_another_release_is_not_resumed() -> None:
    """Its validator is not that of the offer."""
    with Hostile(ranged(lambda: (RELEASE, '"two"'))) as server:
        offer = source(server.url).latest(None)
        assert offer is not None
        assert read(offer, Partial(1000, {**offer.seen, "etag": '"one"'})) == RELEASE
        assert len(server.asked) == 1


def test_a_release_that_changes_before_it_is_resumed_is_refused() -> None:
    """The answer is whole, and is not what was offered."""
    now = [(RELEASE, '"one"')]
    with Hostile(ranged(lambda: now[0])) as server:
        offer = source(server.url).latest(None)
        assert offer is not None
        now[0] = (OTHER, '"two"')
        with pytest.raises(FetchError, match="changed between"):
            offer.open(Partial(1000, offer.seen))


@pytest.mark.parametrize(
    "rest",
    [
        reply(OTHER[1000:], "206 Partial", etag='"two"', content_range="bytes 1000-10239/10240"),
        reply(RELEASE[999:], "206 Partial", etag='"one"', content_range="bytes 999-10239/10240"),
        reply(RELEASE[1000:-1], "206 Partial", etag='"one"', content_range="bytes 1000-10238/10239"),
        reply(RELEASE[1000:-1], "206 Partial", etag='"one"', content_range="bytes 1000-10238/10240"),
        reply(RELEASE[1000:], "206 Partial", etag='"one"', content_range="bytes 1000-10239/*x"),
        reply(RELEASE[1000:], "206 Partial", etag='"one"'),
        reply(RELEASE[1000:], "206 Partial", etag='"one"', content_range="items 1000-10239/10240"),
        reply(b"", "416 Range Not Satisfiable", content_range="bytes */10240"),
        reply(b"", "412 Precondition Failed"),
    ],
)
def test_a_rest_that_does_not_fit_is_replaced_by_the_whole(rest: bytes) -> None:
    """A server that resumes wrongly is asked for everything, within the same download."""
    with Hostile(
        lambda asked, wire: wire.say(rest if "range" in asked.headers else reply(RELEASE, etag='"one"'))
    ) as server:
        offer = source(server.url).latest(None)
        assert offer is not None
        download = offer.open(Partial(1000, offer.seen))
        assert (download.start, b"".join(download.chunks)) == (0, RELEASE)


def test_a_server_that_ignores_ranges_sends_the_whole() -> None:
    """A 200 to a range is a new beginning, not a rest."""
    with Hostile(says(reply(RELEASE, etag='"one"'))) as server:
        offer = source(server.url).latest(None)
        assert offer is not None
        download = offer.open(Partial(1000, offer.seen))
        assert (download.start, b"".join(download.chunks), len(server.asked)) == (0, RELEASE, 2)


def test_a_part_that_calls_itself_the_whole_is_neither() -> None:
    """Some servers answer a range rightly but for the 200: all is asked for, not for ever a part."""
    part = reply(RELEASE[1000:], etag='"one"', content_range=f"bytes 1000-{len(RELEASE) - 1}/{len(RELEASE)}")
    with Hostile(
        lambda asked, wire: wire.say(part if "range" in asked.headers else reply(RELEASE, etag='"one"'))
    ) as server:
        offer = source(server.url).latest(None)
        assert offer is not None
        download = offer.open(Partial(1000, offer.seen))
        assert (download.start, b"".join(download.chunks)) == (0, RELEASE)


# --- refusals ---


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_server_says_how_long_to_leave_it_alone(status: str) -> None:
    """Retry-After goes with the error, be it seconds or a date by the server's own clock."""
    with Hostile(says(reply(b"", status, retry_after="120"))) as server:
        with pytest.raises(FetchError) as caught:
            source(server.url).latest(None)
        assert caught.value.retry_after == 120
    then = time.time() - 10**6  # its clock is days behind ours
    dated = reply(
        b"", status, date=formatdate(then, usegmt=True), retry_after=formatdate(then + 90, usegmt=True)
    )
    with Hostile(says(dated)) as server:
        with pytest.raises(FetchError) as caught:
            source(server.url).latest(None)
        assert caught.value.retry_after == 90


@pytest.mark.parametrize(
    "status", ["304 Not Modified", "401 No", "404 None", "500 Oh", "206 Part", "204 Nil", "999 X"]
)
def test_any_other_answer_is_an_error_that_names_it(status: str) -> None:
    """Only a 200 is a release; a 304 only to a condition."""
    with Hostile(says(reply(b"", status))) as server:
        with pytest.raises(FetchError, match=status[:3]) as caught:
            source(server.url + "/?token=secret").latest(None)
        assert "secret" not in str(caught.value)


def test_nobody_at_home_is_an_error() -> None:
    """A refused connection names the server."""
    with Hostile(says()) as server:
        pass
    with pytest.raises(FetchError, match=f"{server.host}.*refused"):
        source(server.url).latest(None)


# --- redirects and secrets ---


def test_redirects_that_never_end_are_given_up() -> None:
    """They are bounded."""
    with Hostile(says(reply(b"", "302 Found", location="/again"))) as server:
        with pytest.raises(FetchError, match="more than 3 redirects"):
            source(server.url, max_redirects=3).latest(None)
        assert len(server.asked) == 4


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_secrets_stay_with_the_host_they_were_meant_for(status: str) -> None:
    """Along a redirect to another host, and back, they are gone; within the host they stay."""

    def answer(asked: Asked, wire: Wire) -> None:
        there = {"/1": "/2", "/2": f"http://localhost:{server.port}/3", "/3": f"{server.url}/4"}.get(
            asked.target
        )
        wire.say(reply(b"", f"{status} Found", location=there) if there else reply(RELEASE))

    with Hostile(answer) as server:
        url = f"http://user:pass%3Aword@{server.host}/1"
        assert take(source(url, headers={"X-Api-Key": "secret", "cookie": "a=b"})) == RELEASE
    secret = {"authorization", "x-api-key", "cookie"}
    assert [len(secret & asked.headers.keys()) for asked in server.asked] == [3, 3, 0, 0]
    assert server.asked[0].headers["authorization"] == "Basic dXNlcjpwYXNzOndvcmQ="
    assert server.asked[2].headers["host"] == f"localhost:{server.port}"


@pytest.mark.parametrize(
    "location", ["", "file:///etc/passwd", "https://:80/x", "http://[bad/", "http://host:port/", "ftp://x/"]
)
def test_redirects_to_nowhere_are_errors(location: str) -> None:
    """Only the web is followed."""
    with (
        Hostile(says(reply(b"", "302 Found", location=location))) as server,
        pytest.raises(FetchError, match="redirects to"),
    ):
        source(server.url).latest(None)


def test_secrets_are_never_shown() -> None:
    """Neither in the source's own words nor in an error."""
    fetcher = HTTP("https://user:hunter2@host/app?key=hunter2", headers={"Authorization": "hunter2"})
    assert repr(fetcher) == "HTTP('https://host/app', interval=300.0)"
    with pytest.raises(ConfigError) as caught:
        HTTP("https://host", headers={"Authorization": "hunter2\n"})
    assert "hunter2" not in str(caught.value)


# --- proxies ---


def test_the_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its password, and with the whole URL."""
    with Hostile(says(reply(RELEASE))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:word@{proxy.host}")
        assert take(source("http://releases.invalid/app")) == RELEASE
    assert proxy.asked[0].target == "http://releases.invalid/app"
    assert proxy.asked[0].headers["proxy-authorization"] == "Basic bWU6d29yZA=="


def test_hosts_of_no_proxy_are_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, by address or by network."""
    with Hostile(says(reply(RELEASE))) as server:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "example.org, 127.0.0.0/8")
        assert take(source(server.url)) == RELEASE


def test_a_proxy_that_is_down_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator looks for the fault where it is."""
    monkeypatch.setenv("https_proxy", "127.0.0.1:1")
    with pytest.raises(FetchError, match=r"proxy.*refused"):
        source("https://releases.invalid/app").latest(None)


# --- what is installed and loaded ---


def test_importing_the_fetchers_loads_no_client() -> None:
    """A program that names a source in its Config does not pay for its dependencies."""
    code = (
        "import sys, overseer.fetcher as f; f.HTTP('https://host/{os}'); repr(f.HTTP('https://host'));"
        "print(sorted({'urllib3', 'boto3', 'botocore', 'http.client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_memory_does_not_grow_with_the_release() -> None:
    """A release is streamed: a hundred megabytes pass through in pieces."""
    piece, count = b"\xaa" * 1_000_000, 100

    def answer(_: Asked, wire: Wire) -> None:
        wire.say(reply(b"", content_length=str(len(piece) * count)))
        for _step in range(count):
            wire.say(piece)

    with Hostile(answer) as server:
        offer = source(server.url).latest(None)
        assert offer is not None
        whole, largest = hashlib.sha256(), 0
        for chunk in offer.open(None).chunks:
            whole.update(chunk)
            largest = max(largest, len(chunk))
        assert whole.hexdigest() == hashlib.sha256(piece * count).hexdigest()
        assert largest <= 256 * 1024

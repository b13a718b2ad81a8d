"""A server's answer: what its headers promise, and a body that is whole or an error.

HTTP itself tells a cut body from a whole one only by Content-Length or chunks; on top of that come the lies
of the middle: login pages with status 200, servers that pack unasked, transfers that never end or never move.
"""

from __future__ import annotations

import http.client
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import urllib3

from overseer.errors import FetchError
from overseer.fetcher.headers import begins_like_html, epoch_of, is_html, length_of, seconds_of
from overseer.fetcher.offer import CHUNK
from overseer.fetcher.urls import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PACKED = {
    "gzip": (".gz", ".tgz"),
    "x-gzip": (".gz", ".tgz"),
    "zstd": (".zst", ".tzst"),
}
_ENOUGH_TO_TELL = 64  # bytes in which a page for people shows what it is


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How to ask. Times in seconds, sizes in bytes.

    `connect_timeout` and `read_timeout` bound one connection attempt and one silence. `min_rate` (bytes a
    second, averaged over `read_timeout`; 0: none) is what a transfer must reach not to count as stalled.
    `ca` is a file or folder of certificate authorities that goes before those of the environment.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    min_rate: int = 128
    max_size: int = 2 * 1024**3
    max_redirects: int = 10
    ca: str | None = None


@dataclass
class Answer:
    """A server's answer, its body still unread. `url` is where it came from in the end."""

    url: str
    status: int
    headers: Mapping[str, str]
    manners: Manners
    response: urllib3.BaseHTTPResponse = field(repr=False)
    born: float = field(default_factory=time.monotonic, repr=False)

    def close(self) -> None:
        """Let go of the connection, read or not."""
        self.response.close()

    @property
    def size(self) -> int | None:
        """How long the body is, in bytes; None when that is not told. Raises `FetchError` for nonsense."""
        told = self.headers.get("content-length")
        if told is None or "transfer-encoding" in self.headers:
            return None
        size = length_of(told)
        if size is None:
            raise FetchError(f"{shown(self.url)} tells a length that is none: {told[:40]!r}")
        return size

    @property
    def ends_visibly(self) -> bool:
        """Whether a body that was cut can be told from a whole one."""
        return self.size is not None or "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def clock(self) -> float:
        """What time it is at the server, in seconds since the epoch: our clock may be wrong."""
        told = epoch_of(self.headers.get("date"))
        return time.time() if told is None else told

    def refusal(self, advice: str = "", *, wait: float | None = None) -> FetchError:
        """Make an error of an answer that is not what was asked for, and let go of it.

        `advice` ends its sentence; `wait` (seconds) goes before the answer's own Retry-After.
        """
        self.close()
        reason = http.client.responses.get(self.status, "an unknown status")
        text = f"{shown(self.url)} answered {self.status} ({reason})"
        if self.status in (401, 403, 407):
            advice = advice or "check the credentials"
        if wait is None:
            wait = seconds_of(self.headers.get("retry-after"), now=self.clock)
        if wait is not None:
            advice = advice or f"it asks to be left alone for {wait:g} s"
        return FetchError(f"{text}; {advice}" if advice else text, retry_after=wait)

    def check_release(self, name: str, *, require_length: bool) -> None:
        """Raise `FetchError`, and let go, unless the headers are those of a release called `name`."""
        objection = self._objection(name, require_length=require_length)
        if objection:
            self.close()
            raise objection

    def json(self, *, limit: int = 8 * 1024**2) -> Any:
        """Read a short answer whole and parse it; raises `FetchError` for anything but JSON."""
        content = bytearray()
        for chunk in self.body(sniff=False):
            content += chunk
            if len(content) > limit:
                self.close()
                raise FetchError(f"{shown(self.url)} answered with more than {limit} bytes of JSON")
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise FetchError(f"{shown(self.url)} did not answer with JSON") from error

    def body(self, *, start: int = 0, whole: int | None = None, sniff: bool = True) -> Iterator[bytes]:
        """Yield the body in pieces of `CHUNK` at most, as they come.

        `start` is where in the release it begins, `whole` how long the release is known to be. Raises
        `FetchError` when it is cut, short, stalled, longer than that or than `max_size`, or an HTML page.
        """
        where, expected, size = shown(self.url), self.size, start
        head = bytearray()
        told = start > 0 or not sniff
        try:
            for chunk in self._pieces(where):
                size += len(chunk)
                if size > self.manners.max_size:
                    raise self._too_big()
                if told:
                    yield chunk
                    continue
                head += chunk
                if len(head) >= _ENOUGH_TO_TELL:
                    told = True
                    yield self._no_page(bytes(head))
            if expected is not None and size - start != expected:
                raise FetchError(f"{where} ended after {size - start} of {expected} bytes")
            if whole is not None and size != whole:
                raise FetchError(f"{where} ended after {size} bytes of a release of {whole}")
            if size == 0:
                raise FetchError(f"{where} sent nothing at all")
            if not told and head:
                yield self._no_page(bytes(head))
        finally:
            self.close()

    def _pieces(self, where: str) -> Iterator[bytes]:
        # read1 returns what one read of the socket brought; anything that waits for a full buffer would
        # let a server that drips keep us for ever, one timely byte after the other.
        waited, came = 0.0, 0
        while True:
            before = time.monotonic()
            with explained(where):
                chunk = self.response.read1(CHUNK, decode_content=False)
            if not chunk:
                return
            waited, came = waited + time.monotonic() - before, came + len(chunk)
            if waited >= self.manners.read_timeout:
                if came < self.manners.min_rate * waited:
                    raise FetchError(f"{where} sent {came} bytes in {waited:.0f} s; it counts as stalled")
                waited, came = 0.0, 0
            yield chunk

    def _objection(self, name: str, *, require_length: bool) -> FetchError | None:
        where = shown(self.url)
        if is_html(self.headers.get("content-type")):
            return self._a_page()
        try:
            size = self.size
        except FetchError as error:
            return error
        if size is not None and size > self.manners.max_size:
            return self._too_big()
        if require_length and not self.ends_visibly:
            return FetchError(
                f"{where} does not tell how long its answer is, so a cut one could not be told from a whole "
                "one; let it send Content-Length, or set require_length=False"
            )
        packed = self.headers.get("content-encoding", "identity").strip().lower()
        if packed not in ("", "identity") and not name.lower().endswith(_PACKED.get(packed, ())):
            return FetchError(f"{where} packed its answer ({packed[:20]}), though asked to send it as it is")
        return None

    def _no_page(self, head: bytes) -> bytes:
        if begins_like_html(head):
            raise self._a_page()
        return head

    def _a_page(self) -> FetchError:
        return FetchError(
            f"{shown(self.url)} answered with an HTML page, not a release; it may be a login or an error page"
        )

    def _too_big(self) -> FetchError:
        text = f"{shown(self.url)} is larger than max_size ({self.manners.max_size} bytes)"
        return FetchError(text, permanent=True)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn whatever the client library and the system raise into a `FetchError` that names `where`."""
    try:
        yield
    except urllib3.exceptions.ProxyError as error:
        raise FetchError(f"the proxy for {where} could not be used: {_last_words(error)}") from error
    except urllib3.exceptions.SSLError as error:
        raise FetchError(
            f"{where} could not be trusted: {_last_words(error)}; "
            "a private authority is named by SSL_CERT_FILE, REQUESTS_CA_BUNDLE or the option ca"
        ) from error
    except urllib3.exceptions.NewConnectionError as error:  # a ConnectTimeoutError by descent only
        raise FetchError(f"{where} could not be reached: {_last_words(error)}") from error
    except urllib3.exceptions.ConnectTimeoutError as error:
        raise FetchError(f"{where} did not let us connect in time") from error
    except urllib3.exceptions.ReadTimeoutError as error:
        raise FetchError(f"{where} fell silent") from error
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise FetchError(f"{where} could not be read: {_last_words(error)}") from error


def _last_words(error: BaseException) -> str:
    # The innermost reason says most: the client's wrappers repeat the addresses of its objects.
    while inner := error.__cause__ or next(
        (arg for arg in error.args if isinstance(arg, BaseException)), None
    ):
        error = inner
    if isinstance(error, (http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)):
        return "the answer was cut"
    reason = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return str(reason) or type(error).__name__

"""What load is wanted: kinds of clients, how many of each a second, for how long, and at what.

A plan is plain data: it goes through JSON into the load's own process unchanged. A kind of client is one
class here and one line in `clients.CLIENTS`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import socket
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.load.schedule import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What every kind of client has: how often it comes, and if wished its own path and name."""

    word: ClassVar[str] = ""

    rate: float
    """arrivals per second; a pipeline's are of whole batches"""
    path: str = ""
    """of the request; empty: the plan's"""
    name: str = ""
    """in the report; empty: the kind's own word. Two kinds of one plan need two names."""

    @property
    def label(self) -> str:
        """The kind's name in the report."""
        return self.name or self.word


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh(Kind):
    """A new connection per request, `Connection: close`, the answer read to its end.

    With TLS its latency has the handshake in it.
    """

    word: ClassVar[str] = "fresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(Kind):
    """A pool of connections that are kept alive.

    A request takes the connection that has been idle longest. The server may close one while it is idle: that
    is no failure. Whatever happens after the request was sent is one, and it is not sent again.
    """

    word: ClassVar[str] = "kept"

    connections: int = 50
    """the pool is filled up to these first"""
    most: int = 4000
    """it grows to these when all rest or are busy; past that requests wait, and their wait counts"""
    pause: tuple[float, float] = (0.0, 0.0)
    """seconds, least and most: after an answer a connection rests for a time drawn between them"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Late(Kind):
    """Connects, with TLS shakes hands, says nothing for a while, then sends its request."""

    word: ClassVar[str] = "late"

    wait: float = 0.010
    """seconds of silence"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip(Kind):
    """Sends its request byte by byte."""

    word: ClassVar[str] = "drip"

    over: float = 0.5
    """seconds from the first byte to the last"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload(Kind):
    """POSTs a body slowly."""

    word: ClassVar[str] = "upload"

    size: int = 65536
    """bytes"""
    over: float = 1.0
    """seconds from the head to the last piece"""
    pieces: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(Kind):
    """Sends several requests at once on a new connection; each of them is one request in the report."""

    word: ClassVar[str] = "pipeline"

    depth: int = 5
    """requests"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocket(Kind):
    """Sockets that stay open, and messages that are to come back as they are, or behind other words.

    Each message is a request, answered by its echo; on a connection they are answered in order. A message
    with no echo in time has failed; so has every one that an abnormal end leaves without echo: a reset, an
    end of file with no close frame (what browsers call 1006), or a close frame with another code than these
    three. An abnormal end with nothing under way counts as one failure by itself.

    1000, 1001 (going away) and 1012 (service restart) tell the client to leave, and it opens another
    connection at once. A message that crossed such a close, sent before the client had read it and not
    echoed, has perhaps been read and perhaps not: nobody can tell from outside. As a client with an
    acknowledgement of its own does, this one sends it again, first on the connection that it opens instead;
    its latency counts from when it was first due, and it is counted as `sent again` beside the figures.
    What was sent longer than `crossing` before the close did not cross it: the server had time to answer,
    and it has failed; so has what was sent ten times.
    """

    word: ClassVar[str] = "websocket"

    rate: float = 10.0
    """messages per second, on all connections together, in turn"""
    connections: int = 10
    """opened with the first messages, and again whenever one is closed"""
    size: int = 32
    """bytes of a message, at least those of its number"""
    crossing: float = 1.0
    """seconds"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Events(Kind):
    """Streams of server-sent events that are read for as long as they go on.

    Each stream is one request. It is good when it began with 200 and `text/event-stream`, and ended orderly:
    at the boundary of an event, as a whole answer with its last chunk; or was going on well when the load
    ended. Its latency counts to its first event (to its end, when it had none). Who is told to leave so
    comes back at once. An end within an event, or with no last chunk, a reset, silence for too long, and a
    gap in the numbers of events are failures; the next stream is opened with the next arrival.

    The number of an event is its `id`, else its data, when that is a whole number; each is to be the last
    one and 1. Events with no number are only counted.
    """

    word: ClassVar[str] = "events"

    rate: float = 20.0
    """streams opened per second at most, until there are `connections`"""
    connections: int = 10
    silence: float | None = None
    """seconds without a byte after the first event; None: however long"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2(Kind):
    """Requests on streams of HTTP/2 connections; over plain TCP with prior knowledge, else by ALPN.

    A server that leaves sends GOAWAY with the number of the last stream that it has seen (RFC 9113, 6.8).
    Streams up to it must be answered: when the connection ends with one of them open, that has failed.
    Streams above it, and those reset with REFUSED_STREAM, were not processed (8.7): they are sent again on a
    new connection and counted as `retried`, with latencies from when they were first due. A connection that
    ends without GOAWAY fails all that is open on it. GOAWAY with an error fails what is open, or counts as
    one failure by itself.
    """

    word: ClassVar[str] = "http2"

    connections: int = 2
    """opened first, with a request each; then those with the fewest open streams are used"""
    streams: int = 100
    """open at one time on a connection, or fewer if the server says so; past that requests wait, and their
    wait counts"""


KINDS: Final[Mapping[str, type[Kind]]] = {
    kind.word: kind for kind in (Fresh, Kept, Late, Drip, Upload, Pipeline, WebSocket, Events, Http2)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole load. Times are in seconds.

    Raises:
        ValueError: for numbers no load can have, naming the field.

    """

    kinds: tuple[Kind, ...]
    seconds: float | None = 10.0
    """None: until it is stopped"""
    timeout: float = 10.0
    """from the time the (last byte of the) request is due to the end of its answer"""
    path: str = ""
    """of every request; empty: the one in the target's URL, else the root"""
    headers: tuple[tuple[str, str], ...] = ()
    generation_header: str = "X-Generation"
    generation_body: str | None = None
    """a regular expression with one group, sought in the body when the header is missing"""
    arrivals: Shape = "even"
    seed: int = 1
    """of everything drawn by chance: Poisson arrivals and pauses"""
    most_open: int = 8000
    """connections at one time; arrivals past them fail as `local`"""
    ca: str = ""
    """of a target of https: the file (PEM) of the authorities that are trusted; empty: the system's"""

    def __post_init__(self) -> None:
        labels = [kind.label for kind in self.kinds]
        if not labels or len(set(labels)) != len(labels):
            raise ValueError(f"kinds: at least one, each with a name of its own, not {labels}")
        if any(kind.rate <= 0 for kind in self.kinds):
            raise ValueError("rate: more than 0 a second")
        for name in ("connections", "streams"):
            if any(getattr(kind, name, 1) < 1 for kind in self.kinds):
                raise ValueError(f"{name}: at least 1")
        if self.timeout <= 0 or (self.seconds is not None and self.seconds <= 0):
            raise ValueError("seconds, timeout: more than 0")
        if self.generation_body is not None and re.compile(self.generation_body).groups != 1:
            raise ValueError("generation_body: a pattern with exactly one group")

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` understands."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data["kinds"] = [{"kind": kind.word, **dataclasses.asdict(kind)} for kind in self.kinds]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_json` wrote down."""
        kinds = []
        for each in data["kinds"]:
            fields = {name: _tuples(content) for name, content in each.items() if name != "kind"}
            kinds.append(KINDS[each["kind"]](**fields))
        rest = {name: _tuples(content) for name, content in data.items() if name != "kinds"}
        return cls(kinds=tuple(kinds), **rest)


def _tuples(content: Any) -> Any:
    return tuple(_tuples(each) for each in content) if isinstance(content, list) else content


_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server's address, looked up once: a name server's speed is not what is measured."""

    text: str
    family: int
    address: Any
    """as `socket.connect` wants it"""
    host: str
    """for the Host header"""
    path: str
    """what the URL said after the host; empty when nothing"""
    name: str = ""
    """whose certificate it has to be, with TLS"""

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return bool(self.name)

    @classmethod
    def parse(cls, text: str, *, anywhere: bool = False) -> Target:
        """Read `http://HOST:PORT[/path]`, the same with `https`, `unix:/path` or `unix:@abstract`.

        Args:
            text: the address.
            anywhere: allow a target beyond the loopback interface; load on strangers is a decision, not a
                typo.

        Raises:
            ValueError: when it is neither, or not on this machine without `anywhere`.
            OSError: when the name cannot be looked up.

        """
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if path in ("", "@"):
                raise ValueError(f"{text!r} names no socket: write unix:/path or unix:@name")
            place = "\0" + path[1:] if path.startswith("@") else os.path.abspath(path)
            shown = path if path.startswith("@") else place
            return cls(text=f"unix:{shown}", family=socket.AF_UNIX, address=place, host="localhost", path="")
        url = urllib.parse.urlsplit(text)
        if url.scheme not in _PORTS or not url.hostname:
            raise ValueError(f"{text!r} is not a target: write http(s)://HOST:PORT or unix:/path")
        port = url.port or _PORTS[url.scheme]
        found = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        if not anywhere and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
            raise ValueError(f"{text!r} is not on this machine; say anywhere if it is yours to load")
        path = url.path + (f"?{url.query}" if url.query else "")
        name = url.hostname if url.scheme == "https" else ""
        return cls(text=text, family=family, address=address, host=url.netloc, path=path, name=name)

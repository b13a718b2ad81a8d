"""How a request can end, and which of the system's errors means which end."""

from __future__ import annotations

import enum
import errno
import ssl
from dataclasses import dataclass
from typing import Final


class Outcome(enum.StrEnum):
    """How one request ended. Everything but `OK` is a failure, and no failure is ever tried again.

    What a protocol lets its clients send again is none: `plan.WebSocket` and `plan.Http2` say what that is.
    """

    OK = "ok"
    """a complete answer with a status of 200 to 299"""
    REFUSED = "refused"
    """nobody listens"""
    RESET = "reset"
    """the connection, or the stream on it, was reset before the answer was complete"""
    CLOSED = "closed"
    """the connection was closed with no answer, or with a part of one"""
    TIMEOUT = "timeout"
    """no complete answer in time"""
    SERVER_ERROR = "5xx"
    """an answer with a status of 500 to 599"""
    STATUS = "status"
    """an answer with any other status (redirects are not followed)"""
    MALFORMED = "malformed"
    """bytes that are not HTTP (nor WebSocket, where that is spoken), or more of them than were announced"""
    GAP = "gap"
    """events are missing in a stream: their numbers leap"""
    TLS = "tls"
    """hands were not shaken (a certificate that is not trusted, say), or what came was not its TLS"""
    LOCAL = "local"
    """this side ran out of descriptors, ports or permission: the figures of the run are worth nothing"""


@dataclass(frozen=True, slots=True)
class Failure:
    """One request that failed. Times are seconds on the monotonic clock, which all processes share."""

    outcome: str
    kind: str
    detail: str
    due: float
    """when the (last byte of the) request was to be sent"""
    at: float
    """when it was known to have failed"""
    generation: str | None
    """who gave the last answer on this connection; None before the first"""
    answered: int
    """how many answers this connection had given before"""
    port: int
    """this side's port, 0 of a Unix socket: what to look for in a packet trace"""


_BY_ERRNO: Final = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.ENOENT: Outcome.REFUSED,  # the path of a Unix socket is gone
    errno.EHOSTUNREACH: Outcome.REFUSED,
    errno.ENETUNREACH: Outcome.REFUSED,
    errno.ECONNRESET: Outcome.RESET,
    errno.ECONNABORTED: Outcome.RESET,
    errno.EPIPE: Outcome.RESET,
    errno.ETIMEDOUT: Outcome.TIMEOUT,
}


def outcome_of(error: OSError) -> Outcome:
    """Return what a system call's error says about the server; what says nothing about it is `LOCAL`."""
    if isinstance(error, ssl.SSLError):  # its numbers are OpenSSL's
        return Outcome.TLS
    return _BY_ERRNO.get(error.errno or 0, Outcome.LOCAL)


def outcome_of_status(status: int) -> Outcome:
    """Return what the status of a complete answer means."""
    if 200 <= status < 300:
        return Outcome.OK
    return Outcome.SERVER_ERROR if 500 <= status < 600 else Outcome.STATUS


def said(what: str, error: OSError) -> str:
    """Return an error as a report shows it: what failed, and the system's name for why."""
    if isinstance(error, ssl.SSLError):
        return f"{what}: {error.reason or error}"
    return f"{what}: {errno.errorcode.get(error.errno or 0, str(error))}"

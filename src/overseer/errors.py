"""Everything overseer raises: one family, sorted by whose fault it is.

A message is one sentence that says what happened, then what it means or what to do about it.
"""

from __future__ import annotations


class OverseerError(Exception):
    """The root of every error raised by overseer."""


class ConfigError(OverseerError, ValueError):
    """An option is wrong; `field` names it. The programmer's or the operator's to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class AddressError(OverseerError):
    """An address cannot be listened on; `address` is the text as given."""

    def __init__(self, address: str, message: str) -> None:
        super().__init__(f"{address}: {message}")
        self.address = address


class NotSupportedError(OverseerError):
    """This platform or this set-up cannot have a master; the reason is the message."""


class ListenerDrainingError(OverseerError, OSError):
    """`accept()` was called on a listener whose generation drains: leave the loop, finish what is open.

    An `OSError` too, as that of a closed socket is: servers that wait first and accept then, such as those of
    `socketserver`, are ready for one at that place, and go on to the end that they were asked for.
    """


class ProtocolError(OverseerError):
    """Words between processes that cannot be understood."""


class FetchError(OverseerError):
    """A source could not be asked, or its answer cannot be trusted to be whole.

    `retry_after` is how many seconds the source asked us to wait; `permanent` says that asking
    again for the same thing is useless. `kind` is what an alarm may be raised by: `source` (it is not there,
    or gives no release), `expired` or `refused` (what it says of its releases is too old, or not to be
    trusted).
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        permanent: bool = False,
        kind: str = "source",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after
        self.permanent = permanent


class StoreError(OverseerError):
    """The store of releases cannot be read, written or locked."""


class CheckError(OverseerError):
    """A staged release failed its check; it is not taken."""


class PublishError(OverseerError):
    """A release is not published, or a repository of releases not changed; nothing was half-done."""


def reason(error: Exception) -> str:
    """Return what an error says for a person: of the system's, its words without the number."""
    return (isinstance(error, OSError) and error.strerror) or str(error)

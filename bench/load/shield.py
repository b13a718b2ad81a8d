"""TLS on the client's side of one connection: bytes in, bytes out. It does no I/O.

The socket stays bare below it, so that a reset is still told from a close; and an end of file that TLS has
announced (close_notify) from one that somebody on the way could have made.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

_PIECE: Final = 65536
"""Bytes read at once; a record has 16 KiB at most."""


def context_of(ca: str, *alpn: str) -> ssl.SSLContext:
    """Return what a client trusts: the authorities in that file, the system's without one; TLS 1.3.

    Args:
        ca: the path of a PEM file; empty: whom the system trusts.
        alpn: what may be spoken in it, the most wanted first (RFC 7301).

    Raises:
        OSError: when the file cannot be read, or has no certificate in it (ssl.SSLError).

    """
    context = ssl.create_default_context(cafile=ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(list(alpn))
    return context


class Shield:
    """One connection's TLS, with a handshake of its own: no session is taken up again.

    `sends` is to be asked after everything else that is called here.

    Args:
        context: what is trusted.
        host: whose certificate it has to be.

    """

    __slots__ = ("_held", "_in", "_out", "_tls", "fault", "over", "shaken")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._held: list[bytes] = []  # what is said before hands are shaken
        self.shaken = False
        self.over = False
        """the server has said that it says no more"""
        self.fault: ssl.SSLError | None = None
        """why nothing can be understood any more"""
        self._shake()

    def sends(self) -> bytes:
        """Return what is to go out now."""
        return self._out.read()

    def say(self, data: bytes) -> None:
        """Say it, now or when hands have been shaken."""
        if not self.shaken:
            self._held.append(data)
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]  # a record at a time

    def hear(self, data: bytes) -> bytes:
        """Take what came, which is not empty; return what was said in it, and see `over` and `fault`."""
        self._in.write(data)
        pieces: list[bytes] = []
        try:
            if not self.shaken:
                self._shake()
            while self.shaken and (piece := self._tls.read(_PIECE)):
                pieces.append(piece)
            self.over = self.shaken
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.over = True
        except ssl.SSLError as error:
            self.fault = error
        return b"".join(pieces)

    def leave(self) -> None:
        """Say that nothing more is said."""
        if self.shaken:
            with suppress(ssl.SSLError):  # the server has not said so yet, or it is broken
                self._tls.unwrap()

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.shaken = True
        for data in self._held:
            self.say(data)
        self._held.clear()

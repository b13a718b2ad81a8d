"""One non-blocking socket on the event loop: what the system says about it, told to what is built on it.

Sockets are used bare, without transports: a client that must tell a reset from a close, and what had been
read before it, has to see what the system calls say. It is also several times cheaper.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final

from bench.load.outcomes import Outcome, outcome_of, said
from bench.load.shield import Shield

if TYPE_CHECKING:
    from bench.load.setting import Setting

LINGER: Final = 1.0
"""Seconds the server has to close its side when everything has been said; then this side does."""
_TRY_AGAIN: Final = 0.002
"""Seconds. A Unix socket whose queue is full says so at once; a blocking client would wait in the kernel."""


class Link:
    """A connection to the target, without a language. Each kind of client speaks one on top of it.

    `connect`, then `push`. What happens is told by calls of `received`, `ended`, `lost`, `unmade` and `mute`,
    which a language fills; after `drop` nothing more is told. Where the target wants TLS, all of that is
    about what is said within it, and hands are shaken as soon as it is connected.

    Args:
        setting: shared with all others.

    """

    __slots__ = ("_fd", "_out", "_ready", "_setting", "_shield", "_socket", "_writing", "end", "port")

    alpn: ClassVar[str] = "http/1.1"
    """the name of the language, for TLS (RFC 7301)"""

    def __init__(self, setting: Setting) -> None:
        self.port = 0
        self.end = "end of file"
        """in which way the server closed, for reports"""
        self._setting = setting
        self._socket: socket.socket | None = None
        self._fd = -1
        self._ready = False  # the system has taken the connect; before, what is sent waits in _out
        self._writing = False  # waiting until the system takes more of _out
        self._out = b""
        self._shield: Shield | None = None

    # --- what a language fills ---

    def received(self, data: bytes) -> None:
        """Take what came; it is not empty."""
        raise NotImplementedError

    def ended(self) -> None:
        """The server has closed its side."""
        raise NotImplementedError

    def lost(self, error: OSError) -> None:
        """The connection is gone without having been closed."""
        raise NotImplementedError

    def unmade(self, outcome: Outcome, detail: str) -> None:
        """There is no connection, and why."""
        raise NotImplementedError

    def mute(self) -> None:
        """Nothing more can be sent; what the server had said before is told next."""
        raise NotImplementedError

    def sweep(self, now: float) -> None:
        """End what has waited longer than it may."""
        raise NotImplementedError

    def close(self) -> None:
        """Close it; nothing is awaited on it."""
        raise NotImplementedError

    # --- what a language asks ---

    def connect(self) -> None:
        """Start connecting; failure is told by `unmade`, which may be now."""
        setting = self._setting
        if len(setting.open) >= setting.plan.most_open:
            self.unmade(Outcome.LOCAL, f"{setting.plan.most_open} connections are open already")
            return
        try:
            made = socket.socket(setting.target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            if setting.target.family != socket.AF_UNIX:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self.unmade(outcome_of(error), said("socket", error))
            return
        self._socket = made
        self._fd = made.fileno()
        setting.open.add(self)
        setting.ledger.connections["opened"] += 1
        if setting.target.secure:
            self._shield = Shield(setting.trust(self.alpn), setting.target.name)
            self._out = self._shield.sends()
        self._try_connect()

    def push(self, data: bytes) -> None:
        """Send as soon as the system takes it; nothing on a connection that is gone."""
        if self._socket is None:
            return
        if self._shield is not None:
            self._shield.say(data)
            data = self._shield.sends()
        self._out = self._out + data if self._out else data
        self._go_out()

    def _go_out(self) -> None:
        if self._out and self._ready and not self._writing:
            self._flush()

    def poll(self) -> None:
        """Read what is there now, before the loop tells it: a client should not speak past it."""
        self._readable()

    @property
    def cut(self) -> bool:
        """Whether the server has closed in a way that somebody on the way could have made up."""
        return self._shield is not None and not self._shield.over

    @property
    def there(self) -> bool:
        """Whether it has a socket: it was connected and is not dropped."""
        return self._socket is not None

    def glance(self) -> bytes | None:
        """Return something that has come and not been told; None: nothing has, b"": the end.

        It is for who will drop the connection if there is something, and it may be lost with it.

        Raises:
            OSError: as the system says it.

        """
        assert self._socket is not None
        try:
            if self._shield is None:
                return self._socket.recv(1, socket.MSG_PEEK)
            while data := self._socket.recv(65536):  # what TLS says for itself is nothing
                if found := self._shield.hear(data):
                    return found
                if self._shield.fault:
                    raise self._shield.fault
                if self._shield.over:
                    break
        except BlockingIOError:
            return None
        return b""

    def drop(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            loop = self._setting.loop
            if self._shield is not None and not self._out:
                self._shield.leave()
                with suppress(OSError):
                    self._socket.send(self._shield.sends())
            loop.remove_reader(self._fd)
            if self._writing:
                loop.remove_writer(self._fd)
            self._writing = False
            self._socket.close()
            self._socket = None
            self._setting.open.discard(self)

    # --- what the system says ---

    def _try_connect(self) -> None:
        if self._socket is None:
            return
        number = self._socket.connect_ex(self._setting.target.address)
        if number in (0, errno.EINPROGRESS):
            self._ready = True
            self._setting.loop.add_reader(self._fd, self._readable)
            if self._setting.target.family != socket.AF_UNIX:
                self.port = self._socket.getsockname()[1]
            # On loopback the connection is most often there by now, and one wait less is needed.
            if self._out:
                self._flush()
        elif number == errno.EAGAIN:
            self._setting.loop.call_later(_TRY_AGAIN, self._try_connect)
        else:
            error = OSError(number, "")
            self.unmade(outcome_of(error), said("connect", error))

    def _flush(self) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._broken(error)
            return
        self._out = self._out[sent:]
        if self._out and not self._writing:
            self._writing = True
            self._setting.loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        if self._socket is None:
            return
        self._flush()
        if self._writing and not self._out:
            self._writing = False
            self._setting.loop.remove_writer(self._fd)

    def _broken(self, error: OSError) -> None:
        """Sending failed; the server may have said why before it closed, so first read what is there."""
        self._out = b""
        self.mute()
        while self._socket is not None:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                self.lost(error)
            except OSError as second:
                self.lost(second)
            else:
                if data or error.errno == errno.EPIPE:
                    self._tell(data)
                else:
                    # The system tells an error once, to the send; after that a reset reads as an end of file.
                    self.lost(error)

    def _readable(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.lost(error)
            return
        self._tell(data)

    def _tell(self, data: bytes) -> None:
        if self._shield is not None:
            self._tell_shielded(self._shield, data)
        elif data:
            self.received(data)
        else:
            self.ended()

    def _tell_shielded(self, shield: Shield, data: bytes) -> None:
        """Tell what was said, and the end, which TLS has announced if nobody has made it up."""
        if not data:
            self.end += " without close_notify" if shield.shaken else " while shaking hands"
            self.ended()
            return
        if said_now := shield.hear(data):
            self.received(said_now)
        if self._socket is not None and shield.fault is None and (out := shield.sends()):
            self._out += out
            self._go_out()
        if self._socket is None:
            return
        if shield.fault is not None:
            self.lost(shield.fault)
        elif shield.over:
            self.ended()

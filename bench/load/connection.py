"""One non-blocking socket on the event loop, and the requests that wait for their answers on it.

Sockets are used bare, without transports: a client that must tell a reset from a close, and what had been
read before it, has to see what the system calls say. It is also several times cheaper.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

from bench.load.answers import Answer, Answers, Malformed
from bench.load.awaited import Awaited
from bench.load.outcomes import Outcome, outcome_of, said

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.load.setting import Setting

LINGER: Final = 1.0
"""Seconds the server has to close its side after the last answer; then this side does."""
_TRY_AGAIN: Final = 0.002
"""Seconds. A Unix socket whose queue is full says so at once; a blocking client would wait in the kernel."""


_AFTER: Final = {
    "closed while idle": "closed by the server after the last answer",
    "reset while idle": "reset after the last answer",
    "unsolicited": "said more after the last answer",
}
"""The same events on a connection that is not used again."""


class Connection:
    """A connection to the target.

    First `expect` what is to be sent, then `connect`, then `send`: whatever happens at any of these is then
    the outcome of a request that is known.

    Args:
        setting: shared with all others.
        kind: the name of the kind of client, for the ledger.
        free: called once for every time the last awaited answer is complete and the connection can be used
            again (True), and once when it is gone or no longer usable (False); None: it is used once.

    """

    __slots__ = (
        *("_answers", "_awaited", "_deadline", "_fd", "_free", "_out", "_ready"),
        *("_setting", "_silent", "_socket", "_usable", "_writing"),
    )

    def __init__(
        self, setting: Setting, kind: str, free: Callable[[Connection, bool], None] | None = None
    ) -> None:
        self._setting = setting
        self._free = free
        self._socket: socket.socket | None = None
        self._fd = -1
        self._ready = False  # the system has taken the connect; before, what is sent waits in _out
        self._writing = False  # waiting until the system takes more of _out
        self._silent = True  # nothing was sent yet
        self._usable = True  # another request may be sent on it
        self._out = b""
        self._answers = Answers(setting.dialect)
        self._awaited = Awaited(setting.ledger, kind)
        self._deadline = 0.0  # of closing, once nothing more is expected and it is not used again

    # --- what clients ask ---

    def expect(self, due: float) -> None:
        """Say that a request is (or will have been) sent at `due`, whose answer is awaited from now on."""
        self._awaited.dues.append(due)

    def connect(self) -> None:
        """Start connecting; failure is the outcome of all that is expected."""
        setting = self._setting
        if len(setting.open) >= setting.plan.most_open:
            self._end(Outcome.LOCAL, f"{setting.plan.most_open} connections are open already")
            return
        try:
            made = socket.socket(setting.target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            if setting.target.family != socket.AF_UNIX:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self._end(outcome_of(error), said("socket", error))
            return
        self._socket = made
        self._fd = made.fileno()
        setting.open.add(self)
        setting.ledger.connections["opened"] += 1
        self._try_connect()

    def send(self, data: bytes) -> None:
        """Send as soon as the system takes it; nothing on a connection that is gone, whose end was told."""
        if self._socket is None or not self._usable:
            return
        self._silent = False
        self._out = self._out + data if self._out else data
        if self._ready and not self._writing:
            self._flush()

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it, as far as is known."""
        return self._usable

    def quiet(self) -> bool:
        """Whether nothing came from the server, not even an end that the loop has not told yet; else close.

        It is what every good pool asks before it reuses an idle connection.
        """
        if self._socket is None or not self._usable:
            return False
        try:
            data = self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError as error:
            self._lost(error)
        else:
            self._idle_end("unsolicited" if data else "closed while idle")
        return False

    def sweep(self, now: float) -> None:
        """End what has waited longer than it may."""
        if self._awaited.dues:
            if now > self._awaited.dues[0] + self._setting.plan.timeout:
                self._end(Outcome.TIMEOUT, f"{self._setting.plan.timeout:g} s {self._got()}")
        elif self._deadline and now > self._deadline:
            self._setting.ledger.connections["left open by the server"] += 1
            self.close()

    def close(self) -> None:
        """Close it and tell the pool; nothing may be expected on it."""
        if self._socket is not None:
            loop = self._setting.loop
            loop.remove_reader(self._fd)
            if self._writing:
                loop.remove_writer(self._fd)
            self._writing = False
            self._socket.close()
            self._socket = None
            self._setting.open.discard(self)
        self._retire()

    # --- what the system says ---

    def _try_connect(self) -> None:
        if self._socket is None:
            return
        number = self._socket.connect_ex(self._setting.target.address)
        if number in (0, errno.EINPROGRESS):
            self._ready = True
            self._setting.loop.add_reader(self._fd, self._readable)
            if self._setting.target.family != socket.AF_UNIX:
                self._awaited.port = self._socket.getsockname()[1]
            # On loopback the connection is most often there by now, and one wait less is needed.
            if self._out:
                self._flush()
        elif number == errno.EAGAIN:
            self._setting.loop.call_later(_TRY_AGAIN, self._try_connect)
        else:
            error = OSError(number, "")
            self._end(outcome_of(error), said("connect", error))

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
        self._retire()
        while self._socket is not None:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                self._lost(error)
            except OSError as second:
                self._lost(second)
            else:
                if data or error.errno == errno.EPIPE:
                    self._received(data)
                else:
                    # The system tells an error once, to the send; after that a reset reads as an end of file.
                    self._lost(error)

    def _readable(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        self._received(data)

    # --- what that means ---

    def _received(self, data: bytes) -> None:
        if not data:
            self._eof()
            return
        if not self._awaited.dues:
            self._idle_end("unsolicited")
            return
        complete: list[Answer] = []
        fault = ""
        try:
            self._answers.feed(data, complete)
        except Malformed as error:
            fault = str(error)
        if len(complete) + self._answers.part > len(self._awaited.dues):
            fault = "more bytes than the answer announced"
            del complete[len(self._awaited.dues) - 1 :]
        now = self._setting.loop.time()
        for answer in complete:
            self._awaited.answer(answer, now)
        if fault:
            self._end(Outcome.MALFORMED, fault)
        elif not self._awaited.dues:
            self._done(complete[-1])

    def _done(self, last: Answer) -> None:
        """Everything sent so far is answered: keep it, or wait for the server to close."""
        if self._free is not None and self._usable and not last.close and not self._out:
            self._free(self, True)
            return
        if self._free is not None and self._usable:
            self._setting.ledger.connections["ended by the last answer"] += 1
        self._out = b""
        self._deadline = self._setting.loop.time() + LINGER
        self._retire()

    def _eof(self) -> None:
        if not self._awaited.dues:
            self._idle_end("closed while idle")
            return
        answer = self._answers.eof()
        if answer is not None:
            self._awaited.answer(answer, self._setting.loop.time())
        self._end(Outcome.CLOSED, f"end of file {self._got()}")

    def _lost(self, error: OSError) -> None:
        if not self._awaited.dues:
            self._idle_end("reset while idle")
            return
        self._end(outcome_of(error), f"{said('connection', error)} {self._got()}")

    def _got(self) -> str:
        if self._answers.part:
            return "after a part of an answer"
        return "before anything was sent" if self._silent else "with no answer"

    def _idle_end(self, word: str) -> None:
        """The server ended (or spoke on) a connection nothing was sent on: told, but no request's failure."""
        word = word if self._usable else _AFTER[word]
        self._setting.ledger.connections[word] += 1
        self.close()

    def _end(self, outcome: Outcome, detail: str) -> None:
        """Everything still expected ended so."""
        self._awaited.fail(outcome, detail, self._setting.loop.time())
        self.close()

    def _retire(self) -> None:
        """It is not used again; the pool hears it once."""
        if self._usable:
            self._usable = False
            if self._free is not None:
                self._free(self, False)

"""Words between the master and its children: JSON objects, one a line, over an inherited socketpair.

The socketpair is made for one process and never passed on, so whoever speaks on it *is* that process:
no word carries a generation number, and no late word can be taken for another generation's (D6).
The end of the stream is the end of the other side. Nothing a stranger writes here can do more than be
logged: a line that is too long, is no JSON object or has no `type` becomes a `Malformed` value.
"""

from __future__ import annotations

import array
import json
import os
import socket
import stat

from overseer.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping, Sequence
    from typing import Any

    Word = dict[str, Any]

PROTOCOL = 1
"""The version of the words. A side that is spoken to in a newer one says so and asks for nothing."""

MAX_LINE = 1 << 18
"""Bytes in one word; 1,000 long addresses fit eight times."""

MAX_FDS = 250
"""Descriptors in one message; Linux refuses more than 253 (SCM_MAX_FD, unix(7))."""

_CHUNK = 1 << 16
_HELD = 1 << 23
"""Bytes; more than a socketpair holds that nobody has given a buffer of its own."""

ROLE, CHANNEL, TOKEN = "OVERSEER_ROLE", "OVERSEER_CHANNEL", "OVERSEER_TOKEN"
BINARY, LOCK = "OVERSEER_BINARY", "OVERSEER_LOCK"  # of the updater: whose releases, and the store's lock
"""The private variables; they are taken out of the environment when `overseer` is imported."""


_CLOSED_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def receive(sock: socket.socket, size: int, most: int, flags: int = 0) -> tuple[bytes, list[int], int]:
    """Receive up to `size` bytes and `most` descriptors; return them, and the flags of what was received.

    The descriptors are closed on exec, where the system can from their first moment on: meanwhile another
    thread may start a program. `socket.recv_fds` takes flags, and does not heed them.
    """
    fds = array.array("i")
    data, told, found, _ = sock.recvmsg(size, socket.CMSG_LEN(most * fds.itemsize), flags | _CLOSED_ON_EXEC)
    for level, kind, raw in told:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
    for fd in () if _CLOSED_ON_EXEC else fds:
        os.set_inheritable(fd, False)
    return data, list(fds), found


class Malformed:
    """Something on the wire that is no word: `reason` for the log, `sample` of its first bytes."""

    def __init__(self, reason: str, sample: bytes) -> None:
        self.reason = reason
        self.sample = sample[:80]

    def __repr__(self) -> str:
        return f"{self.reason}: {self.sample!r}"


class Lines:
    """Cut a stream of bytes into words. Does no I/O; remembers at most one unfinished line."""

    def __init__(self, rest: bytes = b"", *, skipping: bool = False) -> None:
        self.rest = rest
        self.skipping = skipping  # inside a line that was too long: drop up to its end

    def feed(self, data: bytes) -> list[Word | Malformed]:
        """Take in some bytes and return the words that became whole."""
        words: list[Word | Malformed] = []
        *whole, rest = (self.rest + data).split(b"\n")
        for line in whole:
            if self.skipping:
                self.skipping = False
            elif len(line) > MAX_LINE:
                words.append(Malformed(f"a word of more than {MAX_LINE} bytes", line))
            elif line:
                words.append(decode(line))
        if len(rest) > MAX_LINE:
            if not self.skipping:
                words.append(Malformed(f"a word of more than {MAX_LINE} bytes", rest))
            self.skipping, rest = True, b""
        self.rest = b"" if self.skipping else rest
        return words


def decode(line: bytes) -> Word | Malformed:
    """Read one line as a word."""
    try:
        word = json.loads(line)
    except (ValueError, RecursionError):
        return Malformed("not JSON", line)
    if not isinstance(word, dict) or not isinstance(word.get("type"), str):
        return Malformed("no object with a type", line)
    return word


def encode(word: Word) -> bytes:
    """Write one word as a line; the length limit is the sender's to keep as well.

    Raises `ProtocolError` for a word that the other side would have to refuse.
    """
    line = json.dumps(word, separators=(",", ":")).encode()
    if len(line) > MAX_LINE:
        raise ProtocolError(f"a word {word['type']!r} of {len(line)} bytes; {MAX_LINE} are allowed")
    return line + b"\n"


class Channel:
    """One end of a socketpair: words in, words out, never blocking where the socket does not.

    `send` keeps what the socket does not take at once; whoever waits on the socket calls `flush` when it
    is writable and `wants_write` says whether that is worth waiting for. Not thread-safe for sending.
    """

    def __init__(self, sock: socket.socket, rest: bytes = b"", queued: bytes = b"") -> None:
        self.sock = sock
        self.lines = Lines(rest)
        self.fds: list[int] = []
        self.takes = False  # descriptors, whether asked for or not; one that gets lost is a Malformed
        self.ended = False  # the other side sends no more
        self.unsent = len(queued)  # bytes that wait for the socket
        self._out: list[tuple[bytes, Sequence[int]]] = [(queued, ())] if queued else []

    def fileno(self) -> int:
        """Return the descriptor, so that selectors take a channel as it is."""
        return self.sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether something waits for the socket to take more."""
        return bool(self._out)

    @property
    def queued(self) -> bytes:
        """What has not been sent yet, for the next master; descriptors do not wait here (see `send`)."""
        return b"".join(data for data, _ in self._out)

    def send(self, word: Word, fds: Sequence[int] = ()) -> None:
        """Queue one word, with descriptors that ride on its first byte, and try to send it.

        A receiver that has gone is no error here: it is noticed, once, where the channel is read.
        """
        line = encode(word)
        self._out.append((line, fds))
        self.unsent += len(line)
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes."""
        while self._out:
            data, fds = self._out[0]
            try:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
                sent = self.sock.sendmsg([data], rights)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._out.clear()
                self.unsent = 0
                return
            self.unsent -= sent
            if sent == len(data):
                self._out.pop(0)
            else:
                self._out[0] = (data[sent:], ())

    def receive(self, *, with_fds: bool = False) -> list[Word | Malformed] | None:
        """Read once. Return the words that became whole, or None when the other side has gone.

        Descriptors are taken only where they are asked for (`with_fds`); the kernel closes all others.
        Raises `ProtocolError` when some of them got lost, because this process may not have more.
        """
        try:
            data = self._read_with_fds() if with_fds or self.takes else self.sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:  # ECONNRESET: it went away with words of ours unread
            data = b""
        self.ended = not data
        return self.lines.feed(data) if data else None

    def _read_with_fds(self) -> bytes:
        data, fds, flags = receive(self.sock, _CHUNK, MAX_FDS)
        self.fds += fds
        if flags & socket.MSG_CTRUNC and self.takes:
            return data  # whoever misses one says so
        if flags & socket.MSG_CTRUNC:
            limit = os.sysconf("SC_OPEN_MAX")
            raise ProtocolError(
                f"listeners were lost: this process may have {limit} open files; "
                "raise the limit with LimitNOFILE= or ulimit -n"
            )
        return data

    def rest(self) -> Iterator[list[Word | Malformed]]:
        """Read what is still there of somebody who has gone: no more than a socket holds."""
        for _ in range(_HELD // _CHUNK):
            try:
                data = self._read_with_fds() if self.takes else self.sock.recv(_CHUNK)
            except OSError:
                return
            if not data:
                return
            yield self.lines.feed(data)

    def drop_fds(self) -> None:
        """Close descriptors that no word has asked for, unless such a word is still on its way."""
        if self.fds and (not self.lines.rest or len(self.fds) > MAX_FDS):
            for fd in self.fds:
                os.close(fd)
            self.fds.clear()

    def close(self) -> None:
        """Close this end; the other side reads the end of the stream."""
        self.sock.close()
        if self.takes:
            self.lines.rest = b""
            self.drop_fds()


def name_channel(fd: int) -> str:
    """Return the value of CHANNEL for a descriptor: its number and its inode, as JOURNAL_STREAM does."""
    return f"{fd}:{os.fstat(fd).st_ino}"


def take_channel(environ: MutableMapping[str, str]) -> int | None:
    """Remove the private variables and return the descriptor they name, if it is still that one.

    A process that inherited the variables but not the descriptor is a grandchild: it gets None, and
    takes itself for nobody's child. The descriptor is not inherited any further.
    """
    named = environ.pop(CHANNEL, "")
    fd, _, inode = named.partition(":")
    if not (fd.isdecimal() and inode.isdecimal()):
        return None
    try:
        there = os.fstat(int(fd))
        ours = stat.S_ISSOCK(there.st_mode) or stat.S_ISFIFO(there.st_mode)  # inodes of files count elsewhere
        if not ours or there.st_ino != int(inode):
            return None
        os.set_inheritable(int(fd), False)
    except (OSError, OverflowError, ValueError):  # ValueError: more digits than Python reads
        return None
    return int(fd)

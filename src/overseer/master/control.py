"""The control socket: operators ask here, one line of JSON a request, one line an answer.

Whoever may open it and is root or our own user may ask; what he sends can be refused, never harm: a line has
a length limit, a connection may be slow without holding anybody up, and there are at most a few of them.
"""

from __future__ import annotations

import os
import socket
import struct

from overseer import sockets, wire

MOST = 32
"""Connections at once; the oldest that waits for no answer makes room, those told events last."""

MOST_ASKED = 1000
"""Requests of one connection that may wait for their answers."""


class Caller:
    """One connection, and the names of its requests that are not answered yet."""

    def __init__(self, channel: wire.Channel, asked: list[str]) -> None:
        self.channel = channel
        self.asked = asked
        self.at: int | None = None  # the last event that was told to it, while it is told any
        self.follows = False  # it wants those to come as well


class Control:
    """The listening socket and its callers."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.callers: dict[int, Caller] = {}
        self._number = 0

    def surplus(self) -> Caller | None:
        """Return who has to make room before one more can be taken: the oldest that waits for nothing."""
        idle = [c for c in self.callers.values() if not c.asked] if self._full else []
        return next((c for c in idle if c.at is None), idle[0] if idle else None)

    @property
    def _full(self) -> bool:
        return len(self.callers) >= MOST

    def accept(self) -> Caller | None:
        """Take one connection, if its user may ask; return it, or None."""
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return None
        sock.setblocking(False)
        channel = wire.Channel(sock)
        if not _may_ask(sock):
            _refuse(channel, "only root and the user of the service may ask")
            return None
        if self._full:
            _refuse(channel, f"{MOST} others wait for their answers; try later")
            return None
        return self.adopt(channel, [])

    def close(self) -> None:
        """Close for good: its path goes, and callers read the end."""
        sockets.unlink_if_ours(self.listener)
        self.listener.close()
        for caller in list(self.callers.values()):
            self.drop(caller)

    def adopt(self, channel: wire.Channel, asked: list[str]) -> Caller:
        """Go on with a connection, a new one or the previous master's."""
        self._number += 1
        caller = self.callers[self._number] = Caller(channel, asked)
        return caller

    def answer(self, name: str, outcome: str, detail: str) -> None:
        """Tell whoever asked under this name how it ended."""
        for caller in self.callers.values():
            while name in caller.asked:
                caller.asked.remove(name)
                caller.channel.send({"type": "answer", "outcome": outcome, "detail": detail})

    def drop(self, caller: Caller) -> None:
        """End a connection."""
        self.callers = {number: c for number, c in self.callers.items() if c is not caller}
        caller.channel.close()


def _refuse(channel: wire.Channel, reason: str) -> None:
    channel.send({"type": "error", "reason": reason})
    channel.close()


def _may_ask(sock: socket.socket) -> bool:
    """Ask the kernel who is there (SO_PEERCRED, unix(7)); elsewhere the mode of the path has to do."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return uid in (0, os.geteuid())

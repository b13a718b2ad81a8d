"""A chat over plain TCP: whoever connects stays connected, however often the program is upgraded.

    python -m examples.chat.app 127.0.0.1:4000
    nc 127.0.0.1 4000

When a generation is asked to drain it gives every connection to the master's store, with the bytes of a line
that has not ended yet, and leaves. The next generation is handed them, and goes on where the old one stopped.
What people type meanwhile waits in the kernel.
"""

from __future__ import annotations

import collections
import contextlib
import json
import selectors
import socket
import sys
import time
from dataclasses import dataclass

import overseer

TOGETHER = 0.5
"""Seconds that the others of those who came together are waited for, before anybody is listened to."""


@dataclass(eq=False)
class Member:
    """Somebody who is connected: the name in the store, and what was typed without a newline so far."""

    name: str
    sock: socket.socket
    typed: bytes = b""


class Chat:
    """One generation: everything happens in `run`, one thing at a time."""

    def __init__(self, state: overseer.State) -> None:
        self.state = state
        self.members: dict[str, Member] = {}
        self.newcomers: collections.deque[overseer.Stored] = collections.deque()
        self.missing = 0  # of those who are handed over together
        self.patience = 0.0
        self.count = 0
        self.wait = selectors.DefaultSelector()
        self.bell, self.rope = socket.socketpair()
        self.rope.setblocking(False)

    def run(self) -> None:
        """Serve until asked to drain, then hand everybody over."""
        self.wait.register(self.state.listener, selectors.EVENT_READ)
        self.wait.register(self.state.draining, selectors.EVENT_READ)
        self.wait.register(self.bell, selectors.EVENT_READ)
        self.state.on_stored(self.arrived)
        self.state.ready()
        while not self.state.draining:
            together = self.missing <= 0 or time.monotonic() > self.patience
            for key, _ in self.wait.select(None if together else 0.05):
                if key.fileobj is self.state.listener:
                    self.accept()
                elif key.fileobj is self.bell:
                    self.bell.recv(4096)
                elif isinstance(key.data, Member) and together:
                    self.hear(key.data)
            while self.newcomers and not self.state.draining:
                self.adopt(self.newcomers.popleft())
        self.hand_over()

    def accept(self) -> None:
        """Let somebody in."""
        with contextlib.suppress(BlockingIOError):
            sock, _ = self.state.listener.accept()
            self.count += 1
            member = Member(f"{self.state.generation}-{self.count}", sock)
            self.enter(member)
            self.tell(member, f"welcome, you are {member.name}; {len(self.members)} are here\n")

    def enter(self, member: Member) -> None:
        """Listen to somebody from now on."""
        member.sock.settimeout(5)
        self.members[member.name] = member
        self.wait.register(member.sock, selectors.EVENT_READ, member)

    def hear(self, member: Member) -> None:
        """Pass on what somebody has typed, line by line."""
        try:
            data = member.sock.recv(4096)
        except OSError:
            data = b""
        *lines, member.typed = (member.typed + data).split(b"\n")
        for line in lines:
            for other in list(self.members.values()):
                self.tell(other, f"{member.name}: {line.decode(errors='replace')}\n")
        if not data:
            self.wait.unregister(member.sock)
            del self.members[member.name]
            member.sock.close()

    def tell(self, member: Member, text: str) -> None:
        """Write to somebody; who has gone is noticed where it is read."""
        with contextlib.suppress(OSError):
            member.sock.sendall(text.encode())

    def arrived(self, stored: overseer.Stored) -> None:
        """Called in a thread of overseer: only tell the loop."""
        self.newcomers.append(stored)
        with contextlib.suppress(BlockingIOError):
            self.rope.send(b"!")

    def adopt(self, stored: overseer.Stored) -> None:
        """Take over a connection: it is ours now, and no longer the store's."""
        told = json.loads(stored.data)
        self.missing = self.missing - 1 if self.missing > 0 else int(told["together"]) - 1
        self.patience = time.monotonic() + TOGETHER
        self.enter(Member(stored.name, stored.socket(), bytes.fromhex(told["typed"])))
        self.state.unstore(stored.name)

    def hand_over(self) -> None:
        """Give everybody to the next generation. Who has arrived and was not adopted is the store's still."""
        for member in self.members.values():
            told = {"typed": member.typed.hex(), "together": len(self.members)}
            self.state.store(member.sock, member.name, json.dumps(told).encode())
            member.sock.close()


def program(state: overseer.State) -> None:
    """Run one generation of the chat."""
    Chat(state).run()


if __name__ == "__main__":
    overseer.run(program, address=sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4000", ready_after=None)

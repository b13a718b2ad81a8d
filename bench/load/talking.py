"""WebSockets whose server sends every message back."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Final

from bench.load.answers import MOST_HEAD, Malformed
from bench.load.awaited import Account
from bench.load.frames import Closed, Frames, Opcode, Said, closed, fault_of_opening, frame, key_of
from bench.load.heads import request
from bench.load.link import LINGER, Link
from bench.load.outcomes import Outcome, outcome_of, outcome_of_status, said

if TYPE_CHECKING:
    from bench.load.plan import WebSocket
    from bench.load.setting import Setting

TRIES: Final = 10
"""Times that a message is sent; a server that closes each time has lost it."""
_SHORTEST: Final = 12
"""Bytes; room for the number that tells a message from the others."""


class Message:
    """One message, from when it is due to its echo."""

    __slots__ = ("data", "due", "sent", "tries")

    def __init__(self, due: float, data: bytes) -> None:
        self.due = due
        self.data = data
        self.sent = 0.0
        self.tries = 0


def crossed(message: Message, now: float, bound: float) -> str:
    """Return why a message without echo did not cross the close that is read now; empty: it may have."""
    waited = now - message.sent
    if waited > bound:
        return f"no echo in the {waited:.1f} s before the close"
    return f"closed {TRIES} times with no echo" if message.tries >= TRIES else ""


class Talk(Link):
    """One WebSocket: opened, talked on, and closed by whoever wants to."""

    __slots__ = (
        *("_account", "_deadline", "_frames", "_head", "_key"),
        *("_messages", "_owner", "_since", "_state"),
    )

    def __init__(self, owner: Talking, setting: Setting, kind: WebSocket) -> None:
        super().__init__(setting)
        self._owner = owner
        self._account = Account(setting.ledger, kind.label)
        self._frames = Frames()
        self._head = b""
        self._key = key_of(owner.chance.randbytes(16))
        self._messages: deque[Message] = deque()
        self._state = "opening"  # then open, closing, gone
        self._since = setting.loop.time()
        self._deadline = 0.0

    def begin(self) -> None:
        """Connect and ask for a WebSocket."""
        lines = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines.append(f"Sec-WebSocket-Key: {self._key}")
        opening = request(self._setting, self._owner.kind, close=False, more=lines)
        self.connect()
        self.push(opening)

    def say(self, message: Message) -> None:
        """Send it, or have it wait until the socket is open; its echo is awaited from now on."""
        self._messages.append(message)
        if self._state == "open":
            self._send(message)

    @property
    def usable(self) -> bool:
        """Whether a message may be sent on it, now or soon."""
        return self._state in ("opening", "open")

    def sweep(self, now: float) -> None:
        """End it when what was asked last has waited longer than it may."""
        timeout = self._setting.plan.timeout
        if self._state == "closing":
            if now > self._deadline:
                self._setting.ledger.connections["left open by the server"] += 1
                self._over()
            return
        opening = self._state == "opening"
        dues = [message.due for message in self._messages]
        if now > min([*dues, self._since] if opening else dues, default=now) + timeout:
            self.unmade(Outcome.TIMEOUT, f"no {'WebSocket' if opening else 'echo'} in {timeout:g} s")

    def close(self) -> None:
        """Say goodbye, without waiting for the answer: the run is over."""
        if self._state == "open":
            self._say(Opcode.CLOSE, (1000).to_bytes(2, "big"))
        self._over()

    # --- what the system says ---

    def received(self, data: bytes) -> None:
        """Read the answer to the opening, then frames."""
        if self._state == "closing":
            return  # RFC 6455, 1.4: what comes after a close frame is not looked at
        try:
            if self._state == "opening":
                data = self._open(data)
            if data and self._state == "open":
                self._read(data)
        except Malformed as error:
            self.unmade(Outcome.MALFORMED, str(error))

    def ended(self) -> None:
        """Without a close frame that is what browsers call 1006."""
        if self._state == "closing":
            self._over()
            return
        self.unmade(Outcome.CLOSED, f"{self.end} {self._got()}")

    def lost(self, error: OSError) -> None:
        """As `ended`; after the close frames it is only impolite."""
        if self._state == "closing":
            self._setting.ledger.connections["reset after the close"] += 1
            self._over()
            return
        self.unmade(outcome_of(error), f"{said('connection', error)} {self._got()}")

    def unmade(self, outcome: Outcome, detail: str) -> None:
        """An abnormal end: of every message that is under way, or of the socket alone."""
        if self._state != "gone":
            self._fail(outcome, detail)
        self._over()

    def mute(self) -> None:
        """What the server said before it closed is read next."""

    # --- what that means ---

    def _open(self, data: bytes) -> bytes:
        """Read the answer to the opening; return what came after it."""
        self._head += data
        while (end := self._head.find(b"\r\n\r\n")) >= 0:
            raw, self._head = self._head[:end], self._head[end + 4 :]
            head = self._setting.dialect.read(raw)
            if head.status < 200 and head.status != 101:
                continue
            if head.status != 101:
                outcome = outcome_of_status(head.status)
                outcome = Outcome.STATUS if outcome is Outcome.OK else outcome
                self._account.generation = head.generation
                self.unmade(outcome, f"status {head.status} for a WebSocket")
                return b""
            fault = fault_of_opening(raw, self._key)
            if fault:
                raise Malformed(fault)
            self._account.port = self.port
            self._account.generation = head.generation
            self._state = "open"
            for message in list(self._messages):
                if self._state == "open":
                    self._send(message)
            return self._head
        if not self._head.startswith(b"HTTP/1."[: len(self._head)]) or len(self._head) > MOST_HEAD:
            raise Malformed(f"not an answer: {self._head[:80]!r}")
        return b""

    def _read(self, data: bytes) -> None:
        for one in self._frames.feed(data):
            if one.opcode is Opcode.PING:
                self._say(Opcode.PONG, one.data)
            elif one.opcode is Opcode.CLOSE:
                self._told_to_close(closed(one.data))
                return
            elif one.opcode is not Opcode.PONG:
                self._echo(one)
            if self._state != "open":
                return

    def _echo(self, one: Said) -> None:
        if not self._messages or not one.data.endswith(self._messages[0].data):
            raise Malformed(f"a message that nobody awaits: {one.data[:80]!r}")
        message = self._messages.popleft()
        generation = self._setting.dialect.in_body(one.data) or self._account.generation
        self._account.good(message.due, self._setting.loop.time(), generation)

    def _told_to_close(self, close: Closed) -> None:
        """Answer the close frame, and wait until the server closes the connection, as RFC 6455 has it."""
        now = self._setting.loop.time()
        self._state = "closing"
        self._deadline = now + LINGER
        if close.orderly:
            self._account.apart("told to leave")
            self._owner.left(self, self._to_send_again(close, now))
        else:
            self._fail(Outcome.CLOSED, f"close {close}")
            self._owner.gone(self)
        self._say(Opcode.CLOSE, b"" if close.code is None else close.code.to_bytes(2, "big"))

    def _to_send_again(self, close: Closed, now: float) -> list[Message]:
        again = []
        while self._messages:
            message = self._messages.popleft()
            fault = crossed(message, now, self._owner.kind.crossing)
            if fault:
                self._account.bad(Outcome.CLOSED, f"{fault} {close}", message.due, now)
            else:
                self._account.apart("sent again")
                again.append(message)
        return again

    def _send(self, message: Message) -> None:
        message.sent = self._setting.loop.time()
        message.tries += 1
        self._say(Opcode.TEXT, message.data)

    def _say(self, opcode: Opcode, data: bytes) -> None:
        self.push(frame(opcode, data, self._owner.chance.randbytes(4)))

    def _got(self) -> str:
        if self._state == "opening":
            return "with no answer to the opening"
        return "within a frame" if self._frames.part else "with no close frame"

    def _fail(self, outcome: Outcome, detail: str) -> None:
        now = self._setting.loop.time()
        self._account.port = self.port
        if not self._messages:
            self._account.alone(outcome, detail, now)
        while self._messages:
            self._account.bad(outcome, detail, self._messages.popleft().due, now)

    def _over(self) -> None:
        self.drop()
        if self._state != "gone":
            self._state = "gone"
            self._owner.gone(self)


class Talking:
    """A number of WebSockets, on which messages are sent in turn."""

    weight = 1

    def __init__(self, setting: Setting, kind: WebSocket) -> None:
        self.kind = kind
        self.chance = random.Random(setting.plan.seed)
        self._setting = setting
        self._talks: deque[Talk] = deque()
        self._number = 0
        self._stopped = False

    def arrive(self, due: float) -> None:
        """Send the next message on the next socket."""
        self._number += 1
        data = str(self._number).rjust(max(self.kind.size, _SHORTEST), ".")
        self._give(Message(due, data.encode()))

    def left(self, talk: Talk, again: list[Message]) -> None:
        """Open another one for it at once, and send first what crossed the close."""
        self.gone(talk)
        if again or not self._stopped:
            self._open(again)

    def gone(self, talk: Talk) -> None:
        """Talk no more on this one."""
        if talk in self._talks:
            self._talks.remove(talk)

    def sweep(self, now: float) -> None:
        """Every message has a socket."""

    def stop(self) -> None:
        """Open no more for those that are closed; a message that crosses a close is still sent again."""
        self._stopped = True

    def close(self) -> None:
        """Close all."""
        self._stopped = True
        while self._talks:
            self._talks[0].close()

    def _give(self, message: Message) -> None:
        while len(self._talks) >= self.kind.connections:
            talk = self._talks[0]
            self._talks.rotate(-1)
            talk.poll()  # a close that has come must not be talked past
            if talk.usable:
                talk.say(message)
                return
        self._open([message])

    def _open(self, messages: list[Message]) -> None:
        talk = Talk(self, self._setting, self.kind)
        self._talks.append(talk)
        for message in messages:
            talk.say(message)
        talk.begin()

"""The one wait of the master: descriptors, channels, and whom to call when there is something."""

from __future__ import annotations

import selectors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import HasFileno

    from overseer.wire import Channel, Malformed, Word

    Heard = Callable[[list[Word | Malformed] | None], None]

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

_LONGEST = 1_000_000.0
"""Seconds (11 days) of one wait: epoll_wait(2) takes no more than 2**31 ms."""


class Watch:
    """Wait for descriptors to be readable, and for channels also to take what they have queued."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._channels: dict[Channel, tuple[Heard, int]] = {}  # whom to tell; what is waited for now

    def add(self, readable: HasFileno, call: Callable[[], None]) -> None:
        """Have `call` called whenever there is something to read."""
        self._selector.register(readable, _READ, call)

    def add_channel(self, channel: Channel, heard: Heard) -> None:
        """Have `heard` called with the words that come, and with None, once, when the other side closes."""
        self._selector.register(channel, _READ, channel)
        self._channels[channel] = (heard, _READ)

    def remove(self, readable: HasFileno) -> None:
        """Wait no more for what `add` was called with."""
        self._selector.unregister(readable)

    def drop(self, channel: Channel) -> None:
        """Wait for it no more."""
        if self._channels.pop(channel, None) and channel in self._selector.get_map():
            self._selector.unregister(channel)

    def mute(self, channel: Channel) -> None:
        """Read no more from it; what is queued for it is still sent."""
        if channel in self._channels:
            heard, waited = self._channels[channel]
            self._set(channel, heard, waited, waited & ~_READ)

    def wait(self, timeout: float | None) -> None:
        """Wait until something can be done, or for `timeout` seconds (None: for ever), and do it."""
        for channel, (heard, waited) in list(self._channels.items()):
            self._set(channel, heard, waited, (waited & _READ) | (_WRITE if channel.wants_write else 0))
        for key, mask in self._selector.select(None if timeout is None else min(timeout, _LONGEST)):
            if key.data is not key.fileobj:
                key.data()
            elif key.data in self._channels:  # if not, it was dropped by what came before it in this round
                self._serve(key.data, mask)

    def close(self) -> None:
        """Give back the descriptor of the wait itself."""
        self._selector.close()

    def _serve(self, channel: Channel, mask: int) -> None:
        heard, waited = self._channels[channel]
        if mask & _WRITE:
            channel.flush()
        if mask & waited & _READ:  # not if it was muted by what came before it
            words = channel.receive()
            if words is None:  # at its end it would be readable for ever
                self._set(channel, heard, waited, waited & ~_READ)
            heard(words)

    def _set(self, channel: Channel, heard: Heard, waited: int, wanted: int) -> None:
        if wanted == waited:
            return
        if not wanted:
            self._selector.unregister(channel)
        elif not waited:
            self._selector.register(channel, wanted, channel)
        else:
            self._selector.modify(channel, wanted, channel)
        self._channels[channel] = (heard, wanted)

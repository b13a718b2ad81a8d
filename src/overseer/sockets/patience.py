"""Binding a whole list, with patience for a generation that outlives its killed master."""

from __future__ import annotations

import errno
import os
import select
import time

from overseer.errors import AddressError
from overseer.sockets.binding import open_at
from overseer.sockets.bound import unlink_if_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from overseer.addresses import Address
    from overseer.sockets.binding import Opens
    from overseer.sockets.proc import Holder

# While an address is waited for: how often it is tried, and how often its holders are looked up anew (which
# means reading all of /proc).
_TRY_EVERY = 0.05
_LOOK_EVERY = 1.0


def bind_patiently(
    addresses: Sequence[Address],
    *,
    patience: float,
    say: Callable[[str], None],
    inherited: Mapping[str, int] | None = None,
    opens: Opens = open_at,
) -> list[socket.socket]:
    """Bind all addresses, in their order, or none.

    When an address is held by a generation whose master was killed, and which now finishes its connections,
    its end is awaited for up to `patience` seconds in all, and `say` is told so once. Anybody else's address
    is refused at once. `opens` makes the sockets. Raises `AddressError`; by then everything is closed that
    was bound here, and inherited descriptors are open as before.
    """
    bound: list[socket.socket] = []
    wait = _Wait(patience, say, opens)
    try:
        for address in addresses:
            sock = _open_in_time(address, inherited or {}, wait)
            if address.kind == "fd":
                _refuse_twice(address, sock, bound)
            bound.append(sock)
    except BaseException:
        for address, sock in zip(addresses, bound, strict=False):
            if address.kind == "fd":
                sock.detach()
            else:
                unlink_if_ours(sock)
                sock.close()
        raise
    return bound


def _refuse_twice(address: Address, sock: socket.socket, bound: Sequence[socket.socket]) -> None:
    """Two sockets with one descriptor would close it under each other."""
    if sock.fileno() in [other.fileno() for other in bound]:
        sock.detach()
        raise AddressError(address.text, "this socket is in the list already; name each of them once")


def _open_in_time(address: Address, inherited: Mapping[str, int], wait: _Wait) -> socket.socket:
    looked_in_vain = False
    while True:
        try:
            return wait.opens(address, inherited)
        except OSError as error:
            from overseer.sockets.refusals import explain, explain_in_use  # noqa: PLC0415 - only in need

            if error.errno != errno.EADDRINUSE:
                raise explain(address, error) from error
            found = holders(address)
            orphans = [holder for holder in found if holder.orphan_of_overseer]
            if not found and not looked_in_vain:
                # Whoever it was may have left while we looked.
                looked_in_vain = True
                continue
            if not orphans or wait.is_over():
                raise explain_in_use(address, found, waited=wait.patience if orphans else 0) from error
        sock = wait.until_free(address, inherited, orphans)
        if sock is not None:
            return sock


class _Wait:
    """How long addresses are waited for, in all."""

    def __init__(self, patience: float, say: Callable[[str], None], opens: Opens) -> None:
        self.patience = patience
        self.opens = opens
        self._deadline = time.monotonic() + patience
        self._say = say
        self._said = False

    def is_over(self) -> bool:
        return time.monotonic() >= self._deadline

    def until_free(
        self, address: Address, inherited: Mapping[str, int], orphans: Sequence[Holder]
    ) -> socket.socket | None:
        """Return the socket as soon as it can be had; None when it is time to look who holds it now."""
        if not self._said:
            self._said = True
            who = ", ".join(f"pid {holder.pid}" for holder in orphans)
            self._say(
                f"{address.text} is still held by {who}, left by a master that was killed and finishing its "
                f"connections; waiting for its end, {self.patience:.0f} s at most"
            )
        look_again = min(self._deadline, time.monotonic() + _LOOK_EVERY)
        while time.monotonic() < look_again:
            _wait_for_an_end(orphans, min(_TRY_EVERY, look_again - time.monotonic()))
            try:
                return self.opens(address, inherited)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    return None
        return None


def _wait_for_an_end(orphans: Sequence[Holder], seconds: float) -> None:
    """Return when one of the processes has ended, after `seconds` anyhow: it may close the socket first."""
    ends = select.poll()
    opened: list[int] = []
    try:
        for holder in orphans:
            try:
                opened.append(os.pidfd_open(holder.pid))
            except (AttributeError, OSError):  # another system, or it has just gone
                continue
            ends.register(opened[-1], select.POLLIN)
        ends.poll(max(1, seconds * 1000))
    finally:
        for fd in opened:
            os.close(fd)


def holders(address: Address) -> list[Holder]:
    """Find the processes that have a socket on `address`, as far as this user may see them (Linux only)."""
    from overseer.sockets.proc import find_holders  # noqa: PLC0415 - only in need

    return find_holders(address)

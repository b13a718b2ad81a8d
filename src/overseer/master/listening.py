"""The sockets of the master: bound once, shared by generations, closed when nobody wants them (D3, D21)."""

from __future__ import annotations

from overseer import addresses, sockets
from overseer.errors import AddressError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence


class Listening:
    """What is listened on, by the identity of the address, and which generations use it."""

    def __init__(self, bound: Iterable[tuple[str, socket.socket]] = ()) -> None:
        """Take over sockets that are bound already: (address as text, socket)."""
        self._bound: dict[str, tuple[addresses.Address, socket.socket]] = {}
        self._users: dict[int, dict[str, addresses.Address]] = {}
        self.changes = 0  # grows with whatever is bound or closed
        bound = list(bound)
        for (key, address), (_, sock) in zip(_identified(text for text, _ in bound), bound, strict=True):
            self._bound[key] = (address, sock)

    def claim(self, generation: int, texts: Sequence[str]) -> None:
        """Have every address of a generation bound, in its order; what is bound already is shared.

        Raises `AddressError`, and leaves nothing bound that was not before.
        """
        wanted = _identified(texts)
        fresh: list[str] = []
        try:
            for key, address in wanted:
                if key not in self._bound:
                    self._bound[key] = (address, sockets.bind(address))
                    fresh.append(key)
                    self.changes += 1
        except Exception:
            for key in fresh:
                self._close(key)
            raise
        self._users[generation] = dict(wanted)

    def settle(self, generation: int) -> list[str]:
        """A generation serves: give the sockets it shares the backlog, mode and owner it asks for.

        Not before, so that one that fails leaves no trace. Return what could not be done, as text.
        """
        failed = []
        for key, address in self._users.get(generation, {}).items():
            before, sock = self._bound[key]
            if address == before:
                continue
            self._bound[key] = (address, sock)
            try:
                sockets.apply_options(sock, address)
            except AddressError as error:
                failed.append(str(error))
        return failed

    def of(self, generation: int) -> list[socket.socket]:
        """Return the sockets of a generation, in the order of its addresses."""
        return [self._bound[key][1] for key in self._users.get(generation, {})]

    def users(self) -> dict[int, list[str]]:
        """Return the addresses each generation uses, as text, for the next master."""
        return {n: [address.text for address in used.values()] for n, used in self._users.items()}

    def forget(self, generation: int) -> None:
        """A generation has left. Its sockets stay: with a sequential handover the next comes only now."""
        self._users.pop(generation, None)

    def close_unused(self) -> list[str]:
        """Somebody serves, so what no generation uses is not wanted: close it, and return it as text.

        What the service manager gave us stays: it cannot be had again.
        """
        used = {key for keys in self._users.values() for key in keys}
        gone = [key for key, (address, _) in self._bound.items() if key not in used and address.kind != "fd"]
        return [self._close(key) for key in gone]

    def bound(self) -> list[tuple[str, socket.socket]]:
        """Return everything that is bound: (address as text, socket)."""
        return [(address.text, sock) for address, sock in self._bound.values()]

    def lasting(self) -> dict[str, socket.socket]:
        """Return what may outlive the master, by a name for the manager: what it did not give us."""
        bound = ((key, sock) for key, (address, sock) in self._bound.items() if address.kind != "fd")
        return {sockets.name_kept(key, sock): sock for key, sock in bound}

    def close(self, *, lasting: bool = False) -> None:
        """Close everything, for good: the paths of Unix sockets go, too, unless those are lasting."""
        for key in list(self._bound):
            self._close(key, lasting=lasting)

    def _close(self, key: str, *, lasting: bool = False) -> str:
        self.changes += 1
        address, sock = self._bound.pop(key)
        if address.kind == "unix" and not lasting:
            sockets.unlink_if_ours(sock)
        sock.close()
        return address.text


def _identified(texts: Iterable[str]) -> list[tuple[str, addresses.Address]]:
    """Read addresses, each with what tells it from the others."""
    read = [addresses.parse(text) for text in texts]
    return list(zip(addresses.identities(read), read, strict=True))

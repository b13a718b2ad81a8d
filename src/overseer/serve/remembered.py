"""What is remembered of connections, and not for ever: of about as many as are here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Container

_MANY = 1000
"""How much is remembered before anything is forgotten."""

Name = TypeVar("Name")
Known = TypeVar("Known")


class Remembered(Generic[Name, Known]):
    """Who is known by which name; those who are not here any more are forgotten by and by.

    To see who is here takes long. It is done when there are twice as many as there were the last time.
    """

    def __init__(self, here: Callable[[], Container[Known]], most: int = _MANY) -> None:
        """Take who tells who is here."""
        self._here = here
        self._known: dict[Name, Known] = {}
        self._least = self._most = most

    def add(self, name: Name, known: Known) -> None:
        """Remember somebody, who need not be seen here yet."""
        if len(self._known) >= self._most and name not in self._known:
            here = self._here()
            self._known = {each: who for each, who in self._known.items() if who in here}
            self._most = max(self._least, 2 * len(self._known))
        self._known[name] = known

    def forget(self, name: Name) -> None:
        """Forget somebody, if known."""
        self._known.pop(name, None)

    def get(self, name: Name) -> Known | None:
        """Return who it is."""
        return self._known.get(name)

    def __contains__(self, name: Name) -> bool:
        return name in self._known

    def __len__(self) -> int:
        return len(self._known)

"""The publisher's folder: which repository it is, where it is kept, and which keys sign it.

    repo.json       name, place, the URI of each key by its id, lifetimes; may be edited by hand
    root.json       the first root of this repository: what programs embed
    keys/           the keys that are files, each encrypted
    seen.json       the newest timestamp this publisher saw; a place that is older was put back

It holds no state that the place does not hold as well, but for the keys: copied to another machine, without
the keys that machine must not have, it is another publisher.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from overseer.errors import PublishError
from overseer.store import durable

if TYPE_CHECKING:
    from collections.abc import Iterable

DAYS = {"root": 1095, "targets": 730, "snapshot": 30, "timestamp": 30}
"""How many days what each role signs is valid: years for what is signed by people, a month for machines."""

_CONFIG, _ROOT, _SEEN = "repo.json", "root.json", "seen.json"


@dataclass(frozen=True, kw_only=True)
class Home:
    """What is known without asking the place. `keys` is from key id to URI, relative to `folder`."""

    folder: str
    name: str
    place: str = "public"
    keys: dict[str, str] = field(default_factory=dict)
    days: dict[str, int] = field(default_factory=lambda: dict(DAYS))
    patches: int = 3

    def save(self) -> None:
        """Write it down."""
        told = {name: value for name, value in asdict(self).items() if name != "folder"}
        _write(self._of(_CONFIG), told)

    def with_keys(self, keys: dict[str, str]) -> Home:
        """Return it with more keys."""
        return replace(self, keys={**self.keys, **keys})

    def without_keys(self, keyids: Iterable[str]) -> Home:
        """Return it without some keys."""
        gone = set(keyids)
        return replace(self, keys={keyid: uri for keyid, uri in self.keys.items() if keyid not in gone})

    def uri_of(self, uri: str) -> str:
        """Return a key's URI with the path of a file made absolute."""
        scheme, _, rest = uri.partition(":")
        return f"file:{os.path.join(self.folder, rest)}" if scheme == "file" else uri

    @property
    def root(self) -> bytes | None:
        """The first root, None before it was made."""
        return _read(self._of(_ROOT))

    def keep_root(self, data: bytes) -> None:
        """Keep the first root."""
        durable.replace_file(self._of(_ROOT), data)

    @property
    def root_path(self) -> str:
        """Where the first root is."""
        return self._of(_ROOT)

    @property
    def seen(self) -> int:
        """The version of the newest timestamp that was seen."""
        raw = _read(self._of(_SEEN))
        return int(json.loads(raw)["timestamp"]) if raw else 0

    def saw(self, timestamp: int) -> None:
        """Remember a timestamp that is there."""
        if timestamp > self.seen:
            _write(self._of(_SEEN), {"timestamp": timestamp})

    def _of(self, name: str) -> str:
        return os.path.join(self.folder, name)


def load(folder: str) -> Home:
    """Read a publisher's folder. Raises `PublishError`."""
    raw = _read(os.path.join(folder, _CONFIG))
    if raw is None:
        raise PublishError(f"{folder} is no publisher's folder; overseer repo init makes one")
    try:
        told: dict[str, Any] = json.loads(raw)
        home = Home(folder=folder, **told)
        whole = {role: int(days) for role, days in home.days.items()}.keys() == DAYS.keys()
    except (ValueError, TypeError, AttributeError) as error:
        raise PublishError(f"{os.path.join(folder, _CONFIG)} makes no sense: {error}") from error
    if not whole:
        raise PublishError(f"{os.path.join(folder, _CONFIG)}: days must name {', '.join(DAYS)}")
    return home


def exists(folder: str) -> bool:
    """Whether there is a publisher's folder."""
    return os.path.exists(os.path.join(folder, _CONFIG))


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: str, what: dict[str, Any]) -> None:
    try:
        durable.replace_file(path, json.dumps(what, indent=2).encode() + b"\n")
    except OSError as error:
        raise PublishError(f"{path} cannot be written: {error.strerror}") from error

"""`trust=overseer.TUF(root=...)`: what a program says of whom it trusts. Cheap to import."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from overseer.errors import ConfigError


@dataclass(frozen=True)
class TUF:
    """Take only releases that are signed as The Update Framework says (theupdateframework.io).

    `root` is the root metadata that `overseer repo init` has printed the path of: its bytes, embedded in the
    program, or a path, relative to the working folder as that of `fetcher.File` is. It is the one thing
    that is trusted from the start; newer roots are followed from it. `name` is the program's name in the
    repository, by default the only one that the repository has releases of.

    The fetcher says where the repository is: `fetcher.HTTP` with a URL, or `fetcher.S3` with a key, that ends
    in `/` (just `/` for a whole bucket); `fetcher.GitHub`, the assets of whose release it is; or
    `fetcher.File` with a folder. Raises `ConfigError` for a root that cannot be one, and where python-tuf is
    not installed.
    """

    root: bytes | str | os.PathLike[str]
    name: str = ""

    def __post_init__(self) -> None:
        from overseer.fetcher.options import need  # noqa: PLC0415 - only for those who use it
        from overseer.trust.terms import is_word  # noqa: PLC0415

        need("tuf", extra="tuf", field="trust")
        if self.name and not is_word(self.name):
            raise ConfigError("trust", f"{self.name!r} is no name of a program in a repository")
        self.anchor()

    def __repr__(self) -> str:
        """Show where the root is."""
        return f"TUF(root={'bytes' if isinstance(self.root, bytes) else os.fspath(self.root)!r})"

    def anchor(self) -> bytes:
        """Return the root metadata. Raises `ConfigError`."""
        where, data = "the root", self.root
        if not isinstance(data, bytes):
            where = os.fspath(data)
            try:
                with open(data, "rb") as file:
                    data = file.read()
            except OSError as error:
                raise ConfigError("trust", f"{where} cannot be read: {error.strerror}") from None
        try:
            kind = json.loads(data)["signed"]["_type"]
        except (ValueError, KeyError, TypeError, RecursionError):
            kind = None
        if kind != "root":
            raise ConfigError("trust", f"{where} is no root metadata; overseer repo init makes one")
        return data

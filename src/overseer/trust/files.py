"""Sources as folders: what a repository needs is files by their names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from overseer.errors import ConfigError, FetchError
from overseer.fetcher.file import File
from overseer.fetcher.github import GitHub
from overseer.fetcher.http import HTTP
from overseer.fetcher.offer import CHUNK, Download, Partial
from overseer.fetcher.s3 import S3

if TYPE_CHECKING:
    from collections.abc import Iterator


class MissingError(FetchError):
    """There is no file of this name."""


class Files(Protocol):
    """A folder somewhere, whose files come whole or in part; names are parts of URLs."""

    def changed(self, name: str) -> bool:
        """Tell whether a file may be another one than at the last call; at the first it is."""

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a short file. Raises `MissingError` where there is none, `FetchError` for all else."""

    def download(self, name: str, size: int, partial: Partial | None) -> Download:
        """Begin to download a long file, where an interrupted download ended if that can be."""


def check_source(fetcher: object) -> None:
    """Raise `ConfigError` for a fetcher that can point to no repository; nothing is loaded for that."""
    match fetcher:
        case HTTP() if not fetcher.url.endswith("/"):
            raise ConfigError("fetcher", "with trust=TUF the URL is that of a repository, and ends in /")
        case S3() if not fetcher.key.endswith("/"):
            raise ConfigError("fetcher", "with trust=TUF the key is that of a repository, and ends in /")
        case S3() if fetcher.version_id:
            raise ConfigError("fetcher", "with trust=TUF a version_id would pin what has to change")
        case GitHub() if fetcher.asset is not None:
            raise ConfigError("fetcher", "with trust=TUF what is signed says which file; leave asset out")
        case HTTP() | S3() | GitHub() | File():
            pass
        case _:
            raise ConfigError(
                "trust",
                "TUF needs a source that has files by their names: "
                "fetcher.HTTP, fetcher.S3, fetcher.GitHub, or fetcher.File with a folder",
            )


def files_of(fetcher: object) -> Files:
    """Return the repository that a fetcher points to. Raises `ConfigError` where it can point to none."""
    check_source(fetcher)
    match fetcher:
        case HTTP():
            from overseer.trust.web import at_url  # noqa: PLC0415 - urllib3 is loaded when it is used

            return at_url(fetcher)
        case S3():
            from overseer.trust.web import in_bucket  # noqa: PLC0415

            return in_bucket(fetcher)
        case GitHub():
            from overseer.trust.assets import Assets  # noqa: PLC0415

            return Assets(fetcher)
        case File():
            return Folder(os.fspath(fetcher.path))
    raise AssertionError("unreachable")


class Folder:
    """A folder of this machine, or mounted here."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._known: dict[str, tuple[int, int, int]] = {}

    def changed(self, name: str) -> bool:
        """Look at its time, size and inode."""
        try:
            found = os.stat(self._of(name))
        except OSError:
            return True
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        before, self._known[name] = self._known.get(name), stamp
        return before != stamp

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the file."""
        return self._read(name, 0)

    def download(self, name: str, size: int, partial: Partial | None) -> Download:  # noqa: ARG002
        """Begin anew: it costs less than proving that it is still the same file."""
        return Download(0, self._read(name, 0))

    def _of(self, name: str) -> str:
        if "/" in name or name in ("", ".", ".."):
            raise FetchError(f"{name!r} is no name of a file in a repository")
        return os.path.join(self.path, name)

    def _read(self, name: str, start: int) -> Iterator[bytes]:
        try:
            with open(self._of(name), "rb") as file:
                file.seek(start)
                while chunk := file.read(CHUNK):
                    yield chunk
        except FileNotFoundError:
            raise MissingError(f"{self.path} has no {name}") from None
        except OSError as error:
            raise FetchError(f"{self._of(name)} cannot be read: {error.strerror}") from error

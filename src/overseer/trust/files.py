"""Sources as folders: what a repository needs is files by their names."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from overseer.errors import ConfigError, FetchError
from overseer.fetcher.file import File
from overseer.fetcher.http import HTTP
from overseer.fetcher.offer import CHUNK, Download, Partial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.fetcher.answer import Answer


class MissingError(FetchError):
    """There is no file of this name."""


class Files(Protocol):
    """A folder somewhere, whose files come whole or in part."""

    def changed(self, name: str) -> bool:
        """Tell whether a file may be another one than at the last call; at the first it is."""

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a short file. Raises `MissingError` where there is none, `FetchError` for all else."""

    def download(self, name: str, size: int, partial: Partial | None) -> Download:
        """Begin to download a long file, where an interrupted download ended if that can be."""


def files_of(fetcher: object) -> Files:
    """Return the repository that a fetcher points to. Raises `ConfigError` where it can point to none."""
    if isinstance(fetcher, HTTP):
        if not fetcher.url.endswith("/"):
            raise ConfigError("fetcher", "with trust=TUF the URL is that of a repository, and ends in /")
        return Web(fetcher)
    if isinstance(fetcher, File):
        return Folder(os.fspath(fetcher.path))
    raise ConfigError(
        "trust",
        "TUF needs a source that has files by their names: fetcher.HTTP, or fetcher.File with a folder",
    )


class Web:
    """A URL that ends in a slash."""

    def __init__(self, source: HTTP) -> None:
        from overseer.fetcher.look import Look  # noqa: PLC0415 - urllib3 is loaded when it is used

        self._source = replace(source)
        self._look = Look(self._source, None)
        self._validators: dict[str, str] = {}

    def changed(self, name: str) -> bool:
        """Ask with the validator of the last answer; whatever is odd counts as changed."""
        validator = self._validators.pop(name, None)
        if validator is None:
            return True
        answer = self._ask(name, {"If-None-Match": validator})
        answer.close()
        if answer.status == 304:
            self._validators[name] = validator
        return answer.status != 304

    def read(self, name: str) -> Iterator[bytes]:
        """Yield what a GET brings."""
        answer = self._ask(name, {})
        if answer.status in (403, 404):
            answer.close()
            raise MissingError(f"{self._look.url} has no {name}")
        if answer.status != 200:
            raise answer.refusal()
        if etag := answer.headers.get("etag"):
            self._validators[name] = etag
        return answer.body(sniff=False)

    def download(self, name: str, size: int, partial: Partial | None) -> Download:
        """Go on with a range request where the server knows them: the digest of the whole is known."""
        from overseer.fetcher.transfer import download  # noqa: PLC0415

        def check(answer: Answer) -> None:
            if answer.status != 200:
                raise answer.refusal()
            answer.check_release(name, require_length=self._source.require_length)

        offset = min(partial.size, size) if partial else 0
        return download(lambda more: self._ask(name, dict(more)), check, offset=offset, size=size)

    def _ask(self, name: str, headers: dict[str, str]) -> Answer:
        url = f"{self._look.url}{quote(name, safe='')}"
        return self._look.web.ask(url, headers=headers, secrets=self._look.secrets)


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

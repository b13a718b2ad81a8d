"""A repository as it is served: what a client gets over HTTP, caches in between included. Only to look at."""

from __future__ import annotations

import shutil
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import urllib3

from overseer.errors import FetchError, PublishError
from overseer.fetcher.answer import explained
from overseer.publish.places import MOST

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_FOUND = {403, 404}  # S3 answers 403 where a client may not list
_PATIENCE = urllib3.Timeout(connect=10, read=30)


class Site:
    """What is below a URL."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") + "/"
        self._pool = urllib3.PoolManager(timeout=_PATIENCE, retries=urllib3.Retry(2, redirect=5))

    def __str__(self) -> str:
        """Show it as people write it."""
        return self.url

    def lock(self) -> nullcontext[None]:
        """Nothing is written here."""
        return nullcontext()

    def read(self, name: str) -> bytes | None:
        """Return the metadata of that name."""
        with self._asked("GET", name) as answer:
            if answer is None:
                return None
            data: bytes = answer.read(MOST + 1)
        if len(data) > MOST:
            raise PublishError(f"{self.url}{name} is longer than metadata may be ({MOST} bytes)")
        return data

    def size(self, name: str) -> int | None:
        """Return how many bytes there are under a name."""
        with self._asked("HEAD", name) as answer:
            return None if answer is None else int(answer.headers.get("Content-Length", -1))

    def download(self, name: str, path: str) -> None:
        """Copy what is under a name to a file here."""
        with self._asked("GET", name) as answer, open(path, "wb") as file:
            if answer is None:
                raise PublishError(f"{self.url}{name} is not there")
            shutil.copyfileobj(answer, file)

    def names(self) -> list[str]:
        """Nobody can tell."""
        return []

    def create(self, name: str, data: bytes) -> None:
        """Refuse."""
        raise PublishError(f"{self.url} is only looked at; {name} ({len(data)} bytes) is not written there")

    def upload(self, name: str, path: str, progress: object) -> None:
        """Refuse."""
        del progress
        raise PublishError(f"{self.url} is only looked at; {path} is not written there as {name}")

    def replace(self, data: bytes, was: bytes | None) -> None:
        """Refuse."""
        del was
        self.create("timestamp.json", data)

    def remove(self, name: str) -> None:
        """Refuse."""
        raise PublishError(f"{self.url} is only looked at; {name} is not removed there")

    @contextmanager
    def _asked(self, method: str, name: str) -> Iterator[Any]:
        try:
            answer = self._pool.request(method, self.url + name, preload_content=False)
            try:
                if answer.status in _NOT_FOUND:
                    yield None
                elif answer.status != 200:
                    raise PublishError(f"{self.url}{name} answered {answer.status}")
                else:
                    yield answer
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            try:
                with explained(self.url + name):
                    raise
            except FetchError as told:
                raise PublishError(str(told)) from error

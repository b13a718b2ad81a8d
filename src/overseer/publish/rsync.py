"""A place that rsync can reach: a folder here mirrors it, and is brought there in the right order.

Metadata is fetched before anything is decided, so any machine can publish. First goes what is new and named
for ever, then, if the timestamp there is still the one that was read, the new timestamp. rsync writes each
file beside its name and renames it. There is no lock across machines: another publisher is found out by a
look just before and a look just after, and in between, for as long as one run of rsync takes, he may not be.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from overseer.errors import PublishError
from overseer.publish.places import TIMESTAMP, ConflictError, Folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.publish.places import Progress

_MISSING = 23  # rsync's exit status for "some files could not be transferred", such as one that is not there


class Mirror(Folder):
    """The rsync destination `where`, and its mirror at `path`."""

    def __init__(self, where: str, path: str) -> None:
        super().__init__(path)
        self.where = where.rstrip("/") + "/"
        self._fresh = False

    def __str__(self) -> str:
        """Show it as people write it."""
        return f"rsync:{self.where}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others of this machine out, and fetch what there is."""
        with super().lock():
            self._fetch("*.json", whole=True)
            self._fresh = True
            try:
                yield
            finally:
                self._fresh = False

    def read(self, name: str) -> bytes | None:
        """Return the metadata of that name; who only reads begins with the timestamp, and fetches then."""
        if name == TIMESTAMP and not self._fresh:
            os.makedirs(self.path, mode=0o755, exist_ok=True)
            self._fetch("*.json")
        return super().read(name)

    def names(self) -> list[str]:
        """Return every name that is there."""
        listed = self._rsync("--list-only", self.where, missing=True)
        return sorted(line.split(None, 4)[4] for line in listed.splitlines() if line.startswith("-"))

    def size(self, name: str) -> int | None:
        """Return how many bytes there are under a name, there."""
        if name.endswith(".json"):
            return super().size(name)
        listed = self._rsync("--list-only", self.where + name, missing=True).split()
        return int(listed[1].replace(",", "")) if listed else None

    def upload(self, name: str, path: str, progress: Progress) -> None:
        """Bring a file there, unless it is there."""
        size = os.path.getsize(path)
        if self.size(name) != size:
            self._rsync("--times", "--chmod=F644", path, self.where + name)
            progress(size)

    def download(self, name: str, path: str) -> None:
        """Copy a file from there."""
        self._rsync(self.where + name, path)

    def replace(self, data: bytes, was: bytes | None) -> None:
        """Bring the new metadata there, and the timestamp last."""
        self._rsync("--recursive", "--times", "--ignore-existing", f"--exclude={TIMESTAMP}", "--exclude=.*",
                    self.path + "/", self.where)  # fmt: skip
        self._fetch(TIMESTAMP)
        super().replace(data, was)
        # By its content: two timestamps may have the same size within the same second.
        self._rsync("--times", "--checksum", os.path.join(self.path, TIMESTAMP), self.where + TIMESTAMP)
        self._fetch(TIMESTAMP)
        if self.read(TIMESTAMP) != data:
            raise ConflictError(f"{self} was published to by another at the same time")

    def create(self, name: str, data: bytes) -> None:
        """Write a name here that was neither here nor there; `replace` brings it there."""
        super().create(name, data)
        if name.endswith(".root.json"):  # it counts from the moment it is there
            self._rsync("--times", "--ignore-existing", os.path.join(self.path, name), self.where + name)
            kept = self.read(name)
            self._rsync("--checksum", self.where + name, os.path.join(self.path, name))
            if self.read(name) != kept:
                raise ConflictError(f"{self.where}{name} was published by another")

    def remove(self, name: str) -> None:
        """Remove a name there and here."""
        folder = os.path.join(self.path, "")
        with suppress(FileNotFoundError):
            os.unlink(folder + name)
        self._rsync("--recursive", "--delete", f"--include=/{name}", "--exclude=*", folder, self.where)

    def _fetch(self, names: str, *, whole: bool = False) -> None:
        """Have here what is there; `whole` also removes what is here only, left by one that was killed."""
        delete = ["--delete"] if whole else []
        self._rsync("--recursive", "--times", "--checksum", *delete, "--exclude=.*", f"--include=/{names}",
                    "--exclude=*", self.where, self.path + "/", missing=True)  # fmt: skip

    def _rsync(self, *arguments: str, missing: bool = False) -> str:
        """Run rsync. `missing`: that it is not there is no error."""
        try:
            done = subprocess.run(["rsync", *arguments], check=False, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise PublishError("rsync is not installed here") from error
        if done.returncode and not (
            missing and done.returncode == _MISSING and "No such file" in done.stderr
        ):
            said = done.stderr.strip().splitlines()
            raise PublishError(f"{self} could not be reached: {said[0] if said else done.returncode}")
        return done.stdout

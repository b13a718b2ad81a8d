"""A file that is to be published: what it is, and what it says of itself when its check is run here.

The check is the one every service will run before it starts the release; a file that fails it here would be
refused by all of them.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.errors import CheckError, PublishError
from overseer.store import durable
from overseer.updater import kinds
from overseer.updater.check import TIMEOUT, check

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTENSION = re.compile(r"\.[a-z][a-z0-9]{0,7}")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file, and what is known of it. `told` is the version it says it has; `kind` as in `updater.kinds`."""

    path: str
    length: int
    sha256: str
    kind: str
    told: str = ""
    checked: bool = False

    @property
    def extension(self) -> str:
        """The ending of its name, which tells people what it is."""
        found = os.path.splitext(self.path)[1].lower()
        return found if _EXTENSION.fullmatch(found) else ""


def examine(
    path: str, *, run: bool = True, timeout: float = TIMEOUT, arguments: Sequence[str] = ()
) -> Candidate:
    """Look at a file and, unless told otherwise or it is for another machine, run its check.

    `timeout` is in seconds; `arguments` are the program's own. Raises `PublishError` when
    it is no release or does not pass.
    """
    try:
        sha256, length = durable.digest_of_path(path), os.path.getsize(path)
        kind = kinds.detect(path).name
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror}") from error
    except kinds.NotAReleaseError as error:
        if not (error.certain and not run):
            raise PublishError(f"{path} is not published: {error}") from error
        return Candidate(path=path, length=length, sha256=sha256, kind="elf")
    told = _told(path, kind, timeout, arguments) if run else ""
    return Candidate(path=path, length=length, sha256=sha256, kind=kind, told=told, checked=run)


def _told(path: str, kind: str, timeout: float, arguments: Sequence[str]) -> str:
    """Run the check of a copy, as a service would: executable, with caches of its own. Return its version."""
    with tempfile.TemporaryDirectory(prefix="overseer-publish-") as folder:
        copy = os.path.join(folder, os.path.basename(path))
        source, target = os.open(path, os.O_RDONLY | os.O_CLOEXEC), durable.create(copy, 0o700)
        try:
            durable.copy(source, target)
        finally:
            os.close(source)
            os.close(target)
        row = kinds.KINDS[kind]
        try:
            row.prepare(copy)
            return check(
                [*row.argv(copy), *arguments], timeout=timeout, environ=row.environment(folder)
            ).version
        except CheckError as error:
            raise PublishError(f"{path} is not published: {error}") from error


def same(candidate: Candidate) -> bool:
    """Whether the file is still the one that was examined."""
    with open(candidate.path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == candidate.sha256

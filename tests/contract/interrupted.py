"""What an upgrade does to a disk, as journeys that can be interrupted anywhere; and what must be true after.

Run as a program it makes one journey, so that strace may kill it or refuse it a system call:

    python -m tests.contract.interrupted JOURNEY FOLDER
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.contract.stand_in import Told, content_of, digest, installed, program

from overseer.errors import FetchError, OverseerError
from overseer.fetcher import Download, Offer, Partial
from overseer.store import Store
from overseer.store.durable import digest_of_path
from overseer.updater.stage import Staged, Terms, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLD, NEW, HAND = (program(version) + b"#" * 9000 for version in ("1.0", "2.0", "3.0"))
MODE = 0o750

CHANGES = (
    "write", "pwrite", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "symlink", "chmod", "fchmod",
    "fchown", "ftruncate", "copy_file_range", "setxattr", "sendfile", "open",
)  # fmt: skip
"""The functions of `os` that change a disk, or (`open`) may."""


# -- the journeys ------------------------------------------------------------------------------------------


def _open(binary: str) -> Store:
    return Store.open(binary, {}, tell=Told())


def _staged(store: Store, content: bytes = NEW, *, cut: int = 0) -> str:
    """Bring a release in, or find that it is in already."""

    def start(partial: Partial | None) -> Download:
        at = partial.size if partial else 0
        return Download(at, _pieces(content, at, cut if not partial else 0))

    outcome = stage(Offer(seen={"etag": digest(content)}, open=start), store=store, terms=Terms(check=False))
    assert isinstance(outcome, Staged) or outcome.known, outcome
    return outcome.release


def _pieces(content: bytes, at: int, cut: int) -> Iterator[bytes]:
    while at < len(content):
        yield content[at : at + 4000]
        at += 4000
        if cut and at >= cut:
            raise FetchError("the connection was reset")


def first_start(binary: str) -> None:
    """The very first start of a program."""
    with _open(binary) as store:
        store.boot(version="1.0")


def upgrade(binary: str) -> None:
    """One whole upgrade: staged, on trial, promoted, and the oldest release removed."""
    with _open(binary) as store:
        store.boot(version="1.0")
        new = _staged(store)
        store.promote(new, highest="2.0")
        store.collect(in_use=[new])


def roll_back(binary: str) -> None:
    """Installed without a restart, tried, and given up: file and ledger go back."""
    with _open(binary) as store:
        store.boot(version="1.0")
        new = _staged(store)
        if new not in store.ledger.held:
            store.install(new)
    with _open(binary) as store:
        store.boot(version="2.0")
        store.reject(new, "it crashed")
        store.collect()


def resume(binary: str) -> None:
    """A transfer that is cut, and goes on in the next process."""
    with _open(binary) as store:
        store.boot(version="1.0")
        with suppress(FetchError):
            _staged(store, cut=6000)
    with _open(binary) as store:
        store.promote(_staged(store), highest="2.0")


def by_hand(binary: str) -> None:
    """The operator replaces the file; it is tried and becomes current."""
    if digest_of_path(binary) == digest(OLD):
        with _open(binary) as store:
            store.boot(version="1.0")
        os.rename(binary + ".hand", binary)
    with _open(binary) as store:
        store.promote(store.boot(version="3.0").start.release)


JOURNEYS: dict[str, tuple[Callable[[str], None], bytes]] = {
    "first_start": (first_start, OLD),
    "upgrade": (upgrade, NEW),
    "roll_back": (roll_back, OLD),
    "resume": (resume, NEW),
    "by_hand": (by_hand, HAND),
}
"""Each with what is current and public at its end."""


def prepared(folder: Path) -> str:
    """Have a program in place, and what the operator would put there beside it."""
    binary = installed(folder, OLD)
    for path, content in ((binary, OLD), (binary + ".hand", HAND)):
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, MODE)
    return binary


# -- what must be true -------------------------------------------------------------------------------------


def judge(binary: str, where: str) -> None:
    """Look at what an interruption has left, as the next start finds it: all is whole, old or new."""
    allowed = {digest(content): content for content in (OLD, NEW, HAND)}
    public = os.stat(binary)
    assert digest_of_path(binary) in allowed, f"{where}: the public file is neither the old nor the new one"
    assert public.st_mode & 0o7777 == MODE, f"{where}: the public file has the mode {public.st_mode:o}"
    with _open(binary) as store:
        boot = store.boot(version="?")
        for release in (boot.start, boot.current):
            assert digest_of_path(release.path) == release.release in allowed, (
                f"{where}: {release} is damaged"
            )
            assert os.access(release.path, os.X_OK), f"{where}: {release} cannot be executed"
        ledger = store.ledger
        assert ledger.current == boot.current.release, f"{where}: {ledger}"
        assert not ledger.publishing, f"{where}: {ledger}"
        assert ledger.published, f"{where}: {ledger}"
        assert ledger.published.release == digest_of_path(binary), f"{where}: {ledger}"
        here = {boot.current.release} | ({boot.start.release} if boot.on_trial else set())
        assert ledger.published.release in here, f"{where}: the public file is neither current nor on trial"
        assert os.path.realpath(store.layout.current) == boot.current.folder, f"{where}: current is wrong"
        stored = {name.rpartition("-")[2] for name in os.listdir(store.layout.versions)}
        assert stored == {release[:12] for release in ledger.kept}, f"{where}: {stored} are stored"
        assert set(os.listdir(store.layout.staging)) <= {"partial"}, f"{where}: something is left in staging"
        left = {"current", "history", "lock", "staging", "state.json", "versions"}
        assert set(os.listdir(store.layout.root)) <= left, f"{where}: something is left in the store"
    left = {".app.overseer", "app", "app.hand"}
    assert set(os.listdir(os.path.dirname(binary))) <= left, f"{where}: something is left beside the file"


def finish(name: str, binary: str, where: str) -> None:
    """Make the journey again, whole, and see that it arrives."""
    journey, content = JOURNEYS[name]
    journey(binary)
    judge(binary, f"{where}, then again")
    assert content_of(binary) == content, f"{where}: the journey does not arrive any more"
    with _open(binary) as store:
        assert store.ledger.current == digest(content), f"{where}: {store.ledger}"


# -- interruptions -----------------------------------------------------------------------------------------


class Shim:
    """Count the calls that change a disk, and do something else at one of them."""

    def __init__(self, at: int = -1, instead: Callable[..., Any] | None = None) -> None:
        self.at = at
        self.instead = instead
        self.calls = 0
        self.log: list[str] = []
        for name in CHANGES:
            if hasattr(os, name):
                setattr(os, name, self._wrapped(name, getattr(os, name)))
        fcntl.ioctl = self._wrapped("ioctl", fcntl.ioctl)

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR):
                return real(*args, **options)
            self.calls += 1
            self.log.append(f"{name}{args!r:.100}")
            if self.calls == self.at and self.instead is not None:
                return self.instead(name, real, *args, **options)
            return real(*args, **options)

        return call


def die(*_: object, **__: object) -> None:
    """Be killed before the call."""
    os.kill(os.getpid(), signal.SIGKILL)


def tear(name: str, real: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Be killed in the middle of it, where it has a middle."""
    with suppress(OSError):
        if name in ("write", "pwrite"):
            fd, data, *rest = args
            real(fd, bytes(data)[: len(data) // 2], *rest)
        elif name == "copy_file_range":
            source, target, size = args
            real(source, target, size // 2)
        else:
            real(*args, **options)
    die()


def refuse(number: int) -> Callable[..., Any]:
    """Make a call fail with an error of the system."""

    def refused(name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        del real, options
        raise OSError(
            number,
            f"{os.strerror(number)} (made up, in {name})",
            *[a for a in args[:1] if isinstance(a, str)],
        )

    return refused


REFUSALS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EXDEV)


def travel(name: str, binary: str) -> int:
    """Make a journey; return the exit status: 3 for an error that was told as one of ours."""
    try:
        JOURNEYS[name][0](binary)
    except (OverseerError, OSError):
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(travel(sys.argv[1], sys.argv[2]))

"""What can be known of an installation, as frozen values: a judgement needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overseer.store.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Place:
    """What is at a path, as the service sees it: in its own mount namespace, with its own file systems."""

    path: str
    exists: bool = True
    is_folder: bool = False
    is_link: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    immutable: bool = False  # chattr +i or +a
    file_system: str = "ext4"  # as in mountinfo, proc(5)
    read_only: bool = False
    noexec: bool = False
    free: int | None = None  # bytes that the service may still write


@dataclass(frozen=True, kw_only=True)
class Process:
    """Who the service is to the kernel."""

    pid: int
    uid: int = 0
    gids: frozenset[int] = frozenset({0})
    overrides: bool = False  # rights of files do not hold for it (CAP_DAC_OVERRIDE)
    umask: int = 0o022
    files: int = 1024  # it may open so many
    python: str = ""  # what it was started with
    environ: Mapping[str, str] = field(default_factory=dict)

    def may_write(self, place: Place) -> bool:
        """Whether it may write here, by the rights of the path itself."""
        if place.read_only or place.immutable:
            return False
        if self.overrides:
            return True
        if self.uid == place.uid:
            return bool(place.mode & 0o200)
        return bool(place.mode & (0o020 if place.gid in self.gids else 0o002))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that was found. What could not be is None, or empty."""

    platform: str = "linux"
    kernel: str = "6.1.0"
    version: str = ""  # of the overseer that looks
    python: str = ""  # and what that is started with
    status: Mapping[str, Any] = field(default_factory=dict)  # what the master says; nothing where none runs
    service: Process = field(default_factory=lambda: Process(pid=0))
    control: Place | None = None
    control_folder: Place | None = None
    public: Place | None = None  # the file that people start the program by
    folder: Place | None = None  # where that is
    store: Place | None = None  # the folder of the releases, or where it would be
    ledger: Ledger | None = None
    ledger_fault: str = ""  # why it could not be read
    ledger_shut: bool = False  # because the system would not let us, and not because of what it holds
    holder: str = ""  # of the lock, for people
    holder_pid: int = 0
    size: int = 0  # bytes of the current release
    kind: str = ""  # of the current release: python, zipapp, elf, ...
    interpreted: bool = True  # that kind is not executed itself
    missing: tuple[str, ...] = ()  # packages that its fetcher and its trust need and that are not here
    unit: Mapping[str, str] = field(default_factory=dict)  # properties of systemd's unit
    gone: tuple[str, ...] = ()  # socket files that are listened on and are not there
    migrates: str = ""  # net.ipv4.tcp_migrate_req
    package: str = ""  # which package of the system owns the public file
    capabilities: bool = False  # the public file has file capabilities


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor: `level` is ok, warn or fail; `says` what is so and means, `do` what to do."""

    check: str
    level: str
    says: str
    do: str = ""


def ok(check: str, says: str) -> Finding:
    """All is well."""
    return Finding(check=check, level="ok", says=says)


def warn(check: str, says: str, do: str) -> Finding:
    """It works, and will not always, or not as well as it could."""
    return Finding(check=check, level="warn", says=says, do=do)


def fail(check: str, says: str, do: str) -> Finding:
    """It keeps upgrades from coming, or the service from surviving one."""
    return Finding(check=check, level="fail", says=says, do=do)

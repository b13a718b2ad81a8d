"""Releases that are an archive of many files: tar (packed or not) or zip, unpacked beside themselves.

The archive is the release, and stays: what it unpacks to can be made of it again. What is started is its
`__main__.py`, by this interpreter, or the only executable in its `bin`; both may lie in one folder at the
top, as archives of sources have it. Names are looked at before anything is written: nothing leads out,
nothing is a device, nothing runs as somebody else.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import tarfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from overseer.errors import OverseerError
from overseer.store import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MOST_FILES = 100_000
"""Files and folders in one archive."""

MOST_BYTES = 4 << 30
"""Bytes that they may have together."""

_CHUNK = 1 << 18
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, ValueError)


class TreeError(OverseerError):
    """This archive is not unpacked; the message says why."""


@dataclass(frozen=True)
class Member:
    """One file, folder or link of an archive. `link` is where a link leads."""

    name: str
    kind: int  # stat.S_IFREG, S_IFDIR or S_IFLNK
    size: int = 0
    executable: bool = False
    link: str = ""


@dataclass(frozen=True)
class Entry:
    """What is started, by its path in the tree; `interpreted`: by this interpreter."""

    path: str
    interpreted: bool


def is_tar(head: bytes) -> bool:
    """Whether a file that begins like this is a tar archive (POSIX 1003.1-1988, GNU)."""
    return head[257:262] == b"ustar"


def entry_of(members: Iterable[Member]) -> Entry | None:
    """Return what is started of an archive, None when nothing in it can be."""
    files = {m.name: m for m in members if m.kind != stat.S_IFDIR}
    tops = {name.partition("/")[0] for name in files}
    base = f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in files) else ""
    if f"{base}__main__.py" in files:
        return Entry(f"{base}__main__.py", interpreted=True)
    programs = [name for name, m in files.items() if posixpath.dirname(name) == f"{base}bin" and m.executable]
    return Entry(programs[0], interpreted=False) if len(programs) == 1 else None


def refuse_unsafe(members: Iterable[Member]) -> None:
    """Raise `TreeError` for what must not be unpacked, before anything is."""
    seen: dict[str, Member] = {}
    size = 0
    for member in members:
        name, size = member.name, size + member.size
        if len(seen) >= MOST_FILES or size > MOST_BYTES:
            raise TreeError(f"it has more than {MOST_FILES} files, or {MOST_BYTES >> 20} MiB")
        if not name or name.startswith("/") or "\0" in name or ".." in name.split("/"):
            raise TreeError(f"{name[:80]!r} in it leads out of it")
        if member.link:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.link))
            if member.link.startswith("/") or target.split("/")[0] == "..":
                raise TreeError(f"the link {name[:80]!r} in it leads out of it")
        if name in seen and seen[name] != member:
            raise TreeError(f"{name[:80]!r} is in it twice")
        seen[name] = member
    links = {name for name, member in seen.items() if member.link}
    for name in seen:
        parents = name.split("/")
        if any("/".join(parents[:end]) in links for end in range(1, len(parents))):
            raise TreeError(f"{name[:80]!r} in it lies behind a link")


def examine(path: str) -> Entry:
    """Look at an archive from its first to its last member. Raises `TreeError`."""
    with _opened(path) as (members, read):
        refuse_unsafe(members)
        entry = entry_of(members)
        if entry is None:
            raise TreeError("it has no __main__.py and not one executable in bin: nothing can be started")
        for member in members:
            for _ in _pieces(member, read):
                pass
    return entry


def folder_of(path: str) -> str:
    """Return where the release at `path` is unpacked."""
    return os.path.join(os.path.dirname(path), "tree")


def ensure(path: str) -> None:
    """Have the archive at `path` unpacked beside itself, whole and durable. Raises `TreeError`, `OSError`."""
    folder = folder_of(path)
    with _opened(path) as (members, read):
        refuse_unsafe(members)
        if all(_is_there(folder, member, read) for member in members):
            return
        fresh = f"{folder}.new"
        durable.remove(fresh)
        os.mkdir(fresh, 0o755)
        for member in sorted(members, key=lambda m: m.kind == stat.S_IFLNK):
            _unpack(fresh, member, read)
        for place, _, _ in os.walk(fresh):
            durable.sync_folder(place)
    durable.remove(folder)
    os.rename(fresh, folder)
    durable.sync_folder(os.path.dirname(folder))


def command(path: str, interpreter: list[str]) -> list[str]:
    """Return what to execute for the release at `path`."""
    with _opened(path) as (members, _):
        entry = entry_of(members)
    if entry is None:
        raise TreeError("nothing in it can be started")
    program = os.path.join(folder_of(path), *entry.path.split("/"))
    return [*interpreter, program] if entry.interpreted else [program]


# -- mechanism -----------------------------------------------------------------------------------------------


def _unpack(folder: str, member: Member, read: Callable[[str], IO[bytes]]) -> None:
    target = os.path.join(folder, *member.name.split("/"))
    os.makedirs(target if member.kind == stat.S_IFDIR else os.path.dirname(target), mode=0o755, exist_ok=True)
    if member.kind == stat.S_IFLNK:
        os.symlink(member.link, target)
    elif member.kind == stat.S_IFREG:
        fd = durable.create(target, 0o755 if member.executable else 0o644)
        try:
            for piece in _pieces(member, read):
                durable.write_all(fd, piece)
            os.fsync(fd)
        finally:
            os.close(fd)


def _is_there(folder: str, member: Member, read: Callable[[str], IO[bytes]]) -> bool:
    path = os.path.join(folder, *member.name.split("/"))
    try:
        found = os.lstat(path)
        if stat.S_IFMT(found.st_mode) != member.kind:
            return False
        if member.kind == stat.S_IFLNK:
            return os.readlink(path) == member.link
        if member.kind == stat.S_IFDIR:
            return True
        with open(path, "rb") as file:
            same = all(file.read(len(piece)) == piece for piece in _pieces(member, read))
            return same and not file.read(1)
    except OSError:
        return False


def _pieces(member: Member, read: Callable[[str], IO[bytes]]) -> Iterator[bytes]:
    """Yield the bytes of a file, as many as the archive says. Raises `TreeError` for a broken one."""
    if member.kind != stat.S_IFREG:
        return
    left = member.size
    with _explained(), read(member.name) as file:
        while piece := file.read(min(_CHUNK, left + 1)):
            left -= len(piece)
            if left < 0:
                raise TreeError(f"{member.name[:80]!r} in it is longer than is said of it")
            yield piece
    if left:
        raise TreeError(f"it is cut short in {member.name[:80]!r}")


@contextmanager
def _opened(path: str) -> Iterator[tuple[list[Member], Callable[[str], IO[bytes]]]]:
    with open(path, "rb") as file:
        tar = is_tar(file.read(512))
    with _explained():
        archive = tarfile.open(path, "r:") if tar else zipfile.ZipFile(path)  # noqa: SIM115 - closed below
    with archive:
        if isinstance(archive, tarfile.TarFile):
            yield _of_tar(archive), lambda name: _found(archive.extractfile(name), name)
        else:
            yield _of_zip(archive), archive.open


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise TreeError(f"it is a broken archive ({error}); it was cut short perhaps") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a place before the beginning, which zipfile looks for all the same
            raise TreeError(
                "it is a broken archive: it says that some of it stands before its start"
            ) from error
        raise
    except OverseerError:
        raise
    except Exception as error:  # zlib.error, lzma.LZMAError: whatever a stranger's archive makes them raise
        raise TreeError(f"it is a broken archive ({error})") from error


def _found(file: IO[bytes] | None, name: str) -> IO[bytes]:
    if file is None:
        raise TreeError(f"{name[:80]!r} in it has no bytes")
    return file


def _of_tar(archive: tarfile.TarFile) -> list[Member]:
    found: list[Member] = []
    with _explained():
        for info in archive:
            if len(found) > MOST_FILES:
                break  # it is refused for that
            name = info.name.removeprefix("./").rstrip("/")
            if name in ("", "."):
                continue
            if info.mode & 0o6000:
                raise TreeError(f"{name[:80]!r} in it wants to run as somebody else (setuid)")
            if info.isdir():
                found.append(Member(name, stat.S_IFDIR))
            elif info.issym():
                found.append(Member(name, stat.S_IFLNK, link=info.linkname))
            elif info.isreg():
                found.append(Member(name, stat.S_IFREG, info.size, bool(info.mode & 0o111)))
            else:
                raise TreeError(f"{name[:80]!r} in it is no file, folder or symbolic link")
    return found


def _of_zip(archive: zipfile.ZipFile) -> list[Member]:
    found: list[Member] = []
    for info in archive.infolist():
        mode = info.external_attr >> 16
        kind = stat.S_IFMT(mode) or (stat.S_IFDIR if info.is_dir() else stat.S_IFREG)
        name = info.filename.rstrip("/")
        if mode & 0o6000:
            raise TreeError(f"{name[:80]!r} in it wants to run as somebody else (setuid)")
        if info.is_dir():
            found.append(Member(name, stat.S_IFDIR))
        elif kind == stat.S_IFREG:
            found.append(Member(name, stat.S_IFREG, info.file_size, bool(mode & 0o111)))
        else:
            raise TreeError(f"{name[:80]!r} in it is no file or folder")
    return found

"""A file system of its own, in a file, whose power can be cut: what was not made durable is gone then.

The cut is the file systems' own shutdown (XFS_IOC_FSOP_GOINGDOWN, which ext4 answers as well) without a flush
of the log: from this instant nothing more reaches the device, and the next mount replays what had.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Sequence

_GOINGDOWN = 0x8004587D  # _IOR('X', 125, __u32), linux/fs/xfs/xfs_fs.h, linux/fs/ext4/ext4.h
_NO_LOG_FLUSH = 2

_FAST = "/dev/shm"  # a disk is what outlives the cut; that it is a quick one lets more happen between two

_PATIENCE = 60.0  # seconds, with other mount namespaces

SIZE = 400 << 20
"""Bytes, sparse; xfs wants 300 MiB at least."""


class Volume:
    """One file system on a loop device, mounted; as a context manager it leaves nothing behind."""

    def __init__(self, folder: Path, kind: str, options: Sequence[str] = ()) -> None:
        """Prepare a file system of `kind` (ext4, xfs), to be mounted with `options`."""
        self.kind = kind
        self.options = options
        handle, image = tempfile.mkstemp(prefix="volume-", dir=_FAST if os.path.isdir(_FAST) else folder)
        os.close(handle)
        self.image = Path(image)
        self.path = folder / kind
        self.device = ""

    @staticmethod
    def obstacle(kind: str) -> str:
        """Say what keeps this machine from having such a volume; nothing when nothing does."""
        if os.name != "posix" or not Path("/proc/filesystems").exists():
            return "power cuts need Linux"
        if os.geteuid():
            return "power cuts need root: they mount file systems"
        missing = [tool for tool in ("losetup", "mount", f"mkfs.{kind}") if not shutil.which(tool)]
        if missing:
            return f"{', '.join(missing)} missing; install mount, e2fsprogs and xfsprogs"
        if not Path("/dev/loop-control").exists():
            return "there are no loop devices here"
        return ""

    def __enter__(self) -> Self:
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate(SIZE)
        _run(f"mkfs.{self.kind}", "-q", str(self.image))
        self.mount()
        return self

    def __exit__(self, *_: object) -> None:
        for command in (("umount", "-l", str(self.path)), ("losetup", "-d", self.device)):
            with contextlib.suppress(subprocess.CalledProcessError):
                _run(*command)
        self.image.unlink(missing_ok=True)

    def mount(self) -> None:
        """Attach and mount it; its log is replayed."""
        self.device = _run("losetup", "--find", "--show", str(self.image)).strip()
        options = ",".join(self.options)
        _run("mount", "-t", self.kind, *(("-o", options) if options else ()), self.device, str(self.path))

    def sync(self) -> None:
        """Make durable what is there."""
        _run("sync", "--file-system", str(self.path))

    def cut(self) -> None:
        """Cut its power, now."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _GOINGDOWN, struct.pack("=I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def power_up(self) -> None:
        """Mount it anew; nobody may use it any more. The device goes as well, and with it what it cached.

        Somebody who made a mount namespace meanwhile has a copy of the mount: the device outlives ours then.
        """
        until(self._is_unmounted, f"{self.path} is unmounted")
        _run("losetup", "-d", self.device)
        until(self._is_detached, f"{self.device} is let go, by other mount namespaces as well", _PATIENCE)
        self.mount()

    def _is_detached(self) -> bool:
        return not _run("losetup", "--associated", str(self.image))

    def _is_unmounted(self) -> bool:
        return subprocess.run(["umount", str(self.path)], capture_output=True, check=False).returncode == 0


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout

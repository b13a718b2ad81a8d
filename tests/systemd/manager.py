"""A systemd of our own, as PID 1 of its own namespaces, over an overlay of this machine's root."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
OVERSEER = f"{Path(sys.executable).parent}/overseer"

NEWER = Path("/var/cache/overseer-proofs/systemd")
"""Where tests/machine.sh unpacks a systemd that knows Type=notify-reload (253), if the machine's is older."""

BASE = "OVERSEER_SYSTEMD_ROOT"
"""The variable with the root of another system, whose systemd is to be started (`make newest-systemd`)."""

SLOW = 60.0
"""Seconds for what systemd does at a pace of its own."""


_TRIAL = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
mount -t cgroup2 cgroup2 /mnt/root/mnt
group="/mnt/root/mnt$(sed -n 's/^0:://p' /proc/self/cgroup)/$1"
mkdir "$group"
rmdir "$group"
"""
"""What has to be possible."""


def version_of(folder: Path = Path("/")) -> int:
    """Return the version of the systemd that is installed under a folder; 0 where there is none."""
    libraries = (folder / "usr" / "lib").glob("**/systemd/libsystemd-shared-*.so")
    found = [re.search(r"shared-(\d+)", path.name) for path in libraries]
    return max((int(match[1]) for match in found if match), default=0)


def obstacle() -> str:
    """Return why none can be started here, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root of a Linux machine can start a systemd of its own"
    if not version_of(Path(os.environ.get(BASE, "/"))):
        return "systemd is not installed (make machine)"
    command = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "sh",
        "-c",
        _TRIAL,
        "sh",
        f"overseer-trial-{os.getpid()}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"this machine does not let root mount what a systemd needs: {done.stderr.strip()}"
    return ""


_TIDY = """
mount --make-rprivate / && mount -t cgroup2 cgroup2 /mnt || exit 1
group="/mnt$(sed -n 's/^0:://p' /proc/self/cgroup)/$1"
[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} +
"""
"""Removes the control groups that are left of a machine that has ended."""


class Systemd:
    """It runs from `__init__` to `close`; what it is asked by `systemctl` is its own affair alone."""

    def __init__(self, folder: Path) -> None:
        """Boot it; `folder` is for its root and for what it says."""
        self._log = folder / "systemd.log"
        work = folder / "machine"
        work.mkdir(parents=True)
        base = Path(os.environ.get(BASE, "/"))
        above = str(NEWER) if version_of(NEWER) > version_of(base) else ""
        self.version = max(version_of(NEWER), version_of(base))
        device = os.stat("/").st_dev
        seen = {str(REPOSITORY), sys.prefix, sys.base_prefix}
        others = sorted(path for path in seen if str(base) != "/" or os.stat(path).st_dev != device)
        namespaces = ["--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc"]
        self._group = f"overseer-{os.getpid()}-{secrets.token_hex(4)}"
        self._terminal, console = os.openpty()
        place = (self._group, str(work), os.ttyname(console))
        try:
            self._process = subprocess.Popen(
                ["unshare", *namespaces, "sh", HERE / "boot.sh", *place, base, above, *others],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        finally:
            os.close(console)
        self._reader = threading.Thread(target=self._write_log, name="console", daemon=True)
        self._reader.start()
        try:
            self._pid = until(self._first, "the first process of the namespaces is there")
            self.root = Path(f"/proc/{self._pid}/root")
            until(self._is_up, "systemd is up", SLOW)
        except (OSError, AssertionError, subprocess.SubprocessError) as error:
            self.close()
            raise AssertionError(f"{error}\n--- {self._log}\n{self._log.read_text()}") from None

    def _write_log(self) -> None:
        with (
            self._log.open("wb", buffering=0) as log,
            contextlib.suppress(OSError),
        ):  # nobody is there any more
            while data := os.read(self._terminal, 4096):
                log.write(data)

    def _first(self) -> int:
        if self._process.poll() is not None:
            raise AssertionError(f"unshare ended with {self._process.returncode}")
        listing = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(listing[0]) if listing else 0

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"systemd ended with {self._process.returncode}")
        comm = Path(f"/proc/{self._pid}/comm").read_text().strip()
        return comm == "systemd" and self.run("systemctl", "is-active", "nothing.target").returncode == 0

    def run(self, *words: str, timeout: float = SLOW) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        command = ["nsenter", "-t", str(self._pid), "-m", "-p", "-i", "-u", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)

    def ctl(self, *words: str) -> str:
        """Have systemctl do something that succeeds; return what it says."""
        done = self.run("systemctl", *words)
        if done.returncode:
            now = self.run(
                "systemctl", "status", "--full", *(word for word in words[1:] if word[0] != "-")
            ).stdout
            raise AssertionError(f"systemctl {' '.join(words)}: {done.stderr}\n{now}{self.story()}")
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.ctl("show", "--value", f"--property={name}", unit).strip()

    def install(self, files: Mapping[str, str]) -> None:
        """Write units, or drop-ins of units, and have them read."""
        for name, text in files.items():
            path = self.root / "etc" / "systemd" / "system" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.ctl("daemon-reload")

    def story(self) -> str:
        """Return what systemd and the services have said."""
        said = [self._log, *sorted((self.root / "tmp").glob("*.log"))]
        return "".join(f"\n--- {path.name}\n{path.read_text()[-4000:]}" for path in said)

    def close(self) -> None:
        """End it with everything in it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        os.close(self._terminal)
        tidy = ["unshare", "--mount", "sh", "-c", _TIDY, "sh", self._group]
        until(
            lambda: not subprocess.run(tidy, capture_output=True, check=False).returncode, "it is gone", SLOW
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

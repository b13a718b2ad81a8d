"""A program as a source: it is run at every look, and prints the path of a release when there is one."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.errors import ConfigError, FetchError
from overseer.fetcher.func import offer_of_path
from overseer.fetcher.options import check_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from overseer.fetcher.offer import Offer

_KEPT = 4096  # bytes of output: more than a path and the end of a complaint are not looked at


@dataclass
class Command:
    """Run `argv` every `interval` seconds, for `timeout` seconds at most.

    It prints the path of a complete file as its last line, or nothing when there is nothing new; the file is
    copied, and remembered by its path, time, size and inode. It runs without a shell, with no standard input,
    in a session of its own: what it leaves running when its time is up is killed with it. An exit status
    other than 0 is a failed look.
    Raises `ConfigError` when `argv` is a string or empty, or a time is not positive.
    """

    argv: Sequence[str | os.PathLike[str]]
    interval: float = 300.0
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.argv, (str, bytes)) or not self.argv:
            raise ConfigError("argv", "must be a list: the program and its arguments")
        check_time("interval", self.interval)
        check_time("timeout", self.timeout)

    def latest(self, seen: Mapping[str, str] | None) -> Offer | None:
        """Run the program once and offer the file it names, unless that is `seen`."""
        told = self._run()
        lines = told.decode(errors="surrogateescape").strip("\n").split("\n")
        path = lines[-1].strip()
        if not path:
            return None
        if "\0" in path:
            raise FetchError(f"{self._name()} printed something that is no path")
        offer = offer_of_path(path)
        return None if offer.seen == seen else offer

    def _run(self) -> bytes:
        # Files, not pipes: a grandchild that keeps them open cannot make us wait for its end.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(
                    [os.fspath(part) for part in self.argv],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            except OSError as error:
                raise FetchError(f"{self._name()} cannot be run: {error.strerror or error}") from error
            try:
                status = process.wait(self.timeout)
            except subprocess.TimeoutExpired as error:
                raise FetchError(
                    f"{self._name()} was killed: it took longer than {self.timeout:g} s"
                ) from error
            finally:
                _kill(process)
            if status:
                words = _end(err.fileno()).decode(errors="replace").strip() or "it said nothing"
                raise FetchError(f"{self._name()} failed with status {status}: {words}")
            return _end(out.fileno())

    def _name(self) -> str:
        return os.path.basename(os.fspath(self.argv[0]))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the program's whole group if it still runs, and reap it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the group is still its own
        process.wait()


def _end(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, _KEPT, max(0, size - _KEPT))

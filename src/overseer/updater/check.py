"""Run a staged release once before it may serve: it must start here, and it must know overseer.

It gets a token and the write end of a private pipe, and answers there with one line: the token, its protocol
and its own version and configuration. Its output is its own business: nothing on it counts, it is caught for
the log. It runs in a session of its own, and at the end the whole of it is killed, whatever it left behind.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import selectors
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from overseer.errors import CheckError
from overseer.wire import CHANNEL, PROTOCOL, ROLE, TOKEN, Lines, name_channel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TIMEOUT = 30.0
"""Seconds a check may take."""

SHOWN = 2000
"""Bytes of the end of its output that are kept, and shown when a check fails; it may print what it likes."""

_BUSY_TRIES = 50
_BUSY_WAIT = 0.02  # seconds between them: a forked child that holds a write descriptor execs within this


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a release says of itself."""

    version: str = ""
    overseer: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


def check(
    argv: Sequence[str],
    *,
    timeout: float = TIMEOUT,
    environ: Mapping[str, str] | None = None,
    attend: Callable[[], None] = lambda: None,
    attend_to: int = -1,
) -> Checked:
    """Run `argv` in the role `check` and return its answer.

    `timeout` is in seconds; `environ` is added to the process's own environment. `attend` is called whenever
    the descriptor `attend_to` is readable; what it raises ends the check, and the release with it. Raises
    `CheckError` with the reason and the end of its output when it does not pass.
    """
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        answers, answer_end = _pipe(stack)
        output, output_end = _pipe(stack)
        token = secrets.token_hex(16)
        private = {ROLE: "check", CHANNEL: name_channel(answer_end), TOKEN: token}
        env = {**os.environ, **(environ or {}), **private}
        process = _start(argv, env, answer_end, output_end)
        stack.callback(_end, process, f"{TOKEN}={token}".encode())
        watch = _Watch(process, answers, output, token)
        stack.callback(watch.close)
        return watch.wait(deadline, timeout, attend, attend_to)


def _pipe(stack: ExitStack) -> tuple[int, int]:
    """Make a pipe that is read without blocking and closed at the end."""
    read_end, write_end = os.pipe()
    stack.callback(os.close, read_end)
    stack.callback(os.close, write_end)
    os.set_blocking(read_end, False)
    return read_end, write_end


def _start(
    argv: Sequence[str], env: Mapping[str, str], answer_end: int, output_end: int
) -> subprocess.Popen[bytes]:
    """Start it; once more, and more, while the file is "busy".

    Any process that forked while the download was open for writing holds that descriptor until it execs.
    Ours are closed before, and on exec; the user's code in this process may fork as well.
    """
    for left in reversed(range(_BUSY_TRIES)):
        try:
            return subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output_end,
                stderr=output_end,
                pass_fds=(answer_end,),
                start_new_session=True,
            )
        except OSError as error:
            if error.errno != errno.ETXTBSY or not left:
                raise CheckError(f"the release cannot be executed: {error}") from error
        select.select([], [], [], _BUSY_WAIT)  # nobody tells when a write descriptor of others is closed
    raise AssertionError("unreachable")


class _Watch:
    """One release under check."""

    def __init__(self, process: subprocess.Popen[bytes], answers: int, output: int, token: str) -> None:
        self.process = process
        self.answers = answers
        self.output = output
        self.token = token
        self.lines = Lines()
        self.printed = b""
        self.answer: Checked | None = None
        self.pidfd = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else -1

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)

    def wait(self, deadline: float, timeout: float, attend: Callable[[], None], attend_to: int) -> Checked:
        """Wait for both: its answer, and its end with status 0."""
        reads = {self.answers: self._hear, self.output: self._keep}
        with selectors.DefaultSelector() as selector:
            for fd in {*reads, self.pidfd, attend_to} - {-1}:
                selector.register(fd, selectors.EVENT_READ)
            while (status := _status(self.process)) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    done = "answered but did not end" if self.answer else "did not answer"
                    raise self._failed(f"it {done} within {timeout:g} s")
                # Where the end of a process cannot be waited for, it is asked for now and then.
                for key, _ in selector.select(left if self.pidfd >= 0 else min(left, 0.05)):
                    if key.fd == attend_to:
                        attend()
                    elif key.fd in reads:
                        _read(key.fd, reads[key.fd])
        for fd, take in reads.items():
            _read(fd, take)
        if status:
            how = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
            raise self._failed(f"it ended with {how}" + ("" if self.answer else " and without an answer"))
        if self.answer is None:
            raise self._failed("it ended without an answer, so it does not run under overseer")
        return self.answer

    def _keep(self, data: bytes) -> None:
        self.printed = (self.printed + data)[-SHOWN:]

    def _hear(self, data: bytes) -> None:
        for word in self.lines.feed(data):
            if isinstance(word, dict) and word["type"] == "checked" and word.get("token") == self.token:
                self._judge(word)

    def _judge(self, word: Mapping[str, Any]) -> None:
        protocol, config = word.get("protocol"), word.get("config")
        if protocol != PROTOCOL:
            raise self._failed(f"it speaks protocol {protocol!r} and this overseer {PROTOCOL}")
        self.answer = Checked(
            version=str(word.get("version") or ""),
            overseer=str(word.get("overseer") or ""),
            config=config if isinstance(config, dict) else {},
        )

    def _failed(self, reason: str) -> CheckError:
        _read(self.output, self._keep)
        text = self.printed.decode(errors="replace").strip()
        shown = f"; it printed:\n{text}" if text else ""
        return CheckError(f"the release did not pass its check: {reason}{shown}")


def _read(fd: int, take: Callable[[bytes], None]) -> None:
    """Take what is there now, and not for ever. We hold the other end as well, so there is no end of it."""
    for _ in range(64):
        try:
            take(os.read(fd, 1 << 16))
        except BlockingIOError:
            return


def _status(process: subprocess.Popen[bytes]) -> int | None:
    """Return its exit status, or minus a signal, without reaping it: its number stays its own till `_end`."""
    if not hasattr(os, "waitid"):
        return process.poll()
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _end(process: subprocess.Popen[bytes], mark: bytes) -> None:
    """Kill everything that is left of it: the leader may have gone, its group not.

    What has left the group, as daemons do, still has the token in the environment it began with.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if hasattr(signal, "pidfd_send_signal"):
        for _ in range(3):  # they may fork meanwhile
            pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
            if not [pid for pid in pids if _kill_marked(pid, mark)]:
                return


def _kill_marked(pid: int, mark: bytes) -> bool:
    try:
        pidfd = os.pidfd_open(pid)  # first, so that what is killed is what was looked at
    except OSError:
        return False
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            marked = mark in file.read().split(b"\0")
        if marked:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return marked

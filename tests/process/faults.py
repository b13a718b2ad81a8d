"""Releases with something wrong about them, each in a way of its own, and what is to become of each.

The program is a server of HTTP that names its build in every answer. A fault that shows on probation takes
nobody down with it: the server stops accepting and answers what it has before it dies, so that every request
that fails in spite of it is the master's fault.
"""

from __future__ import annotations

import io
import random
import struct
import textwrap
import zipfile
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = """
# TOP
import os, signal, sys, threading
import overseer
from overseer import fetcher

BUILD = "BUILD_NUMBER"

def serve(connection):
    with connection:
        connection.settimeout(60)
        with connection.makefile("rb") as lines:
            while lines.readline().strip():
                pass
        head = f"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\nX-Generation: {BUILD}"
        connection.sendall(f"{head}\\r\\n\\r\\nok\\n".encode())

def program(state):
    enough = threading.Event()
    # HERE
    state.listener.settimeout(0.02)
    while not enough.is_set():
        try:
            connection, _ = state.listener.accept()
        except TimeoutError:
            continue
        except overseer.ListenerDrainingError:
            return
        threading.Thread(target=serve, args=(connection,), name="serve").start()
    for thread in threading.enumerate():
        if thread.name == "serve":
            thread.join()
    # LAST

if __name__ == "__main__":
    source = dict(fetcher=fetcher.File("next.py", interval=0.05), trust=overseer.Unsigned())
    overseer.run(program, **{**source, "version": BUILD, **OPTIONS})
"""

OPTIONS: dict[str, Any] = {
    "address": "127.0.0.1:0",
    "min_fetch_interval": 0.05,
    "probation": 0.2,
    "ready_timeout": 10,
    "terminate_timeout": 10,
    "max_draining": 8,
}
"""Of a good build. A bad one has a long probation: its fault shows in it however slow this machine is."""

PADDING = 100_000
"""Bytes that every build has besides: what the store keeps has to be seen."""


def build_of(number: str, *, top: str = "", here: str = "", last: str = "", **options: Any) -> bytes:
    """Make a build with statements put at its top, where its program begins, and behind its last request."""
    text = PROGRAM.replace("BUILD_NUMBER", number).replace("# TOP", textwrap.dedent(top).strip())
    text = text.replace("# HERE", here or "pass").replace("# LAST", last or "pass")
    return (text.replace("**OPTIONS", f"**{ {**OPTIONS, **options}!r}") + f"# {'-' * PADDING}\n").encode()


class Fate(Enum):
    """What becomes of a release."""

    CURRENT = "current"
    HELD_UNSTARTED = "held, never started"
    HELD_BACK = "held, after it was started"
    NO_RELEASE = "not taken for a release, nor remembered"


@dataclass(frozen=True)
class Fault:
    """One way to be wrong: how such a release is made, its fate, and the reason that is told for it."""

    name: str
    fate: Fate
    why: str  # a regular expression
    make: Callable[[str], bytes] = field(repr=False)
    serves: bool = False  # for a while


def _faulty(**how: Any) -> Callable[[str], bytes]:
    return lambda number: build_of(number, **{"probation": 60, **how})


_SOON = "threading.Timer(0.05, enough.set).start()"
_NOT_IN_ITS_CHECK = "import os, signal, time\nif os.environ.get('OVERSEER_ROLE') != 'check':\n    "
_ORPHAN = """if os.fork() == 0:
        open("orphans", "a").write(f"{os.getpid()}\\n")
        while True:
            __import__("time").sleep(60)
    os._exit(4)"""


def _elf(number: str) -> bytes:
    """Make the beginning of an executable for a machine that is not ours (EM_68K)."""
    with open("/proc/self/exe", "rb") as file:
        ours = bytearray(file.read(64))
    ours[18:20] = struct.pack("<H" if ours[5] == 1 else ">H", 4)
    return bytes(ours) + number.encode() * 1000


def _foreign_script(number: str) -> bytes:
    return f"#!/nowhere/bin/interpreter-{number}\nserve\n".encode()


def _garbage(number: str) -> bytes:
    return b"\0" + random.Random(number).randbytes(PADDING)


def _cut_zipapp(number: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("__main__.py", build_of(number))
    return content.getvalue()[: PADDING // 2]


def _cut_script(number: str) -> bytes:
    return build_of(number)[:1000]


FAULTS = (
    Fault("fails when asked to", Fate.HELD_BACK, "told to fail", serves=True,
          make=_faulty(here="threading.Timer(0.05, state.fail, ['it was told to fail']).start()")),
    Fault("exits at import", Fate.HELD_UNSTARTED, "exit status 3", _faulty(top="raise SystemExit(3)")),
    Fault("is killed on probation", Fate.HELD_BACK, "killed by signal 9", serves=True,
          make=_faulty(here=_SOON, last="os.kill(os.getpid(), signal.SIGKILL)")),
    Fault("exits at its start", Fate.HELD_BACK, "exit status 3", _faulty(here="sys.exit(3)")),
    Fault("prints junk in its check", Fate.CURRENT, "", serves=True,
          make=lambda number: build_of(number, top="""
            import os
            os.write(1, b'{"type":"checked"}\\n' + bytes(range(256)) * 200)
            os.write(2, b"\\xff{}[]\\n" * 1000)
          """)),
    Fault("is for another machine", Fate.HELD_UNSTARTED, "executable for", _elf),
    Fault("is garbage", Fate.NO_RELEASE, "nothing that can be started", _garbage),
    Fault("has an interpreter that is not there", Fate.HELD_UNSTARTED, "cannot be executed", _foreign_script),
    Fault("exits when it has been ready", Fate.HELD_BACK, "exit status 3", serves=True,
          make=_faulty(here=_SOON, last="sys.exit(3)")),
    Fault("forks and dies in its check", Fate.HELD_UNSTARTED, "exit status 4",
          _faulty(top=f"import os\nif True:\n    {_ORPHAN}")),
    Fault("is a zip that was cut", Fate.NO_RELEASE, "broken zip", _cut_zipapp),
    Fault("is never ready", Fate.HELD_BACK, "was not ready within 1 s",
          _faulty(here="state.draining.wait(); return", ready_after=None, ready_timeout=1)),
    Fault("forks and dies", Fate.HELD_BACK, "exit status 4", _faulty(here=_ORPHAN)),
    Fault("is an older version", Fate.HELD_UNSTARTED, "lower than", _faulty(version="0.1")),
    Fault("raises on probation", Fate.HELD_BACK, "exit status 1", serves=True,
          make=_faulty(here=_SOON, last="raise RuntimeError(BUILD)")),
    Fault("is a script that was cut", Fate.NO_RELEASE, "no Python that", _cut_script),
    Fault("hangs at import", Fate.HELD_BACK, "did not say hello within 10 s",
          _faulty(top=f"{_NOT_IN_ITS_CHECK}time.sleep(3600)")),
    Fault("hangs in its check, deaf to SIGTERM", Fate.HELD_UNSTARTED, "did not answer within 30 s",
          _faulty(top="import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(3600)")),
)  # fmt: skip
"""The quick ones first, and each sort among the first few; the last two cost their time limits."""

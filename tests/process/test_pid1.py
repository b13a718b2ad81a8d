"""The master as process 1, as in a container: stopped by SIGTERM, and the parent of every orphan."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

CONTAINED = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def _missing() -> str:
    if not shutil.which("unshare"):
        return "there is no unshare(1) here"
    done = subprocess.run([*CONTAINED, "true"], capture_output=True, text=True, check=False)
    return f"no namespaces may be made here: {done.stderr.strip()}" if done.returncode else ""


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing() or "-")

ORPHANS = """
import os, signal, sys, overseer

def program(state):
    for _ in range(100):
        if os.fork() == 0:
            if os.fork() == 0:
                with open("gate") as gate:
                    gate.read()
                os._exit(3)
            os._exit(4)
    for _ in range(100):
        os.wait()
    state.ready()
    os.write(1, b"orphans made\\n")
    state.draining.wait()
    sys.exit(5)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""


@pytest.fixture
def contained(service: Callable[..., Service]) -> Callable[..., Service]:
    """Start a program as process 1 of a PID namespace of its own."""

    def start(source: str = ECHO, **options: object) -> Service:
        app = service(source, prefix=CONTAINED, **options).serves()
        assert app.status()["pid"] == 1
        return app

    return start


def master_of(app: Service) -> int:
    """Return the pid of process 1 as it is seen from outside."""
    return int(Path(f"/proc/{app.process.pid}/task/{app.process.pid}/children").read_text())


def zombies_of(pid: int) -> list[str]:
    """Return the children of a process that have ended and not been reaped."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            if ") Z " in Path(f"/proc/{child}/stat").read_text():
                found.append(child)
        except OSError:
            continue
    return found


def test_process_1_is_stopped_by_sigterm(contained: Callable[..., Service]) -> None:
    """The kernel ignores signals that process 1 has not asked for: the master has."""
    app = contained()
    os.kill(master_of(app), signal.SIGTERM)
    assert app.wait() == 0


def test_process_1_restarts(contained: Callable[..., Service]) -> None:
    """As anywhere else."""
    app = contained()
    assert app.restart() == 2


def test_process_1_reaps_a_hundred_orphans_and_takes_none_for_its_own(
    contained: Callable[..., Service],
) -> None:
    """They end all at once with a status of their own, which is nobody's business."""
    app = contained("import os\nif not os.path.exists('gate'): os.mkfifo('gate')\n" + ORPHANS)
    app.said("orphans made")
    master = master_of(app)
    children = Path(f"/proc/{master}/task/{master}/children")
    until(lambda: len(children.read_text().split()) == 101, "the orphans are the master's")
    with (app.folder / "gate").open("w"):
        pass
    until(lambda: len(children.read_text().split()) == 1 and not zombies_of(master), "they are reaped")
    assert app.status()["generations"][0]["phase"] == "serving"
    os.kill(master, signal.SIGTERM)
    assert app.wait() == 5


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_process_1_tells_a_death_by_signal_as_a_shell_does(
    contained: Callable[..., Service], number: signal.Signals
) -> None:
    """It cannot die of a signal itself: 128 + n."""
    app = contained()
    (program,) = (pid for pid in app.tree() if pid != master_of(app))
    os.kill(program, number)
    assert app.wait() == 128 + number

"""A generation is a whole tree of processes: it drains, is killed and is reaped as one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

SOURCES = str(Path(__file__).parents[2] / "src")

FORKING = ECHO.replace(
    "def program(state):\n",
    """
def program(state):
    for _ in range(2):
        if os.fork() == 0:
            work(state)
            os._exit(0)
    state.ready()
    state.draining.wait()

def work(state):
""",
)
"""A server whose parent leaves as soon as it is asked to, while its children finish their requests."""

PARENT_OF = """
import os, sys, overseer

def program(state):
    state.ready()
    BODY
    state.draining.wait()

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""


def state_of(pid: int) -> str:
    """Return the state of a process as ps(1) has it; nothing when it has been reaped."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def test_each_worker_leads_a_session_of_its_own(service: Callable[..., Service]) -> None:
    """So that the kernel shares the CPUs out between one that starts and those that serve."""
    app = service().serves()
    with app.hold():
        app.restart()
        for pid in (*app.pids(1), *app.pids(2)):
            assert os.getsid(pid) == os.getpgid(pid) == pid


def test_an_orphan_is_reaped_and_means_nothing(service: Callable[..., Service]) -> None:
    """A grandchild whose parent has gone becomes the master's, ends, and leaves no zombie."""
    body = """
    if os.fork() == 0:
        if os.fork() == 0:
            print("orphan", os.getpid(), flush=True)
            open("gate").read()
            os._exit(7)
        os._exit(0)
    os.wait()
"""
    app = service(PARENT_OF.replace("    BODY\n", body), prefix=("sh", "-c", 'mkfifo gate; exec "$@"', "sh"))
    orphan = int(app.said(r"orphan (\d+)")[0])
    until(lambda: f"PPid:\t{app.pid}\n" in Path(f"/proc/{orphan}/status").read_text(), "it is the master's")
    with (app.folder / "gate").open("w"):
        pass
    until(lambda: not state_of(orphan), "it is reaped")
    assert app.serves().status()["life"] == "running"


def test_a_forking_server_finishes_all_its_requests(service: Callable[..., Service]) -> None:
    """The master waits for the children of a generation that have requests in flight."""
    app = service(FORKING).serves()
    held = [app.hold() for _ in range(2)]
    app.signal(signal.SIGTERM)
    app.logged("has ended, others of its process group have not: they are asked to")
    assert [app.release(connection) for connection in held] == [1, 1]
    assert app.wait() == 0


def test_a_forking_server_is_replaced_as_a_whole(service: Callable[..., Service]) -> None:
    """Its children do not take connections once their parent was asked to leave, and none of them stays."""
    app = service(FORKING).serves()
    before = app.tree()
    held = app.hold()
    app.restart()
    app.logged("has ended, others of its process group have not: they are asked to")  # so it was told
    assert {app.knock()[0] for _ in range(20)} == {2}
    assert app.release(held) == 1
    until(lambda: not any(map(state_of, before)), "nobody of generation 1 is left")


def test_a_forking_server_that_will_not_leave_is_killed_as_a_whole(service: Callable[..., Service]) -> None:
    """When its time is over, also where its parent has gone already."""
    app = service(FORKING, terminate_timeout=0.3).serves()
    tree = app.tree()
    with app.hold(), app.hold():
        app.signal(signal.SIGTERM)
        app.wait()
    assert not any(map(state_of, tree))


def test_when_a_program_dies_its_children_die_with_it(service: Callable[..., Service]) -> None:
    """A killed parent leaves nobody behind who would go on accepting."""
    app = service(FORKING).serves()
    tree = app.tree()
    os.kill(app.pids(1)[0], signal.SIGKILL)
    assert app.wait() == -signal.SIGKILL
    until(lambda: not any(map(state_of, tree)), "nobody is left")


def test_a_forked_process_that_is_ended_does_not_drain_its_parent(service: Callable[..., Service]) -> None:
    """A child of the program that is sent SIGTERM dies of it; the program serves on."""
    app = service(FORKING).serves()
    child = app.knock()[2]
    assert child not in app.pids(1)
    os.kill(child, signal.SIGTERM)
    until(lambda: state_of(child) in ("", "Z"), "the child has died")
    app.hold().close()
    assert app.status()["generations"][0]["phase"] == "serving"
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


LOADER = """#!PYTHON
import os, signal, sys
pid = os.fork()
if pid == 0:
    os.execv("PYTHON", ["PYTHON", "FOLDER/real.py", *sys.argv[1:]])
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""
"""What the loader of a one-file executable does: the real program is its child, and is told its signals."""

FROZEN = ECHO.replace(
    "import overseer\n", 'sys.frozen, sys.executable = True, "FOLDER/loader"\nimport overseer\n', 1
)


@pytest.fixture
def executable(service: Callable[..., Service], tmp_path: Path) -> Callable[..., Service]:
    """Start a stand-in for a one-file executable: a loader whose child is the real program."""

    def start(**options: object) -> Service:
        options = {"address": "127.0.0.1:0", **options}
        loader = tmp_path / "loader"
        real = FROZEN.replace("FOLDER", str(tmp_path)).replace("**OPTIONS", f"**{options!r}")
        (tmp_path / "real.py").write_text(real)
        loader.write_text(LOADER.replace("PYTHON", sys.executable).replace("FOLDER", str(tmp_path)))
        loader.chmod(0o755)
        return service(python=str(loader), command=())

    return start


def master_of(app: Service) -> int:
    """Return the pid of the master itself, the child of the loader."""
    return int(app.status()["pid"])


def port_of(app: Service) -> int:
    """Return where a program under a loader listens: the master is not the process that was started."""
    master = master_of(app)
    app.process.pid, loader = master, app.process.pid
    try:
        return app.port
    finally:
        app.process.pid = loader


def test_an_executable_whose_program_is_a_grandchild_restarts_and_drains(
    executable: Callable[..., Service],
) -> None:
    """Signals to the loader reach the master; the request in flight is answered by who took it."""
    app = executable().serves()
    master, port = master_of(app), port_of(app)
    app.ports = lambda: [port]  # type: ignore[method-assign]
    held = app.hold()
    app.signal(signal.SIGUSR2)
    app.serves(2).answers(2)
    assert app.release(held) == 1
    assert master_of(app) == master
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


def test_an_executable_whose_program_is_a_grandchild_is_killed_whole(
    executable: Callable[..., Service],
) -> None:
    """SIGQUIT leaves neither loader nor program."""
    app = executable().serves()
    tree = app.tree()
    assert len(tree) == 3  # the master, the generation's loader, the program
    app.signal(signal.SIGQUIT)
    assert app.wait() == 137
    until(lambda: not any(map(state_of, tree)), "nobody is left")


def test_the_master_of_an_executable_says_that_it_cannot_start_itself_anew(
    executable: Callable[..., Service],
) -> None:
    """There is no bare interpreter to do it with; the master serves on."""
    app = executable().serves()
    answer = app.ask("reexec")
    assert answer["outcome"] == "failed"
    assert "one-file executable" in answer["detail"]
    assert app.restart() == 2

"""From root to an ordinary user: everything that runs is his, and nothing of his is run by root."""

from __future__ import annotations

import grp
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.releases import PROGRAM
from tests.process.service import DEADLINE, ECHO, Service, low_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCES = Path(__file__).parents[2] / "src"
USER = "nobody"


def interpreter() -> str:
    """Return an interpreter that an ordinary user can execute, too; nothing where there is none."""
    who = pwd.getpwnam(USER)
    modern = "import sys; assert sys.version_info >= (3, 11)"
    for python in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin") or ""):
        try:
            done = subprocess.run(
                [python, "-c", modern], user=who.pw_uid, group=who.pw_gid, extra_groups=[], check=False
            )
        except OSError:
            continue
        if done.returncode == 0:
            return python
    return ""


PYTHON = interpreter() if os.geteuid() == 0 else ""
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="only root can become another, and he needs an interpreter that he can execute"
)
ENV = {"PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of root's that everybody can reach."""
    made = Path(tempfile.mkdtemp(prefix="overseer-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def app(folder: Path) -> Iterator[Callable[..., Service]]:
    """Start a program as root, below an interpreter that everybody can execute."""
    started: list[Service] = []

    def start(source: str = ECHO, *, env: dict[str, str] | None = None, **options: Any) -> Service:
        started.append(Service(folder, source, python=PYTHON, env=ENV | (env or {}), **options))
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


def who_is(pid: int) -> dict[str, str]:
    """Return the lines of /proc/PID/status about identity, each as its words."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: " ".join(told.split()) for name, told in re.findall(r"^(\w+):(.*)$", text, re.MULTILINE)}


def is_the_users(pid: int, group: int | None = None) -> None:
    """See that a process has nothing of root's left: no identity, no group, no capability, no way back."""
    user = pwd.getpwnam(USER)
    gid = user.pw_gid if group is None else group
    status = who_is(pid)
    assert status["Uid"] == " ".join([str(user.pw_uid)] * 4)
    assert status["Gid"] == " ".join([str(gid)] * 4)
    assert sorted(map(int, status["Groups"].split())) == sorted(set(os.getgrouplist(USER, gid)))
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert {b"USER=nobody", b"LOGNAME=nobody", f"HOME={user.pw_dir}".encode()} <= set(environ)


def test_everybody_is_the_user_before_and_after_an_upgrade(folder: Path, app: Callable[..., Service]) -> None:
    """Master, generation and updater, on a port of root's; the store is his, the program stays root's."""
    state = folder / "state"
    state.mkdir()
    shutil.chown(state, USER)
    (folder / "next.py").touch()
    port = low_port()
    options = {"user": USER, "address": f"127.0.0.1:{port}", "probation": 0.1, "version": "1"}
    source = PROGRAM.replace("BUILD_NUMBER", "1").replace(", version=BUILD", "")
    env = {"STATE_DIRECTORY": str(state), "XDG_RUNTIME_DIR": "/run/user/0"}
    service = app(source, env=env, **options).serves()
    store = state / "app.py.overseer"
    until(lambda: service.status()["updater"], "there is an updater")
    for pid in (service.pid, *service.pids(1), int(service.status()["updater"])):
        is_the_users(pid)
        assert b"XDG_RUNTIME_DIR" not in Path(f"/proc/{pid}/environ").read_bytes()
    text = service.app.read_text().replace('BUILD = "1"', 'BUILD = "2"')
    fresh = folder / "next.tmp"
    fresh.write_text(text)
    fresh.replace(folder / "next.py")
    service.logged(r"release \w+ is current: generation 2")
    service.ask("reexec")
    assert service.restart() == 3
    for pid in (service.pid, *service.tree()):
        is_the_users(pid)
    assert 'BUILD = "1"' in service.app.read_text()
    owners = {path.stat().st_uid for path in (store, *store.rglob("*"))}
    assert owners == {pwd.getpwnam(USER).pw_uid}
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
        connection.sendall(b"hello\n")
        assert connection.makefile().readline().startswith("2 ")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0


def test_without_a_master_the_program_is_the_users_too(folder: Path) -> None:
    """A program from standard input cannot be started again: it runs where it is, and not as root."""
    program = """
import os, overseer
def program(state):
    print(state.enabled, state.listener.getsockname()[1], os.getresuid(), os.environ["USER"])
overseer.run(program, user="nobody", address="127.0.0.1:PORT")
""".replace("PORT", str(port := low_port()))
    done = subprocess.run(
        [PYTHON, "-"],
        input=program,
        cwd=folder,
        env=os.environ | ENV,
        capture_output=True,
        text=True,
        check=True,
    )
    user = pwd.getpwnam(USER).pw_uid
    assert done.stdout == f"False {port} {(user, user, user)} nobody\n"


def test_another_group_is_the_users_as_well(app: Callable[..., Service]) -> None:
    """Its own groups come beside it, by number or by name."""
    group = grp.getgrnam("daemon")
    service = app(user=str(pwd.getpwnam(USER).pw_uid), group="daemon").serves()
    for pid in (service.pid, *service.pids(1)):
        is_the_users(pid, group.gr_gid)


def test_a_number_without_an_account_needs_a_group(app: Callable[..., Service]) -> None:
    """As in containers: then it has that group and no other."""
    service = app(user="54321", group="54322").serves()
    for pid in (service.pid, *service.pids(1)):
        status = who_is(pid)
        assert (status["Uid"], status["Gid"]) == (" ".join(["54321"] * 4), " ".join(["54322"] * 4))
        assert status["Groups"] == "54322"


def test_a_low_port_that_comes_later_cannot_be_had(app: Callable[..., Service]) -> None:
    """There is no root any more: the restart fails, says so, and the old one serves on."""
    service = app(user=USER).serves()
    service.write(ECHO, address=f"127.0.0.1:{low_port()}")
    answer = service.ask("restart")
    assert answer["outcome"] == "failed"
    assert "is below 1024 and not for ordinary users" in answer["detail"]
    assert service.knock()[0] == 1


def test_sockets_files_are_the_users_wherever_they_lie(folder: Path, app: Callable[..., Service]) -> None:
    """In a folder of root's they are given to him, in one of his own he makes them himself."""
    his = folder / "his"
    his.mkdir()
    shutil.chown(his, USER)
    addresses = ["127.0.0.1:0", f"unix:{folder}/a.sock?mode=0660", f"unix:{his}/b.sock"]
    service = app(user=USER, addresses=addresses).serves()
    user = pwd.getpwnam(USER).pw_uid
    for path in (folder / "a.sock", his / "b.sock", service.run_folder / "overseer.sock"):
        assert path.stat().st_uid == user
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert not (his / "b.sock").exists()


def refused(service: Service) -> str:
    """Wait for the end of one that must not start; return the line that says why."""
    assert service.wait() == 78, service.log
    line = service.log.splitlines()[-1]
    return line.removeprefix("overseer: error: ")


@pytest.mark.long
def test_a_program_that_the_user_could_change_is_not_started_by_root(
    folder: Path, app: Callable[..., Service]
) -> None:
    """Whether it is his, or its folder is, or others may write there."""
    service = app(user=USER)
    service.serves().signal(signal.SIGTERM)
    service.wait()
    for spoil, mend, path in (
        (lambda p: shutil.chown(p, USER), lambda p: shutil.chown(p, 0), folder / "app.py"),
        (lambda p: p.chmod(0o777), lambda p: p.chmod(0o755), folder),
        (lambda p: p.chmod(0o1777), lambda p: p.chmod(0o755), folder),
        (lambda p: shutil.chown(p, USER), lambda p: shutil.chown(p, 0), folder),
    ):
        (folder / "stderr").unlink()
        again = app(write=False)
        again.serves().signal(signal.SIGTERM)
        again.wait()
        (folder / "stderr").unlink()
        spoil(path)
        said = refused(app(write=False))
        mend(path)
        assert said.startswith(f"user: nobody may write to {path}, ")
        assert "so nobody could become root" in said


def test_what_is_not_there_yet_could_be_put_there(app: Callable[..., Service]) -> None:
    """Compiled modules, say, in a folder where everybody may make one."""
    nowhere = f"/var/tmp/overseer-{secrets.token_hex(8)}/cache"
    said = refused(app(user=USER, env={"PYTHONPYCACHEPREFIX": nowhere}))
    assert said.startswith("user: nobody may write to /var/tmp, ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"user": "no-such-user"}, "user: there is no user 'no-such-user' on this machine"),
        ({"user": "54321"}, "user: there is no user '54321' on this machine; a number needs a group"),
        ({"user": USER, "group": "no-such"}, "group: there is no group 'no-such' on this machine"),
        ({"group": "daemon"}, "group: is set, and user is not"),
        ({"user": "root"}, "user: root is root, which is to be left"),
    ],
)
def test_whom_one_cannot_become_is_refused(
    app: Callable[..., Service], options: dict[str, str], said: str
) -> None:
    """Before anything is bound, in one line."""
    assert refused(app(**options)).startswith(said)


def test_an_ordinary_user_becomes_nobody_else(folder: Path, app: Callable[..., Service]) -> None:
    """And need not become what he is: the same configuration runs below User= of a service manager."""
    (folder / "run").mkdir()
    shutil.chown(folder / "run", USER)
    prefix = ["setpriv", "--reuid", USER, "--regid", "65534", "--init-groups"]
    assert "is not daemon" in refused(app(user="daemon", prefix=prefix))
    first = app(user=USER, prefix=prefix).serves()
    assert first.restart() == 2
    first.signal(signal.SIGTERM)
    first.wait()
    elsewhere = ["setpriv", "--reuid", USER, "--regid", "daemon", "--clear-groups"]
    assert "is not nobody (uid 65534, gid 65534)" in refused(app(user=USER, group="65534", prefix=elsewhere))
    shutil.chown(folder / "run", group="daemon")
    assert app(user=USER, prefix=elsewhere).serves().restart() == 2


def test_a_foreign_program_is_the_users_too(folder: Path, app: Callable[..., Service]) -> None:
    """With `overseer run --user`; and a folder of options that he could write to is refused."""
    command = ["-m", "overseer", "run", "--address", "127.0.0.1:0", "--ready", "alive", "--user", USER]
    command += ["--", "sleep", "1000"]
    env = with_click()
    service = app(command=command, env=env).serves()
    for pid in (service.pid, *service.pids(1)):
        is_the_users(pid)
    assert Path(f"/proc/{service.pids(1)[0]}/comm").read_text() == "sleep\n"
    service.signal(signal.SIGTERM)
    service.wait()
    (folder / "stderr").unlink()
    folder.chmod(0o1777)
    assert f"nobody may write to {folder}" in refused(app(command=command, env=env))


def with_click() -> dict[str, str]:
    """Return what has his interpreter find what the command needs."""
    site = subprocess.run(
        [sys.executable, "-c", "import click, os; print(os.path.dirname(os.path.dirname(click.__file__)))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return {"PYTHONPATH": f"{SOURCES}:{site}"}


def test_in_a_container_it_is_seen_that_the_users_program_accepts(app: Callable[..., Service]) -> None:
    """Whoever starts as that user may be looked into, for which root has no right there."""
    command = [
        "-m",
        "overseer",
        "run",
        "--address",
        "127.0.0.1:0",
        "--user",
        USER,
        "--",
        PYTHON,
        "-c",
        ACCEPTS,
    ]
    prefix = ["setpriv", "--bounding-set", "-sys_ptrace"]
    service = app(command=command, env=with_click(), prefix=prefix).serves()
    assert service.restart() == 2
    assert "tells nothing" not in service.log


ACCEPTS = """
import socket
listener = socket.socket(fileno=3)
listener.setblocking(True)
kept = []
while True:
    kept.append(listener.accept())
"""

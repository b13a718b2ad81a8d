"""A publisher is killed, or refused, at every call that changes the disk: no client ever sees half a state.

The quick way is a shim around the calls, in a forked process for each of them. The long way is strace, which
kills at real system calls, whoever makes them, while a client polls all the time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from datetime import UTC, datetime
from errno import EIO, ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.contract import publishing
from tests.contract.interrupted import Shim, die, refuse, tear
from tests.contract.publishing import (
    JOURNEYS,
    Client,
    finish,
    judge,
    make_template,
    opened_keys,
    place_of,
    prepared,
    repository,
    travel,
)
from tests.contract.test_store_crash import fork

from overseer.publish.founding import found
from overseer.publish.home import Home, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from securesystemslib.signer import Signer

ROOT = str(Path(__file__).parents[2])

SYSTEM_CALLS = (
    "write", "pwrite64", "fsync", "rename", "mkdir", "unlink", "unlinkat", "rmdir", "link", "fchmod",
    "ftruncate", "flock", "copy_file_range",
)  # fmt: skip


@pytest.fixture(scope="module")
def template() -> Iterator[str]:
    """Have publishers to begin with, in memory: a killed process needs no disk to be killed at."""
    shared = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=shared if os.path.isdir(shared) else None) as made:
        yield make_template(made)


@pytest.fixture(scope="module")
def signers(template: str) -> Mapping[str, Signer]:
    """Have their keys open: bcrypt is slow by design, and not what is tested here."""
    return opened_keys(load(os.path.join(template, "one")))


def count(name: str, template: str, signers: Mapping[str, Signer]) -> int:
    """Make a journey undisturbed, and count the calls on the way."""
    folder = os.path.join(template, "count")
    prepared(name, template, folder)
    read_end, write_end = os.pipe()

    def work() -> int:
        real, shim = os.write, Shim()
        status = travel(name, folder, signers)
        real(write_end, str(shim.calls).encode())
        return status

    assert fork(work) == 0
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        calls = int(pipe.read())
    shutil.rmtree(folder)
    return calls


def client_of(folder: str) -> Client:
    """Make a client that has seen what is published now, if anything is."""
    with open(os.path.join(folder, "root.json"), "rb") as file:
        client = Client(os.path.join(folder, "client"), place_of(folder), file.read())
    if client.place.size("timestamp.json"):
        client.refresh()
    return client


def interrupted(
    name: str,
    template: str,
    signers: Mapping[str, Signer],
    how: Callable[..., Any],
    *statuses: int,
) -> int:
    """Interrupt a journey at each of its calls; return how many there were."""
    calls = count(name, template, signers)
    folder = os.path.join(template, "work")
    for at in range(1, calls + 1):
        prepared(name, template, folder)
        client, where = client_of(folder), f"{name}, {how.__name__} at call {at} of {calls}"

        def work(at: int = at) -> int:
            Shim(at, how)
            return travel(name, folder, signers)

        assert fork(work) in statuses, where
        judge(name, folder, client, where)
        finish(name, folder, client, repository(load(folder), signers=signers), where)
        shutil.rmtree(folder)
    print(f"{name}: {calls} points of {how.__name__}")
    return calls


@pytest.mark.long
@pytest.mark.parametrize("name", JOURNEYS)
def test_a_publisher_killed_at_any_call_leaves_the_old_state_or_the_new_one(
    name: str, template: str, signers: Mapping[str, Signer]
) -> None:
    """A client that knew the old state refreshes; the same command again arrives."""
    assert interrupted(name, template, signers, die, -9) >= 10


@pytest.mark.long
@pytest.mark.parametrize("name", JOURNEYS)
@pytest.mark.parametrize("how", [tear, refuse(EIO), refuse(ENOSPC)])
def test_a_call_that_is_torn_or_refused_leaves_the_old_state_or_the_new_one(
    name: str, how: Callable[..., Any], template: str, signers: Mapping[str, Signer]
) -> None:
    """What the disk refuses is an error of ours, and the same command again arrives."""
    interrupted(name, template, signers, how, *((-9,) if how is tear else (0, 3)))


@pytest.mark.very_long
@pytest.mark.long
def test_a_publisher_killed_while_it_is_made_is_made_by_the_same_command(template: str) -> None:
    """Whatever keys and root there are by then are used, and fit each other."""
    folder = os.path.join(template, "new")

    def make() -> int:
        os.makedirs(folder, exist_ok=True)
        home = Home(folder=folder, name="app")
        keys = ("file:keys/offline.key", "file:keys/online.key")
        made = found(home, *keys, publishing.secret, now=datetime.now(UTC))
        repository(made).begin()
        return 0

    for at in range(1, 100):

        def work(at: int = at) -> int:
            Shim(at, die)
            return make()

        status = fork(work)
        assert status in (0, -9)
        if not status:
            break
        assert make() == 0
        assert client_of(folder).refresh() == set(), f"killed at call {at}"
        shutil.rmtree(folder)
    print(f"killed at {at - 1} calls")
    assert at > 30


# -- the long way ------------------------------------------------------------------------------------------


def traced(name: str, folder: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Make a journey under strace."""
    command = ["strace", "-qq", "-f", *options, sys.executable, "-B", "-m", publishing.__name__, name, folder]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


def points(name: str, template: str) -> Counter[str]:
    """Make a journey under strace, and count its system calls."""
    folder, log = os.path.join(template, "count"), os.path.join(template, "log")
    prepared(name, template, folder)
    done = traced(name, folder, "-e", f"trace={','.join(SYSTEM_CALLS)}", "-o", log)
    if done.returncode:
        pytest.skip(f"strace does not run here: {done.stderr.strip()}")
    shutil.rmtree(folder)
    return Counter(re.findall(r"^(?:\d+ +)?(\w+)\(", Path(log).read_text(), re.MULTILINE))


class Poller(threading.Thread):
    """A client that refreshes all the time, and keeps what it did not like."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.polls = 0
        self.trouble: list[BaseException] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Refresh until it is over."""
        while not self.over.is_set():
            try:
                self.client.refresh()
            except Exception as error:  # noqa: BLE001 - whatever a client meets
                self.trouble.append(error)
            self.polls += 1


@pytest.mark.very_long
@pytest.mark.long
@pytest.mark.parametrize("name", ["publish_one", "renew", "take_back", "rotate"])
def test_a_publisher_killed_at_any_system_call_is_never_noticed_by_a_client(name: str, template: str) -> None:
    """A client polls while strace kills publishers one after the other, each at the next system call."""
    if not shutil.which("strace"):
        pytest.skip("LOUD SKIP: there is no strace here, so no publisher was killed at a real system call")
    total = polls = 0
    folder = os.path.join(template, "work")
    for call, calls in points(name, template).items():
        for at in range(1, calls + 1):
            prepared(name, template, folder)
            client, where = client_of(folder), f"{name}, killed at {call} {at} of {calls}"
            poller = Poller(Client(os.path.join(folder, "poller"), client.place, client.root))
            poller.start()
            inject = f"inject={call}:signal=KILL:when={at}"
            done = traced(name, folder, "-e", f"trace={call}", "-e", inject, "-o", "/dev/null")
            assert done.returncode in (-9, 137), f"{where}: {done}"
            judge(name, folder, client, where)
            finish(name, folder, client, repository(load(folder)), where)
            poller.over.set()
            poller.join()
            assert not poller.trouble, f"{where}: {poller.trouble}"
            polls += poller.polls
            total += 1
            shutil.rmtree(folder)
    print(f"{name}: killed at {total} system calls, {polls} polls, none of which saw anything wrong")
    assert total
    assert polls

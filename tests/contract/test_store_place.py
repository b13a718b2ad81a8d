"""Where a store is, who may use it, and what is said where there can be none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.contract.stand_in import (
    PATIENCE,
    Told,
    content_of,
    digest,
    inode,
    installed,
    offer,
    opened,
    program,
)

from overseer.errors import StoreError
from overseer.store import Store, StoreLockedError, fallback, peek
from overseer.store.lock import holder_of
from overseer.updater.stage import Staged, Terms, stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import sys
from overseer.store import Store
with Store.open(sys.argv[1], {}) as store:
    print("held", flush=True)
    sys.stdin.read()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder with a program in it, on a file system that is mounted read-only."""
    folder = tmp_path / "usr"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        installed(folder)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_the_store_is_beside_the_binary(tmp_path: Path) -> None:
    """On the same file system, so that a rename is one."""
    with opened(installed(tmp_path)) as store:
        assert store.layout.root == str(tmp_path / ".app.overseer")
        assert store.layout.publishes


def test_what_is_no_file_has_no_store(tmp_path: Path) -> None:
    """And nothing is made."""
    with pytest.raises(StoreError, match="is no file"):
        Store.open(str(tmp_path / "app"), {})
    assert os.listdir(tmp_path) == []


@needs_root
def test_a_read_only_install_is_said_in_one_line_and_nothing_is_made(read_only: Path) -> None:
    """Before anything is downloaded; restarts work."""
    with pytest.raises(StoreError) as caught:
        Store.open(str(read_only / "app"), {})
    assert "cannot be written (Read-only file system)" in str(caught.value)
    assert "restarts work, upgrades are off" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert fallback(str(read_only / "app"), {}) is None


@needs_root
def test_a_read_only_install_upgrades_in_the_state_directory(read_only: Path, tmp_path: Path) -> None:
    """Releases run from there, and the file that nobody may write stays as it is."""
    state = tmp_path / "state"
    state.mkdir()
    environ = {"STATE_DIRECTORY": f"{state}:/somewhere/else"}
    with Store.open(str(read_only / "app"), environ, tell=(told := Told())) as store:
        assert store.layout.root == str(state / "app.overseer")
        assert not store.layout.publishes
        store.boot()
        outcome = stage(offer(program("2.0")), store=store, terms=Terms(check=False))
        assert isinstance(outcome, Staged)
        assert store.promote(outcome.release) is False
    assert any("releases run from the store" in text for _, text in told)
    assert content_of(str(read_only / "app")) == program()
    with Store.open(str(read_only / "app"), environ, tell=Told()) as store:
        boot = store.boot()
        assert (boot.start.release, boot.on_trial) == (outcome.release, False)


def test_the_state_directory_is_not_used_where_the_binary_can_be_replaced(tmp_path: Path) -> None:
    """It is the second best place."""
    state = tmp_path / "state"
    state.mkdir()
    with Store.open(installed(tmp_path), {"STATE_DIRECTORY": str(state)}, tell=Told()) as store:
        assert store.layout.root == str(tmp_path / ".app.overseer")
    assert os.listdir(state) == []


def test_a_store_that_others_could_have_filled_is_not_used(tmp_path: Path) -> None:
    """Or whoever may write there could run programs as us."""
    binary = installed(tmp_path)
    (tmp_path / ".app.overseer").mkdir()
    os.chmod(tmp_path / ".app.overseer", 0o777)
    with pytest.raises(StoreError, match="could be anybody's"):
        Store.open(binary, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders away")
def test_a_store_that_belongs_to_a_stranger_is_not_used(tmp_path: Path) -> None:
    """Whatever its mode."""
    binary = installed(tmp_path)
    (tmp_path / ".app.overseer").mkdir()
    os.chown(tmp_path / ".app.overseer", 4711, 4711)
    with pytest.raises(StoreError, match="belongs to user 4711"):
        Store.open(binary, {})


def test_something_else_in_the_place_of_the_store_is_said(tmp_path: Path) -> None:
    """A file of that name is somebody's."""
    binary = installed(tmp_path)
    (tmp_path / ".app.overseer").write_text("mine")
    with pytest.raises(StoreError, match="is no folder"):
        Store.open(binary, {})


def test_the_second_one_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    """By its process and its command line."""
    binary = installed(tmp_path)
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with pytest.raises(StoreLockedError) as caught:
        Store.open(binary, {})
    assert f"in use by process {first.pid} ({sys.executable} -c" in str(caught.value)
    assert holder_of(str(tmp_path / ".app.overseer" / "lock")) == caught.value.holder
    first.communicate("")
    Store.open(binary, {}).close()
    assert holder_of(str(tmp_path / ".app.overseer" / "lock")) == ""


def test_a_lock_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    """There is no stale lock to be removed by hand."""
    binary = installed(tmp_path)
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    first.stdout.readline()
    first.kill()
    with Store.open(binary, {}, wait=PATIENCE) as store:
        store.boot()
    first.communicate()


def test_a_lock_can_be_handed_on_and_stays_held_meanwhile(tmp_path: Path) -> None:
    """From the launcher through the master to the updater: nobody gets in between."""
    store = opened(installed(tmp_path))
    kept = os.dup(store.lock_fd)
    store.close()
    with pytest.raises(StoreLockedError):
        Store.open(store.layout.public, {})
    before = content_of(store.layout.lock)
    with Store.open(store.layout.public, {}, lock_fd=kept, tell=Told()) as again:
        assert again.ledger == store.ledger
        assert content_of(store.layout.lock) == before


def test_a_descriptor_that_is_not_the_lock_is_not_taken_for_it(tmp_path: Path) -> None:
    """Numbers of descriptors lie."""
    store = opened(installed(tmp_path))
    store.close()
    with closing(socket.socket()) as other, pytest.raises(StoreError, match="is not that of"):
        Store.open(store.layout.public, {}, lock_fd=other.fileno())


def test_the_ledger_can_be_read_while_somebody_holds_the_lock(tmp_path: Path) -> None:
    """Status and history wait for nobody, and change nothing."""
    with opened(installed(tmp_path)) as store:
        before = inode(store.layout.state)
        layout, ledger = peek(store.layout.public, {})
        assert (layout, ledger) == (store.layout, store.ledger)
        assert inode(store.layout.state) == before
        assert [entry.what for entry in store.history()] == ["adopted"]
        assert ledger.current == digest(program())

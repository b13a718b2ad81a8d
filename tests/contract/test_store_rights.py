"""Installations that resist: files and folders of others, sticky folders, file systems without execution."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from tests.contract.stand_in import Told, content_of, installed, offer, opened, program

from overseer.errors import StoreError
from overseer.fetcher import Offer
from overseer.store import Store, fallback
from overseer.updater.stage import Staged, Terms, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="LOUD SKIP: only root may become somebody else or mount"
)

SOMEBODY = 4711


@pytest.fixture
def folder() -> Iterator[Path]:
    """Have a folder that somebody else can reach."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        yield Path(made)


def as_somebody(work: Callable[[], str]) -> str:
    """Do something as another user, in another process; return what it returned, or its error."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
            os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
            answer = work()
        except BaseException as error:  # noqa: BLE001 - told to the test
            answer = f"{type(error).__name__}: {error}"
        os.write(write_end, answer.encode())
        os._exit(0)
    os.close(write_end)
    with open(read_end, encoding="utf-8") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


def upgrade(binary: str) -> str:
    """Upgrade a binary; return what was told."""
    with Store.open(binary, {}, tell=(told := Told())) as store:
        store.boot()
        outcome = stage(offer(program("2.0")), store=store, terms=Terms(check=False))
        assert isinstance(outcome, Staged)
        store.promote(outcome.release)
    return "\n".join(text for _, text in told)


def test_an_owner_that_cannot_be_kept_is_said_and_its_rights_are_not_inherited(folder: Path) -> None:
    """A setuid bit of root's must not become one of somebody's, nor the other way round."""
    binary = installed(folder)
    os.chmod(binary, 0o4755)
    os.chown(folder, SOMEBODY, SOMEBODY)
    told = as_somebody(lambda: upgrade(binary))
    assert f"belongs to user 0; the new file belongs to user {SOMEBODY}" in told
    found = os.stat(binary)
    assert content_of(binary) == program("2.0")
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (SOMEBODY, 0o755)


def test_a_folder_of_others_is_said_before_anything_is_downloaded(folder: Path) -> None:
    """The program can be started, and not upgraded."""
    binary = installed(folder)
    said = as_somebody(lambda: upgrade(binary))
    assert "cannot be written (Permission denied)" in said
    assert "restarts work, upgrades are off" in said
    assert os.listdir(folder) == ["app"]


def test_a_file_of_others_in_a_sticky_folder_cannot_be_replaced(folder: Path) -> None:
    """As in /tmp: a file can be made there, and no rename over another one's is possible."""
    binary = installed(folder)
    os.chmod(folder, 0o1777)
    assert "lets only the owner of a file replace it" in as_somebody(lambda: upgrade(binary))


def test_a_store_that_was_prepared_by_root_serves_a_program_that_may_write_nothing_else(folder: Path) -> None:
    """New releases run from it; the public file stays root's, and that is said once."""
    binary = installed(folder)
    with Store.open(binary, {}, tell=Told()) as store:
        store.boot()
    for path, folders, files in os.walk(folder / ".app.overseer"):
        for name in (".", *folders, *files):
            os.chown(os.path.join(path, name), SOMEBODY, SOMEBODY, follow_symlinks=False)
    os.chown(binary, SOMEBODY, SOMEBODY)
    told = as_somebody(lambda: upgrade(binary))
    assert told.count("releases run from the store") == 1
    assert content_of(binary) == program()
    with Store.open(binary, {}, tell=Told()) as store:
        assert store.boot().start.version == ""
        assert content_of(store.boot().start.path) == program("2.0")


@pytest.fixture
def noexec(tmp_path: Path) -> Iterator[Path]:
    """Have a file system where nothing may be executed."""
    folder = tmp_path / "noexec"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("LOUD SKIP: nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_an_executable_is_not_even_downloaded_to_where_it_could_not_be_executed(noexec: Path) -> None:
    """The reason is the mount, not the release."""

    def never(_: object) -> NoReturn:
        raise AssertionError

    with (
        opened(installed(noexec, content_of("/bin/sleep"))) as store,
        pytest.raises(StoreError, match="is mounted noexec, so a release of kind elf cannot run"),
    ):
        stage(Offer(seen={}, open=never), store=store, terms=Terms())


def test_python_runs_where_nothing_may_be_executed(noexec: Path) -> None:
    """It is the interpreter that is executed."""
    with opened(installed(noexec)) as store:
        assert isinstance(stage(offer(program("2.0")), store=store, terms=Terms()), Staged)


def test_a_store_that_has_become_read_only_still_says_what_is_current(noexec: Path) -> None:
    """After an error of the disk the kernel mounts it so; the service has to start."""
    with opened(binary := installed(noexec)) as store:
        current = store.ledger.current
    subprocess.run(["mount", "-o", "remount,ro", noexec], check=True)
    with pytest.raises(StoreError, match="upgrades are off"):
        Store.open(binary, {})
    found = fallback(binary, {})
    assert found is not None
    assert found.release == current

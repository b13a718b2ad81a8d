"""The public file: replaced whole, with everything that was the old one's but its bytes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from tests.contract.stand_in import Told, content_of, inode, installed, offer, opened, program

from overseer.store import Store
from overseer.updater.stage import Staged, Terms, stage

if TYPE_CHECKING:
    from pathlib import Path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")

# security.capability, version 2: cap_net_bind_service, effective and permitted (linux/capability.h)
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def upgraded(store: Store, content: bytes) -> str:
    """Bring a release all the way to the public place."""
    outcome = stage(offer(content), store=store, terms=Terms(check=False))
    assert isinstance(outcome, Staged), outcome
    assert store.promote(outcome.release)
    return outcome.release


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o4755, 0o2750, 0o644])
def test_the_mode_is_kept(tmp_path: Path, mode: int) -> None:
    """Setuid bits too, which changing the owner would have cleared."""
    with opened(binary := installed(tmp_path)) as store:
        os.chmod(binary, mode)
        upgraded(store, program("2.0"))
        assert stat.S_IMODE(os.stat(binary).st_mode) == mode
        assert content_of(binary) == program("2.0")


@as_root
def test_owner_and_group_are_kept(tmp_path: Path) -> None:
    """Whoever runs the upgrade."""
    with opened(binary := installed(tmp_path)) as store:
        os.chown(binary, 12345, 54321)
        os.chmod(binary, 0o6755)
        upgraded(store, program("2.0"))
        found = os.stat(binary)
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o6755)


@as_root
def test_extended_attributes_are_kept(tmp_path: Path) -> None:
    """A user's own, and the capability to bind a low port; but no signature of the old bytes."""
    with opened(binary := installed(tmp_path)) as store:
        os.setxattr(binary, "user.note", b"kept")
        os.setxattr(binary, "security.capability", CAPABILITY)
        os.setxattr(binary, "security.ima", b"\x01" * 21)
        upgraded(store, program("2.0"))
        assert os.getxattr(binary, "user.note") == b"kept"
        assert os.getxattr(binary, "security.capability") == CAPABILITY
        assert "security.ima" not in os.listxattr(binary)


def test_access_lists_are_kept(tmp_path: Path) -> None:
    """They are attributes as well."""
    with opened(binary := installed(tmp_path)) as store:
        # POSIX ACL, version 2: user::rwx user:7:r-- group::r-x mask::r-x other::r-x (posix_acl_xattr.h)
        undefined = 0xFFFFFFFF
        entries = [(1, 7, undefined), (2, 4, 7), (4, 5, undefined), (16, 5, undefined), (32, 5, undefined)]
        packed = (2).to_bytes(4, "little") + b"".join(
            tag.to_bytes(2, "little") + perm.to_bytes(2, "little") + who.to_bytes(4, "little")
            for tag, perm, who in entries
        )
        try:
            os.setxattr(binary, "system.posix_acl_access", packed)
        except OSError as error:
            pytest.skip(f"this file system has no access lists: {error}")
        upgraded(store, program("2.0"))
        assert os.getxattr(binary, "system.posix_acl_access") == packed


def test_a_symbolic_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    """Also one that is relative and has another link behind it."""
    for folder in ("bin", "opt"):
        (tmp_path / folder).mkdir()
    real = installed(tmp_path / "opt", name="app-1")
    os.symlink("app-1", tmp_path / "opt" / "app")
    os.symlink("../opt/app", tmp_path / "bin" / "app")
    with opened(str(tmp_path / "bin" / "app")) as store:
        upgraded(store, program("2.0"))
        assert store.layout.root == str(tmp_path / "opt" / ".app-1.overseer")
    assert os.readlink(tmp_path / "bin" / "app") == "../opt/app"
    assert os.readlink(tmp_path / "opt" / "app") == "app-1"
    assert content_of(real) == program("2.0")


@pytest.mark.parametrize("through", ["versions", "current"])
def test_a_link_that_leads_into_the_store_is_flipped(tmp_path: Path, through: str) -> None:
    """No copy is made of what can be pointed at."""
    with opened(binary := installed(tmp_path)) as store:
        target = store.boot().start.path if through == "versions" else f"{store.layout.current}/app"
    os.unlink(binary)
    os.symlink(os.path.relpath(target, tmp_path), binary)
    with Store.open(binary, {}, tell=Told()) as store:
        assert not store.boot().on_trial
        new = upgraded(store, program("2.0"))
        found = store.find(new)
        assert found is not None
        assert os.path.islink(binary)
        assert not os.path.isabs(os.readlink(binary))
        assert os.path.realpath(binary) == found.path
    with Store.open(binary, {}, tell=Told()) as store:
        assert store.boot().start.release == new


def test_other_names_of_the_file_are_noticed(tmp_path: Path) -> None:
    """They keep the old bytes, and somebody should know."""
    with opened(binary := installed(tmp_path)) as store:
        os.link(binary, tmp_path / "other")
        upgraded(store, program("2.0"))
        assert isinstance(store.tell, Told)
        assert any("has 2 names" in text for _, text in store.tell)
    assert content_of(str(tmp_path / "other")) == program()


def test_an_upgrade_puts_a_file_that_was_removed_back(tmp_path: Path) -> None:
    """There is nothing to be kept then, and the program should be startable."""
    with opened(binary := installed(tmp_path)) as store:
        outcome = stage(offer(program("2.0")), store=store, terms=Terms(check=False))
        assert isinstance(outcome, Staged)
        os.unlink(binary)
        assert store.promote(outcome.release)
    assert os.access(binary, os.X_OK)


def test_what_runs_is_not_disturbed_by_what_replaces_it(tmp_path: Path) -> None:
    """A release that runs can be replaced: it is another file, and no text is busy."""
    sleeper = content_of("/bin/sleep")
    binary = installed(tmp_path, sleeper, name="sleep")
    with opened(binary) as store:
        running = subprocess.Popen([binary, "600"])
        try:
            before = inode(binary)
            upgraded(store, program("2.0"))
            assert inode(binary) != before
            assert running.poll() is None
        finally:
            running.kill()
            running.wait()


@pytest.mark.parametrize("release", ["old", "new"])
def test_an_archive_that_imports_lazily_survives_the_upgrade_of_its_own_file(
    tmp_path: Path, release: str
) -> None:
    """It runs from its own copy: what it imports after the upgrade is its own, neither broken nor new."""

    def archive(version: str, padding: int) -> bytes:
        path = tmp_path / "made.pyz"
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("padding.py", "#" * padding)
            zipped.writestr(
                "__main__.py", "print('up', flush=True)\ninput()\nimport late\nprint(late.VERSION)\n"
            )
            zipped.writestr("late.py", f"VERSION = {version!r}\n")
        return path.read_bytes()

    with opened(installed(tmp_path, archive("old", 10), name="app.pyz")) as store:
        path = store.boot().start.path
        if release == "new":  # the same from the release that was upgraded to
            upgraded(store, archive("new", 500))
            path = store.boot().start.path
        running = subprocess.Popen(
            [sys.executable, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        upgraded(store, archive("newer", 5000))
        assert running.communicate("\n", timeout=30)[0] == f"{release}\n"

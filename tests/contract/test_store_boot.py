"""What a store decides at a start, on a real disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
from tests.contract.stand_in import Told, content_of, digest, inode, installed, offer, opened, program

from overseer.errors import StoreError
from overseer.fetcher import Offer
from overseer.store import Store, fallback, peek
from overseer.updater.stage import Staged, Terms, stage

UNCHECKED = Terms(check=False)


def taken(store: Store, content: bytes) -> str:
    """Bring a release into the store and on trial, without running it."""
    outcome = stage(offer(content), store=store, terms=UNCHECKED)
    assert isinstance(outcome, Staged), outcome
    return outcome.release


def reopened(store: Store) -> Store:
    """Open the same store again, as the next process does."""
    store.close()
    return Store.open(store.layout.public, {}, tell=Told())


# -- the first start ---------------------------------------------------------------------------------------


def test_the_first_start_takes_the_program_in_as_the_current_release(tmp_path: Path) -> None:
    """What runs is named by its digest, and started from the store."""
    binary = installed(tmp_path)
    with Store.open(binary, {}) as store:
        boot = store.boot(version="1.0")
    assert boot.start is boot.current
    assert not boot.on_trial
    assert boot.start.release == digest(content_of(binary))
    assert content_of(boot.start.path) == content_of(binary)
    assert os.path.dirname(boot.start.folder) == str(tmp_path / ".app.overseer" / "versions")
    assert os.path.basename(boot.start.folder) == f"1.0-{boot.start.release[:12]}"


def test_the_stored_release_is_a_copy_that_nobody_can_write_into(tmp_path: Path) -> None:
    """Writing over the public file in place must not change what runs."""
    binary = installed(tmp_path)
    with Store.open(binary, {}) as store:
        stored = store.boot().start.path
    before = content_of(stored)
    with open(binary, "r+b") as file:
        file.write(b"#!/bin/false")
    assert content_of(stored) == before
    assert inode(stored) != inode(binary)
    assert os.stat(stored).st_mode & 0o777 == 0o555


def test_a_second_start_takes_no_second_copy(tmp_path: Path) -> None:
    """The same release, from the same place; and nothing is written."""
    store = opened(installed(tmp_path))
    first, state = store.boot().start, inode(store.layout.state)
    with reopened(store) as again:
        assert again.boot().start == first
        assert inode(store.layout.state) == state


def test_current_is_a_link_to_the_current_release(tmp_path: Path) -> None:
    """For people and scripts."""
    with opened(installed(tmp_path)) as store:
        assert os.path.realpath(store.layout.current) == store.boot().current.folder


# -- a release on trial ------------------------------------------------------------------------------------


def test_a_release_on_trial_is_started_as_often_as_it_has_attempts(tmp_path: Path) -> None:
    """Three: one by the upgrade and two by reboots; then the one before comes back, and why is told."""
    store = opened(installed(tmp_path))
    old, new = store.ledger.current, taken(store, program("2.0"))
    started = []
    for _ in range(3):
        store = reopened(store)
        boot = store.boot()
        started.append((boot.start.release, boot.attempts_left))
    assert started == [(new, 1), (new, 0), (old, 0)]
    assert "did not live through its probation" in store.ledger.held[new]
    assert isinstance(store.tell, Told)
    assert any("given up" in text for _, text in store.tell)
    store.close()


def test_the_attempt_is_on_disk_before_anything_is_started(tmp_path: Path) -> None:
    """A crash of the whole host right after counts."""
    store = opened(installed(tmp_path))
    taken(store, program("2.0"))
    reopened(store).boot()
    written = peek(store.layout.public, {})[1].trial
    assert written is not None
    assert written.attempts_left == 1


def test_an_installed_release_that_fails_gives_the_public_file_back(tmp_path: Path) -> None:
    """Process and file go back together."""
    store = opened(installed(tmp_path))
    old, new = content_of(store.layout.public), taken(store, program("2.0"))
    store.install(new)
    assert digest(content_of(store.layout.public)) == new
    for _ in range(4):
        store = reopened(store)
        store.boot()
    assert content_of(store.layout.public) == old
    store.close()


def test_a_trial_that_is_not_whole_on_disk_is_given_up(tmp_path: Path) -> None:
    """Cut short or gone: what is current is started."""
    for damage in (lambda path: os.truncate(path, 10), os.unlink):
        folder = tmp_path / damage.__name__.strip("<>")
        folder.mkdir()
        store = opened(installed(folder))
        new = taken(store, program("2.0"))
        found = store.find(new)
        assert found is not None
        damage(found.path)
        store = reopened(store)
        boot = store.boot()
        assert boot.start is boot.current
        assert store.ledger.held[new] == "it is not complete on disk"
        store.close()


def test_damage_of_the_same_length_is_found_after_a_reboot_of_the_kernel(tmp_path: Path) -> None:
    """A power cut leaves files of the right length with zeros in them."""
    store = opened(installed(tmp_path))
    new = taken(store, program("2.0"))
    found = store.find(new)
    assert found is not None
    os.chmod(found.path, 0o755)
    Path(found.path).write_bytes(bytes(found.size))
    state = json.loads(content_of(store.layout.state))
    store.close()
    Path(store.layout.state).write_text(json.dumps({**state, "booted": "another boot"}))
    with Store.open(store.layout.public, {}, tell=Told()) as store:
        assert not store.boot().on_trial


# -- when the disk has lost something ----------------------------------------------------------------------


def test_a_current_release_that_is_lost_is_restored_from_the_public_file(tmp_path: Path) -> None:
    """It is a copy of it."""
    store = opened(installed(tmp_path))
    current = store.ledger.current
    shutil.rmtree(store.layout.versions)
    with reopened(store) as again:
        assert again.boot().start.release == current


def test_a_current_release_that_is_lost_everywhere_falls_back_to_the_one_before(tmp_path: Path) -> None:
    """And the public file goes back with it."""
    store = opened(installed(tmp_path))
    old, new = store.ledger.current, taken(store, program("2.0"))
    store.promote(new)
    found = store.find(new)
    assert found is not None
    shutil.rmtree(found.folder)
    Path(store.layout.public).write_bytes(b"damaged")
    with reopened(store) as again:
        boot = again.boot()
        assert boot.current.release == old


def test_a_ledger_that_makes_no_sense_is_set_aside_and_begun_anew(tmp_path: Path) -> None:
    """The public file is always whole, so there is something to begin with."""
    store = opened(installed(tmp_path))
    store.close()
    Path(store.layout.state).write_bytes(b"\0" * 100)
    with Store.open(store.layout.public, {}, tell=(told := Told())) as again:
        assert again.boot().start.release == digest(program())
    assert any("makes no sense" in text for _, text in told)
    assert os.path.exists(f"{store.layout.state}.broken")


def test_a_ledger_of_a_newer_overseer_is_left_alone(tmp_path: Path) -> None:
    """Upgrades are off, and what is current can still be started."""
    store = opened(installed(tmp_path))
    store.close()
    state = json.loads(content_of(store.layout.state))
    Path(store.layout.state).write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(StoreError, match="newer overseer; restarts work, upgrades are off"):
        Store.open(store.layout.public, {})


def test_what_is_current_can_be_started_without_the_lock(tmp_path: Path) -> None:
    """By a second master, or where the disk is read-only; a trial never is."""
    with opened(installed(tmp_path)) as store:
        taken(store, program("2.0"))
        found = fallback(store.layout.public, {})
        assert found is not None
        assert found.release == store.ledger.current


def test_where_there_is_no_store_there_is_nothing_to_fall_back_to(tmp_path: Path) -> None:
    """And none is made."""
    assert fallback(installed(tmp_path), {}) is None
    assert os.listdir(tmp_path) == ["app"]


# -- what is left of an interruption -----------------------------------------------------------------------


def test_staging_and_temporary_files_are_wiped(tmp_path: Path) -> None:
    """Whatever was on its way is lost; what people start is not touched."""
    store = opened(installed(tmp_path))
    os.mkdir(f"{store.layout.staging}/half")
    for path in (f"{store.layout.staging}/half/download", f"{store.layout.state}.ab12.tmp"):
        Path(path).write_text("half")
    Path(tmp_path / ".app.overseer-ab12.tmp").write_text("half")
    Path(tmp_path / ".app.tmp").write_text("somebody else's")
    reopened(store).close()
    assert os.listdir(store.layout.staging) == []
    assert sorted(os.listdir(tmp_path)) == [".app.overseer", ".app.tmp", "app"]
    assert sorted(os.listdir(store.layout.root)) == [
        "current",
        "history",
        "lock",
        "staging",
        "state.json",
        "versions",
    ]


def test_releases_that_nobody_knows_are_removed_at_a_start(tmp_path: Path) -> None:
    """A crash between two steps left them there."""
    store = opened(installed(tmp_path))
    shutil.copytree(store.boot().start.folder, f"{store.layout.versions}/9-0123456789ab")
    again = reopened(store)
    again.boot()
    assert len(os.listdir(store.layout.versions)) == 1
    again.close()


def test_a_publication_that_was_interrupted_before_its_rename_is_done_again(tmp_path: Path) -> None:
    """The ledger says what is wanted, the stamp says what is there."""
    store = opened(installed(tmp_path))
    new = taken(store, program("2.0"))
    store.write(store.ledger.promoted(new, highest="2.0", keep=2))
    with reopened(store) as again:
        assert digest(content_of(again.layout.public)) == new
        assert again.ledger.publishing == ""


def test_a_publication_that_was_interrupted_after_its_rename_is_finished(tmp_path: Path) -> None:
    """And not taken for the operator's hand."""
    store = opened(installed(tmp_path))
    new = taken(store, program("2.0"))
    before = store.ledger
    store.promote(new)
    ours = inode(store.layout.public)
    wanted = before.promoted(new, highest="2.0", keep=2)
    store.write(wanted)
    with reopened(store) as again:
        boot = again.boot()
        assert (boot.start.release, boot.on_trial) == (new, False)
        assert inode(again.layout.public) == ours


def test_a_file_that_is_replaced_by_hand_during_an_upgrade_is_left_alone(tmp_path: Path) -> None:
    """Neither the old one nor the new one: somebody was quicker."""
    store = opened(installed(tmp_path))
    new = taken(store, program("2.0"))
    store.write(store.ledger.promoted(new, highest="2.0", keep=2))
    store.close()
    installed(tmp_path, program("hand"))
    with Store.open(store.layout.public, {}, tell=Told()) as again:
        assert content_of(again.layout.public) == program("hand")
        boot = again.boot(version="hand")
        assert (boot.start.release, boot.current.release) == (digest(program("hand")), new)


# -- the operator's hand -----------------------------------------------------------------------------------


def test_a_binary_replaced_by_hand_is_a_release_on_trial(tmp_path: Path) -> None:
    """It has attempts like any other, and what was current is fallen back to."""
    store = opened(installed(tmp_path))
    old = store.ledger.current
    store.close()
    installed(tmp_path, program("2.0"))
    with Store.open(store.layout.public, {}, tell=Told()) as again:
        boot = again.boot(version="2.0")
    assert (boot.start.release, boot.current.release, boot.on_trial) == (digest(program("2.0")), old, True)
    assert boot.start.version == "2.0"


def test_a_binary_replaced_by_hand_stays_when_its_release_fails(tmp_path: Path) -> None:
    """It is the operator's file; the release before serves, and that is said at every start."""
    store = opened(installed(tmp_path))
    old = store.ledger.current
    store.close()
    installed(tmp_path, program("2.0"))
    for _ in range(5):
        with Store.open(store.layout.public, {}, tell=Told()) as again:
            boot = again.boot()
    assert boot.start.release == old
    assert content_of(again.layout.public) == program("2.0")


def test_promoting_a_binary_replaced_by_hand_does_not_touch_it(tmp_path: Path) -> None:
    """It is where it should be."""
    opened(installed(tmp_path)).close()
    binary = installed(tmp_path, program("2.0"))
    with Store.open(binary, {}, tell=Told()) as store:
        new, before = store.boot().start.release, inode(binary)
        assert store.promote(new)
        assert (inode(binary), store.ledger.current) == (before, new)


def test_a_binary_that_was_only_touched_is_still_the_same_release(tmp_path: Path) -> None:
    """Backups and package managers change times and inodes."""
    store = opened(binary := installed(tmp_path))
    store.close()
    os.utime(binary, (1, 1))
    with Store.open(binary, {}, tell=Told()) as again:
        assert not again.boot().on_trial


def test_an_older_release_put_back_by_hand_is_taken(tmp_path: Path) -> None:
    """The operator may go down; only sources may not."""
    store = opened(installed(tmp_path))
    old, new = store.ledger.current, taken(store, program("2.0"))
    store.promote(new, highest="2.0")
    store.close()
    installed(tmp_path)
    with Store.open(store.layout.public, {}, tell=Told()) as again:
        boot = again.boot(version="1.0")
    assert (boot.start.release, boot.on_trial) == (old, True)


def test_a_held_release_put_there_by_hand_is_not_started(tmp_path: Path) -> None:
    """It is said, and what is current serves."""
    store = opened(installed(tmp_path))
    old, bad = store.ledger.current, taken(store, program("2.0"))
    store.reject(bad, "it crashed")
    store.close()
    installed(tmp_path, program("2.0"))
    with Store.open(store.layout.public, {}, tell=(told := Told())) as again:
        assert again.boot().start.release == old
    assert any("held (it crashed); it is not started" in text for _, text in told)


def test_a_snapshot_for_a_restart_is_the_file_as_it_is_now(tmp_path: Path) -> None:
    """And the same one while nobody changes it."""
    with opened(binary := installed(tmp_path)) as store:
        assert store.adopt().release == store.ledger.current
        installed(tmp_path, program("2.0"))
        assert store.adopt(version="2.0").release == digest(content_of(binary))


# -- room --------------------------------------------------------------------------------------------------


def test_releases_that_can_still_be_needed_are_kept_and_others_are_not(tmp_path: Path) -> None:
    """Current, two before it, on trial, and whatever a generation still runs."""
    with opened(installed(tmp_path)) as store:
        made = [store.ledger.current]
        for n in range(2, 7):
            made.append(taken(store, program(f"{n}.0")))
            store.promote(made[-1])
        trial = taken(store, program("7.0"))
        store.collect(in_use=[made[1]])
        left = {found.release for r in (*made, trial) if (found := store.find(r))}
        assert left == {made[1], *made[3:6], trial}


def test_a_disk_that_is_too_full_is_said_before_anything_is_downloaded(tmp_path: Path) -> None:
    """The source is not even asked for the bytes."""

    def never(_: object) -> NoReturn:
        raise AssertionError

    with opened(installed(tmp_path)) as store, pytest.raises(StoreError, match="nothing was downloaded"):
        stage(
            Offer(seen={}, open=never, size=1 << 60),
            store=store,
            terms=Terms(max_size=1 << 61),
        )

"""Upgrades with real processes: a good release is taken, a bad one is a non-event."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.process.releases import Upgrading, Zipped
from tests.process.service import until
from tests.unit.test_updater_tree import tar_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def upgrading(tmp_path: Path) -> Iterator[Callable[..., Upgrading]]:
    """Start self-upgrading programs that do not outlive the test."""
    started: list[Upgrading] = []

    def start(folder: Path = tmp_path, **options: object) -> Upgrading:
        started.append(Upgrading(folder, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


def test_a_release_is_served_and_becomes_current(upgrading: Callable[..., Upgrading]) -> None:
    """It is served as soon as it is ready, and current, on disk as well, after its probation."""
    app = upgrading().serves()
    held = app.hold()
    digest = app.offer("2")
    app.serves(2)
    assert app.build() == "2"
    app.upgraded(digest)
    assert app.release(held) == 1, "the first build stays until its last request is closed"


def test_a_release_that_exits_at_start_is_a_non_event(upgrading: Callable[..., Upgrading]) -> None:
    """The build before serves on, nothing on disk changed, and the release is held with the reason."""
    app = upgrading().serves()
    before = app.public
    digest = app.offer("2", here="raise SystemExit(3)")
    app.logged(rf"release {digest[:12]} is held, .*exit status 3")
    until(lambda: digest in app.ledger["held"], "the ledger holds it")
    assert "exit status 3" in app.ledger["held"][digest]
    assert (app.build(), app.public, app.ledger["current"]) == ("1", before, before)


def test_a_release_that_exits_in_its_probation_goes_back(upgrading: Callable[..., Upgrading]) -> None:
    """The build before is started again at once, and the release is not taken again."""
    app = upgrading(probation=30).serves()
    before = app.public
    digest = app.offer("2")
    app.serves(2)
    app.build("exit")
    app.serves(3)
    assert app.build() == "1"
    until(lambda: digest in app.ledger["held"], "the ledger holds it")
    assert (app.public, app.ledger["current"]) == (before, before)


def test_a_release_can_say_that_it_will_not_do(upgrading: Callable[..., Upgrading]) -> None:
    """`state.fail` on probation rolls back, beside the release that failed: no moment without a server."""
    app = upgrading(probation=30).serves()
    digest = app.offer("2")
    app.serves(2)
    assert app.build("fail") == "2"
    app.serves(3)
    assert app.build() == "1"
    until(lambda: digest in app.ledger["held"], "the ledger holds it")
    assert "it was asked to fail" in app.ledger["held"][digest]


def test_a_release_that_fails_and_leaves_a_thread_behind_goes_back(
    upgrading: Callable[..., Upgrading],
) -> None:
    """Its process goes on, and would live through its probation without serving anybody."""
    app = upgrading(probation=30, terminate_timeout=1).serves()
    stays = "threading.Thread(target=threading.Event().wait).start()"
    digest = app.offer("2", here=f"{stays}; state.listener.accept(); raise RuntimeError('no disk')")
    app.serves(2)
    with socket.create_connection(("127.0.0.1", app.port)):
        app.serves(3)
    assert app.build() == "1"
    until(lambda: app.ledger["held"].get(digest) == "RuntimeError: no disk", "the ledger holds it")
    app.logged(r"generation 2 \(pid \d+\) left after")


def test_a_release_that_does_not_answer_its_check_is_never_started(
    upgrading: Callable[..., Upgrading],
) -> None:
    """The check runs it once; what it said on standard error is told."""
    app = upgrading().serves()
    digest = app.offer("2", main="raise RuntimeError('broken build')")
    app.logged("broken build")
    until(lambda: digest in app.ledger["held"], "the ledger holds it")
    assert app.status()["generations"][-1]["number"] == 1


@pytest.mark.long
def test_what_is_no_program_is_not_taken(upgrading: Callable[..., Upgrading]) -> None:
    """A page of a web server is no release, and a good one after it is taken."""
    app = upgrading().serves()
    app.offer_bytes(b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>")
    app.logged("updater: .*(HTML|page|no release)")
    app.upgraded(app.offer("2"))


def test_the_next_release_heals_a_bad_one(upgrading: Callable[..., Upgrading]) -> None:
    """Bad, then good: the good one is taken."""
    app = upgrading().serves()
    app.offer("2", here="raise SystemExit(3)")
    app.logged("is held")
    app.upgraded(app.offer("3"))
    assert app.build() == "3"


@pytest.mark.long
def test_the_masters_death_in_a_probation_is_counted(
    upgrading: Callable[..., Upgrading], tmp_path: Path
) -> None:
    """After max_boot_attempts starts on probation the release before is back, before anybody is served."""
    app = upgrading(probation=60, max_boot_attempts=2).serves()
    before = app.public
    digest = app.offer("2")
    app.serves(2)
    for _ in range(2):
        os.kill(app.pid, signal.SIGKILL)
        app.wait()
        app = upgrading(tmp_path, probation=60, max_boot_attempts=2).serves()
    until(lambda: digest in app.ledger["held"], "the ledger holds it")
    assert app.build() == "1"
    assert app.ledger["current"] == before


@pytest.mark.long
def test_a_stop_in_a_probation_does_not_count(upgrading: Callable[..., Upgrading], tmp_path: Path) -> None:
    """Whoever stops the service means nothing bad about its release."""
    app = upgrading(probation=60, max_boot_attempts=2).serves()
    digest = app.offer("2")
    app.serves(2)
    for _ in range(4):
        app.signal(signal.SIGTERM)
        assert app.wait() == 0
        app = upgrading(tmp_path, probation=60, max_boot_attempts=2).serves()
    assert app.build() == "2"
    assert digest not in app.ledger["held"]


def test_no_restart_after_fetch_installs_and_waits(upgrading: Callable[..., Upgrading]) -> None:
    """The release is in the public place; a restart by hand takes it."""
    app = upgrading(no_restart_after_fetch=True).serves()
    digest = app.offer("2")
    until(lambda: app.public == digest, "it is installed")
    assert app.build() == "1"
    app.signal(signal.SIGUSR2)
    app.serves(2)
    assert app.build() == "2"
    app.upgraded(digest)


def test_no_restart_takes_the_release_at_the_next_start(
    upgrading: Callable[..., Upgrading], tmp_path: Path
) -> None:
    """A command-line tool is upgraded between two runs."""
    app = upgrading(no_restart=True).serves()
    digest = app.offer("2")
    until(lambda: app.public == digest, "it is installed")
    assert app.build() == "1"
    app.signal(signal.SIGUSR2)
    assert app.wait() == 0, "with no_restart the restart signal stops the program"
    app = upgrading(tmp_path, build="2", no_restart=True).serves()
    assert app.build() == "2"


@pytest.mark.long
def test_a_command_that_is_done_is_not_done_again_by_the_release_before(
    upgrading: Callable[..., Upgrading], tmp_path: Path
) -> None:
    """A release of a command-line tool that ends well at its first run is current from the next one on."""
    app = upgrading(no_restart=True).serves()
    digest = app.offer("2", here="print('done by 2', flush=True); raise SystemExit(0)")
    until(lambda: app.public == digest, "it is installed")
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    for runs in (1, 2):
        app = upgrading(tmp_path, write=False)
        assert app.wait() == 0
        assert app.out.count("done by 2") == runs
    assert app.out.count("app#1") == 1, "build 1 was not started again to do it a second time"
    assert app.ledger["current"] == digest
    assert "ended unasked" not in app.log, "a command that is done has done what was asked"


def test_pre_upgrade_can_refuse_a_release(upgrading: Callable[..., Upgrading]) -> None:
    """An exception in it refuses the release, with its words in the log; the next release is asked anew."""
    app = upgrading().serves()
    digest = app.offer("2", here="'REFUSE'")
    app.logged("not on a Friday")
    assert app.build() == "1"
    app.upgraded(app.offer("3"))
    assert app.ledger["current"] != digest


def test_a_zipapp_that_imports_lazily_survives_the_upgrade_of_its_own_file(
    tmp_path: Path,
) -> None:
    """The old generation imports a module for the first time after its public file was replaced."""
    with Zipped(tmp_path) as app:
        held = app.serves().hold()
        app.upgraded(app.offer("2"))
        assert app.build() == "2"
        assert app.release(held) == 1, "build 1 imports from its own file, which is no longer the public one"


def test_an_archive_of_many_files_is_a_release(upgrading: Callable[..., Upgrading], tmp_path: Path) -> None:
    """It is unpacked in the store and started from there; the public file stays, and starts it again."""
    app = upgrading().serves()
    before = app.public
    main = app.source("2", here="import part; assert part.WORD == 'there'").encode()
    tar = tar_of({"app-2/__main__.py": main, "app-2/part.py": b"WORD = 'there'"})
    (tmp_path / "next.tmp").write_bytes(gzip.compress(tar))
    (tmp_path / "next.tmp").replace(tmp_path / "next.py")
    digest = hashlib.sha256(tar).hexdigest()
    until(lambda: app.ledger["current"] == digest, "the archive is current")
    assert (app.build(), app.public) == ("2", before)
    app.logged("stays as it is: the release is an archive of many files")
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    again = upgrading(write=False).serves()
    assert again.build() == "2"
    digest = again.offer("3")
    again.upgraded(digest)
    assert again.build() == "3"

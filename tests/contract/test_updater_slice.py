"""A release walks the whole way: source, staging, check, trial, promotion, with the real updater process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.contract.stand_in import PATIENCE, Master, content_of, digest, inode, installed, opened, program

from overseer.store import Store, peek

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPDATER = """
import socket, sys, threading
from overseer.fetcher import File, Func
from overseer.store import Store
from overseer.updater.loop import Options, run
from overseer.updater.stage import Terms
fd, binary, source = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with Store.open(binary, {}, wait=10) as store:
    sys.exit(run(socket.socket(fileno=fd), fetcher=eval(source), store=store,
                 options=Options(min_fetch_interval=0.02, backoff=0.02)))
"""


class Upgrade:
    """One program in place, an updater of it, and us as its master."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.binary = installed(folder)
        self.new = folder / "new"
        self.started: list[subprocess.Popen[bytes]] = []
        opened(self.binary).close()

    def start(self, source: str = "") -> Master:
        """Start an updater that watches `new`, or another source."""
        ours, theirs = socket.socketpair()
        source = source or f"File({str(self.new)!r}, interval=0.05)"
        self.started.append(
            subprocess.Popen(
                [sys.executable, "-c", UPDATER, str(theirs.fileno()), self.binary, source],
                pass_fds=[theirs.fileno()],
            )
        )
        theirs.close()
        return Master(ours)

    def build(self, content: bytes) -> str:
        """Put a new release where the source finds it; return its digest."""
        beside = self.folder / "building"
        beside.write_bytes(content)
        beside.rename(self.new)
        return digest(content)


@pytest.fixture
def upgrade(tmp_path: Path) -> Iterator[Upgrade]:
    """Have one, and end what it started."""
    made = Upgrade(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.wait()


def test_a_new_file_is_staged_and_can_be_executed_as_it_was_announced(upgrade: Upgrade) -> None:
    """The word `staged` names the digest, the version and a command line that works."""
    master = upgrade.start()
    new = upgrade.build(program("2.0", before="print('two')"))
    staged = master.hear("staged")
    assert (staged["release"], staged["version"]) == (new, "2.0")
    ran = subprocess.run(staged["argv"], capture_output=True, timeout=PATIENCE, check=True)
    assert ran.stdout == b"two\n"


def test_a_staged_release_changes_nothing_that_people_start(upgrade: Upgrade) -> None:
    """Until it is promoted the public file is the one that was there."""
    before = content_of(upgrade.binary), inode(upgrade.binary)
    master = upgrade.start()
    new = upgrade.build(program("2.0"))
    master.hear("staged")
    assert (content_of(upgrade.binary), inode(upgrade.binary)) == before
    ledger = peek(upgrade.binary, {})[1]
    assert ledger.trial is not None
    assert ledger.trial.release == new


def test_promoted_it_is_the_public_file_and_the_old_one_is_kept(upgrade: Upgrade) -> None:
    """Promotion publishes by one rename, and what was current is previous."""
    old = digest(content_of(upgrade.binary))
    master = upgrade.start()
    new = upgrade.build(program("2.0"))
    master.hear("staged")
    master.say(type="promote", release=new)
    assert master.hear("promoted") == {"type": "promoted", "release": new, "public": True}
    assert digest(content_of(upgrade.binary)) == new
    assert os.access(upgrade.binary, os.X_OK)
    ledger = peek(upgrade.binary, {})[1]
    assert (ledger.current, ledger.previous, ledger.trial) == (new, (old,), None)


def test_saying_promote_twice_is_answered_twice_and_done_once(upgrade: Upgrade) -> None:
    """A master that lost the answer may ask again."""
    master = upgrade.start()
    new = upgrade.build(program("2.0"))
    master.hear("staged")
    master.say(type="promote", release=new)
    master.hear("promoted")
    before = inode(upgrade.binary)
    master.say(type="promote", release=new)
    assert master.hear("promoted")["release"] == new
    assert inode(upgrade.binary) == before


def test_a_rejected_release_is_held_and_never_staged_again(upgrade: Upgrade) -> None:
    """Its digest is not taken, however often it is copied there; another one is."""
    master = upgrade.start()
    bad = upgrade.build(program("2.0"))
    master.hear("staged")
    master.say(type="reject", release=bad, reason="it exited in its probation")
    master.hear("rejected")
    upgrade.build(program("2.0"))
    master.hear("say", where=lambda word: "it is held" in word["text"])
    good = upgrade.build(program("3.0"))
    assert master.hear("staged")["release"] == good
    assert peek(upgrade.binary, {})[1].held == {bad: "it exited in its probation"}


def test_a_release_that_fails_its_check_is_held_with_the_reason_and_what_it_printed(upgrade: Upgrade) -> None:
    """It never reaches the master, but for the line that says why."""
    master = upgrade.start()
    upgrade.build(program("2.0", before="raise SystemExit('no licence')"))
    said = master.hear("say", where=lambda word: word["level"] == "error")
    assert "no licence" in said["text"]
    assert upgrade.build(program("3.0")) == master.hear("staged")["release"]


def test_installed_it_is_the_public_file_and_still_on_trial(upgrade: Upgrade) -> None:
    """Without a restart the next start of the program takes it, with all of its attempts."""
    master = upgrade.start()
    new = upgrade.build(program("2.0"))
    master.hear("staged")
    master.say(type="install", release=new)
    assert master.hear("installed")["public"] is True
    assert digest(content_of(upgrade.binary)) == new
    _gone(master, upgrade)
    with Store.open(upgrade.binary, {}) as store:
        boot = store.boot(version="2.0")
    assert (boot.start.release, boot.on_trial, boot.attempts_left) == (new, True, 2)


def test_an_updater_that_is_started_again_says_again_what_is_on_trial(upgrade: Upgrade) -> None:
    """If it died between writing the trial down and saying so, nothing is lost."""
    master = upgrade.start()
    new = upgrade.build(program("2.0"))
    master.hear("staged")
    _gone(master, upgrade)
    again = upgrade.start()
    assert again.hear("hello")["role"] == "updater"
    assert again.hear("staged")["release"] == new


def test_the_updater_leaves_at_once_when_the_master_goes(upgrade: Upgrade) -> None:
    """Even in the middle of a fetch that blocks: status 0, and the lock is free."""
    master = upgrade.start("Func(threading.Event().wait)")
    master.hear("hello")
    _gone(master, upgrade)
    Store.open(upgrade.binary, {}).close()


def test_the_last_words_of_a_master_are_obeyed_although_a_fetch_blocks(upgrade: Upgrade) -> None:
    """It may promote a release and go."""
    blocks = str(upgrade.folder / "blocks")
    os.mkfifo(blocks)
    first, then = (
        f"open({str(upgrade.new)!r}, 'rb').read()",
        f"[open({blocks!r}, 'w'), threading.Event().wait()]",
    )
    new = upgrade.build(program("2.0"))
    master = upgrade.start(f"Func((lambda looks: lambda: looks.pop()())([lambda: {then}, lambda: {first}]))")
    master.hear("staged")
    with open(blocks, encoding="utf-8"):  # opened when the other end is
        master.say(type="promote", release=new)
        _gone(master, upgrade)
    assert digest(content_of(upgrade.binary)) == new


def _gone(master: Master, upgrade: Upgrade) -> None:
    master.go()
    assert upgrade.started[-1].wait(PATIENCE) == 0

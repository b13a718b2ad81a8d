"""Each attack of The Update Framework's list, played live against a service under load.

    python -m tests.process.attacks [--write]      make attacks

One service takes signed releases from a server that is not to be trusted. Between two attacks the server is
honest, and the service has to be well again. What it said, what clients saw and what was executed is put into
a table; `--write` puts that into docs/explanation/attacks.md.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bench import written
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets, Timestamp

from tests.contract.hostile import Wire, reply
from tests.contract.site import newest
from tests.process import bombs
from tests.process.besieged import EVIL, PATIENCE, Stage
from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.load import Report

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "attacks.md"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attack went: what the service said, and what clients saw meanwhile."""

    attack: Attack
    said: str
    requests: int
    failed: int
    executed: bool


# -- the attacks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack: what it is called, what the attacker has, and how it is played.

    `play` returns what the service said, and raises `AssertionError` when it was not refused.
    """

    name: str
    has: str
    play: Callable[[Stage], str]


ATTACKS: list[Attack] = []

SERVER = "the server"
ONLINE = "the server, the online key"
ALL = "the server, the keys of releases and online"


def attack(name: str, has: str) -> Callable[[Callable[[Stage], str]], Callable[[Stage], str]]:
    """Enter a function into the list."""

    def enter(play: Callable[[Stage], str]) -> Callable[[Stage], str]:
        ATTACKS.append(Attack(name=name, has=has, play=play))
        return play

    return enter


@attack("arbitrary software: other bytes under the right name", SERVER)
def _arbitrary(stage: Stage) -> str:
    good = stage.next()
    name = _target(stage, good)
    size = (stage.site.public / name).stat().st_size
    _instead(stage, name, stage.build("666", evil=True).ljust(size, b"#")[:size])
    return stage.withstands("the digest", then=good)


@attack("metadata of one's own, signed by keys of one's own", SERVER)
def _own_keys(stage: Stage) -> str:
    thief = stage.site.thief()
    for keyid in thief.keys:
        fresh = CryptoSigner.generate_ed25519()
        object.__setattr__(fresh.public_key, "keyid", keyid)
        thief.keys[keyid] = fresh
    thief.release("666", stage.build("666", evil=True))
    stage.show(thief.folder)
    return stage.withstands("not signed by those we trust")


@attack("a root of one's own", SERVER)
def _own_root(stage: Stage) -> str:
    forged: Metadata[Root] = Metadata.from_bytes(stage.site.root)
    forged.signed.version = stage.site.repository().root().version + 1
    forged.signatures.clear()
    forged.sign(CryptoSigner.generate_ed25519())
    stage.shown.joinpath(f"{forged.signed.version}.root.json").write_bytes(forged.to_bytes())
    _touch(stage)
    return stage.withstands("not signed by those we trust")


@attack("rollback: a state of the past, as it once was", SERVER)
def _rollback(stage: Stage) -> str:
    past = stage.folder / "past"
    shutil.copytree(stage.site.public, past)
    good = stage.next()
    stage.honest()
    stage.takes(good)
    stage.show(past)
    return stage.withstands("older state")


@attack("replay: an old signed file under the name of the new one", SERVER)
def _replay(stage: Stage) -> str:
    old = (stage.site.public / _target(stage, stage.signed)).read_bytes()
    good = stage.next()
    _instead(stage, _target(stage, good), old)
    return stage.withstands("the digest", then=good)


@attack("freeze: the same state until its signature runs out", SERVER)
def _freeze(stage: Stage) -> str:
    path, stamp = newest(stage.site.public, Timestamp, "timestamp")
    stamp.signed.version += 1
    stamp.signed.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    stage.site.sign("timestamp", stamp, path)
    stage.honest()
    said = stage.refused("have expired")
    stage.site.repository().renew()
    stage.well()
    return said


@attack("mix and match: targets of one state with the snapshot of another", SERVER)
def _mix(stage: Stage) -> str:
    old, _ = newest(stage.site.public, Targets, "targets")
    before = old.read_bytes()
    good = stage.next()
    new, _ = newest(stage.site.public, Targets, "targets")
    _instead(stage, new.name, before)
    return stage.withstands("refused", then=good)


@attack("withholding: whoever asks is hung up on", SERVER)
def _withholding(stage: Stage) -> str:
    def hang_up(_name: str, wire: Wire) -> bool:
        wire.reset()
        return True

    stage.worse = hang_up
    return stage.withstands("could not be read")


@attack("endless metadata", SERVER)
def _endless_metadata(stage: Stage) -> str:
    def endless(name: str, wire: Wire) -> bool:
        if name == "timestamp.json":
            wire.say("HTTP/1.1 200 OK\r\n\r\n")
            while wire.say(b"{" * 65536):
                pass
        return name == "timestamp.json"

    stage.worse = endless
    return stage.withstands("exceeding")


@attack("an endless release", SERVER)
def _endless_release(stage: Stage) -> str:
    good = stage.next()
    wanted = _target(stage, good)

    def endless(name: str, wire: Wire) -> bool:
        if name == wanted:
            wire.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while wire.say(b"10000\r\n" + EVIL.ljust(65536, b"#") + b"\r\n"):
                pass
        return name == wanted

    stage.worse = endless
    stage.show(stage.site.public)
    return stage.withstands("longer than", then=good)


@attack("slow retrieval of metadata: a byte at a time", SERVER)
def _slow_metadata(stage: Stage) -> str:
    stage.worse = _dripping("timestamp.json")
    return stage.withstands("stalled")


@attack("slow retrieval of a release", SERVER)
def _slow_release(stage: Stage) -> str:
    good = stage.next()
    stage.worse = _dripping(_target(stage, good))
    stage.show(stage.site.public)
    return stage.withstands("stalled", then=good)


@attack("a signed release of another program, or for another machine", SERVER)
def _wrong(stage: Stage) -> str:
    evil = stage.build("666", evil=True)
    names = [
        _target(stage, stage.publish(evil + b"#", "666", name="other")),
        _target(stage, stage.publish(evil, "666", platform="plan9-vax")),
    ]
    stage.honest()
    before = len(stage.asked)
    until(lambda: stage.asked[before:].count("timestamp.json") > 1, "it was looked at", PATIENCE)
    told = stage.looks()
    assert not set(names) & set(stage.asked), "it was asked for"
    return f"passed over, and not asked for: {told}"


@attack("fast-forward: a timestamp driven as high as it goes", ONLINE)
def _fast_forward(stage: Stage) -> str:
    thief = stage.site.thief()
    path, stamp = newest(thief.folder, Timestamp, "timestamp")
    stamp.signed.version = 2**31
    thief.sign("timestamp", stamp, path)
    stage.show(thief.folder)
    stage.looks()
    stage.honest()
    said = stage.refused("older state")
    stage.site.rotate("online")
    stage.well()
    return said


@attack("a stolen online key signs a release", ONLINE)
def _online(stage: Stage) -> str:
    with stage.theft() as thief:
        online = thief.root.roles["timestamp"].keyids[0]
        thief.keys |= dict.fromkeys(thief.root.roles["targets"].keyids, thief.keys[online])
        thief.release("666", stage.build("666", evil=True))
        stage.show(thief.folder)
        said = stage.refused("not signed by those we trust")
    stage.well()
    return said


@attack("a stolen key of releases, after it was replaced", ALL)
def _after_rotation(stage: Stage) -> str:
    thief = stage.site.thief()
    stage.site.rotate("offline")
    thief.take()
    thief.release("666", stage.build("666", evil=True))
    stage.show(thief.folder)
    said = stage.refused("targets was signed by")
    stage.site.rotate("online")
    stage.well()
    return said


@attack("a bomb: an archive of a few megabytes that unpacks to six gigabytes", ALL)
def _archive(stage: Stage) -> str:
    with stage.theft() as thief:
        digest = thief.release("666", bombs.archive())
        stage.show(thief.folder)
        said = stage.held(digest, "unpacks|MiB|bytes")
    stage.well()
    return said


@attack("a bomb: a patch that makes more than was signed", ALL)
def _patch(stage: Stage) -> str:
    evil = stage.build("667", evil=True)
    base = (stage.site.public / _target(stage, stage.signed)).read_bytes()
    with stage.theft() as thief:
        thief.release("667", evil, {stage.signed: bombs.patch(base, evil)})
        (thief.folder / f"{hashlib.sha256(evil).hexdigest()}.app-667-any.py").unlink()
        stage.show(thief.folder)
        stage.refused("404")
        (said, *_) = stage.app.logged(r"(the patch is not taken, .*)", deadline=PATIENCE)
    stage.well()
    return str(said)


def _target(stage: Stage, digest: str) -> str:
    """Return the name of a release as it is served."""
    (found,) = (path.name for path in stage.site.public.iterdir() if path.name.startswith(digest))
    return found


def _instead(stage: Stage, name: str, content: bytes) -> None:
    """Serve what is published, but for one file."""

    def other(asked: str, wire: Wire) -> bool:
        if asked == name:
            wire.say(reply(content))
        return asked == name

    stage.worse = other
    stage.show(stage.site.public)


def _dripping(name: str) -> Callable[[str, Wire], bool]:
    def drip(asked: str, wire: Wire) -> bool:
        if asked == name:
            wire.say("HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n")
            wire.drip(b"{ ", 0.02)
        return asked == name

    return drip


def _touch(stage: Stage) -> None:
    """Serve another timestamp than before, of the same state, so that the rest is looked at."""
    stage.site.repository().renew()
    shutil.copyfile(stage.site.public / "timestamp.json", stage.shown / "timestamp.json")


# -- all of them ---------------------------------------------------------------------------------------------


def play(stage: Stage, attacks: Sequence[Attack]) -> tuple[list[Outcome], Report]:
    """Play them one after the other; return how each went, and what clients saw over all.

    Raises `AssertionError` when one was not refused, or the service was touched.
    """
    stage.takes(_first(stage))
    said, executed = [], []
    for each in attacks:
        with stage.load.mark(each.name):
            said.append(each.play(stage))
        executed.append(stage.executed())
        status = stage.app.status()
        assert status["current"] == stage.signed, f"{each.name}: another release runs"
        assert not stage.load.failures, (each.name, stage.load.failures)
    last = stage.next()
    stage.honest()
    stage.takes(last)
    stage.load.wait_generation(str(stage.number))
    report = stage.load.stop()
    windows = {window.label: window.summary for window in report.windows}
    outcomes = [
        Outcome(
            attack=each,
            said=words,
            requests=windows[each.name].count,
            failed=windows[each.name].failed,
            executed=mark,
        )
        for each, words, mark in zip(attacks, said, executed, strict=True)
    ]
    return outcomes, report


def _first(stage: Stage) -> str:
    digest = stage.next()
    stage.honest()
    return digest


def table(outcomes: Sequence[Outcome], stage: Stage) -> Iterator[str]:
    """Tell how it went, as a table."""
    yield "| attack | the attacker has | what overseer said | requests meanwhile | failed | executed |"
    yield "|---|---|---|--:|--:|---|"
    for each in outcomes:
        said = each.said.replace(stage.server.url, "http://releases").replace(str(stage.folder), "")
        said = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1...", said).replace("|", "\\|")
        said = said.replace("\n", " ")
        executed = "**yes**" if each.executed else "nothing"
        cells = (each.attack.name, each.attack.has, said, f"{each.requests:,}", str(each.failed), executed)
        yield f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play all attacks, print the table, and write it into the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table into the docs")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage:
        outcomes, report = play(stage, ATTACKS)
        lines = list(table(outcomes, stage))
    total = (
        f"One run on CPython {platform.python_version()}: {len(outcomes)} attacks on one service, "
        f"{report.total.all.count:,} requests in {report.ended - report.started:.0f} s, "
        f"{report.failed} failed."
    )
    print("\n".join([*lines, "", total]))
    bad = [each for each in outcomes if each.failed or each.executed]
    if options.write and not bad:
        written.into_page(PAGE, "make attacks", "\n".join([total, "", *lines]))
    return 1 if bad or report.failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""A site of signed releases, whole: its publisher, what clients see of it, and thieves of its keys."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from tests.contract.publishing import (
    PASSPHRASE,
    candidate,
    opened_keys,
    quick_key,
    repository,
    secret,
    terms,
)
from tests.contract.stand_in import program
from tuf.api.metadata import Metadata, Snapshot, TargetFile, Targets, Timestamp

from overseer.cli.main import cli
from overseer.fetcher import File
from overseer.publish import roots
from overseer.publish.founding import made_or_known
from overseer.publish.home import load
from overseer.publish.publisher import publish, revoke
from overseer.trust.choose import Here
from overseer.trust.source import SignedReleases
from overseer.trust.terms import Patch, patch_target
from overseer.trust.tuf import TUF

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Root

    from overseer.fetcher import Offer
    from overseer.publish.repository import Repository
    from overseer.trust.terms import Terms

HERE = Here(platform="linux-x86_64-gnu", version="1.0", highest="1.0", digest="0" * 64)


class Site:
    """A publisher, what he serves, and a client of it with a memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.public = folder / "public"
        self.shown = self.public
        self.root = (folder / "root.json").read_bytes()
        self.here = HERE
        self.trusted = str(folder / "trusted")
        self.reopen()

    def reopen(self) -> None:
        """Open the publisher's folder and keys, as they are now."""
        self.home = load(str(self.folder))
        self.signers: Mapping[str, Signer] = opened_keys(self.home)

    # -- a client ------------------------------------------------------------------------------------------

    def source(self, **more: Any) -> SignedReleases:
        """Return a client, as a new process has it."""
        return SignedReleases(
            TUF(self.root, **more), File(self.shown, interval=1), self.trusted, lambda: self.here
        )

    def look(self, seen: Mapping[str, str] | None = None, **more: Any) -> Offer | None:
        """Look once, as a new process does."""
        return self.source(**more).latest(seen)

    # -- the publisher -------------------------------------------------------------------------------------

    def publish(self, version: str, told: str = "", **more: Any) -> None:
        """Publish another release; `told` is what it says of itself, if that is another version."""
        made = candidate(self.folder, told or version, more=b"#" + os.urandom(2000).hex().encode())
        publish(self.repository(), made, terms(version, **more))

    def repository(self) -> Repository:
        """Open what the publisher writes into."""
        return repository(self.home, signers=self.signers)

    def revoke(self, version: str) -> None:
        """Take a version back."""
        revoke(self.repository(), version)

    def part_root(self) -> None:
        """Have a key for the root alone; the offline one signs releases from now on, and nothing else."""
        uri = f"file:{self.folder}/root.key"
        quick_key(str(self.folder / "root.key"))
        key, work = made_or_known(uri, secret), self.repository()
        work.ring.know(key, uri)
        self.home.with_keys({key.keyid: uri}).save()
        present = work.root()
        wish = roots.Wish(add={"root": [key]}, drop={"root": present.roles["root"].keyids})
        new = Metadata(roots.draft(present, wish, expires=present.expires))
        roots.countersign(present, new, work.ring)
        work.adopt(new)
        self.reopen()

    def rotate(self, which: str) -> None:
        """Replace a key as it is typed, by one that opens at once, and work with the new one."""
        key = self.folder / "keys" / f"{which}-{self.repository().root().version + 1}.key"
        quick_key(str(key))
        typed = ["repo", "-d", str(self.folder), "rotate", which, "--new-key", f"file:{key}"]
        done = CliRunner().invoke(cli, typed, env={"OVERSEER_PASSPHRASE": PASSPHRASE})
        assert done.exit_code == 0, done.output
        self.reopen()

    # -- others --------------------------------------------------------------------------------------------

    def read(self, kind: type, name: str) -> tuple[Path, Metadata[Any]]:
        """Return the newest metadata of a role, and where it is."""
        return newest(self.public, kind, name)

    def sign(self, role: str, metadata: Metadata[Any], path: Path) -> None:
        """Sign as somebody does who has this role's keys."""
        Thief(self, self.public).sign(role, metadata, path)

    def forge(self, targets: bytes) -> None:
        """Have a thief of the online key serve other targets in this very place."""
        Thief(self, self.public).forge(targets)

    def thief(self) -> Thief:
        """Have somebody steal every key of today but the root's, and the server that clients ask."""
        self.shown = self.folder / "shown"
        thief = Thief(self, self.shown)
        thief.take()
        return thief


class Thief:
    """Whoever has the keys that a site has now, and can write into the folder that clients see."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        self.keys = dict(site.signers)
        self.root: Root = site.repository().root()

    def take(self) -> None:
        """Show what the publisher shows, no more."""
        shutil.copytree(self.site.public, self.folder, dirs_exist_ok=True)

    def sign(self, role: str, metadata: Metadata[Any], path: Path) -> None:
        """Sign with the keys that this role had."""
        metadata.signatures.clear()
        for keyid in self.root.roles[role].keyids:
            metadata.sign(self.keys[keyid], append=True)
        metadata.to_file(str(path))

    def forge(self, targets: bytes) -> None:
        """Serve other targets: the online key signs what leads to them."""
        number = newest(self.folder, Targets, "targets")[1].signed.version + 1
        (self.folder / f"{number}.targets.json").write_bytes(targets)
        self.lead(number)

    def hide(self, number: int) -> None:
        """Show older targets as if they were the newest, with fresh dates."""
        self.lead(number)

    def lead(self, number: int) -> None:
        """Sign a snapshot and a timestamp that lead to these targets, higher than any before."""
        _, snapshot = newest(self.folder, Snapshot, "snapshot")
        snapshot.signed.version += 1
        snapshot.signed.meta["targets.json"].version = number
        snapshot.signed.meta["targets.json"].length = snapshot.signed.meta["targets.json"].hashes = None
        path, stamp = newest(self.folder, Timestamp, "timestamp")
        stamp.signed.version += 1
        stamp.signed.snapshot_meta.version = snapshot.signed.version
        stamp.signed.snapshot_meta.length = stamp.signed.snapshot_meta.hashes = None
        snapshot.signed.expires = stamp.signed.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(
            days=30
        )
        self.sign("snapshot", snapshot, self.folder / f"{snapshot.signed.version}.snapshot.json")
        self.sign("timestamp", stamp, path)

    def release(self, version: str, content: bytes = b"", patches: Mapping[str, bytes] | None = None) -> str:
        """Sign a release with the key of releases, and patches to it by what they begin with.

        Returns its digest.
        """
        wanted = terms(version)
        name = wanted.target(".py")
        _, targets = newest(self.folder, Targets, "targets")
        targets.signed.version += 1
        digest = self._add(targets.signed, name, content or program(version), wanted)
        for base, patch in (patches or {}).items():
            self._add(targets.signed, patch_target(name, base), patch, wanted.as_patch(Patch(base, name)))
        self.sign("targets", targets, self.folder / f"{targets.signed.version}.targets.json")
        self.lead(targets.signed.version)
        return digest

    def _add(self, targets: Targets, name: str, data: bytes, wanted: Terms) -> str:
        target = TargetFile.from_data(name, data, ["sha256"])
        target.unrecognized_fields["custom"] = wanted.custom()
        targets.targets[name] = target
        digest = target.hashes["sha256"]
        (self.folder / f"{digest}.{name}").write_bytes(data)
        return digest


def newest(folder: Path, kind: type, name: str) -> tuple[Path, Metadata[Any]]:
    """Return the newest metadata of a role in a folder, and where it is."""
    found = [p for p in folder.iterdir() if p.name.endswith(f"{name}.json")]
    path = max(found, key=lambda p: int("0" + p.name.partition(".")[0].replace(name, "")))
    metadata: Metadata[Any] = Metadata.from_file(str(path))
    assert isinstance(metadata.signed, kind)
    return path, metadata

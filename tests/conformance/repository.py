"""A repository in memory, and its publisher, who signs whatever a test wants signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from overseer.fetcher.offer import Download
from overseer.trust.files import MissingError
from tests.conformance import client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from overseer.fetcher.offer import Partial

TOP = ("root", "targets", "snapshot", "timestamp")
SOON = timedelta(days=30)

SIGNERS = [CryptoSigner.generate_ed25519() for _ in range(12)]
"""Keys for everybody: the first four are those of the top roles, in their order."""


class Shelf:
    """Files by their names, as a server has them; `asked` is what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    def changed(self, name: str) -> bool:
        """Tell that it may have."""
        return bool(name)

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a file."""
        self.asked.append(name)
        if name not in self.files:
            raise MissingError(f"there is no {name}")
        yield self.files[name]

    def download(self, name: str, size: int, partial: Partial | None) -> Download:
        """Begin with a target."""
        del size, partial
        return Download(0, self.read(name))


class Repository:
    """Four roles, a key for each, and what is served; `publish` signs another version of a role."""

    def __init__(self) -> None:
        until = datetime.now(UTC).replace(microsecond=0) + SOON
        self.metadata, self.targets = Shelf(), Shelf()
        self.hashed = False
        self.roles: dict[str, Metadata[Any]] = {
            "root": Metadata(Root(expires=until)),
            "targets": Metadata(Targets(expires=until)),
            "snapshot": Metadata(Snapshot(expires=until)),
            "timestamp": Metadata(Timestamp(expires=until)),
        }
        self.signers: dict[str, list[CryptoSigner]] = {}
        for role, signer in zip(TOP, SIGNERS, strict=False):
            self.roles[role].signed.version = 0
            self.entitle(role, signer)
        self.publish(*TOP)

    def __getitem__(self, role: str) -> Any:
        """Return what a role says."""
        return self.roles[role].signed

    def entitle(self, role: str, *signers: CryptoSigner, threshold: int = 1, by: str = "root") -> None:
        """Let these keys alone sign for a role, from the next version of its delegator on."""
        place = self[by].roles if by == "root" else self[by].delegations.roles
        place[role].keyids.clear()
        for signer in signers:
            self[by].add_key(signer.public_key, role)
        place[role].threshold = threshold
        self.signers[role] = list(signers)

    def publish(self, *roles: str, version: int | None = None) -> None:
        """Sign another version of each role, name it in the one above, and serve it."""
        for role in roles:
            self[role].version = version or self[role].version + 1
            self.serve(role, self.signed(role))

    def renew(self, *roles: str, version: int | None = None) -> None:
        """Publish roles, and snapshot and timestamp after them."""
        self.publish(*roles, version=version)
        self.publish("snapshot", "timestamp")

    def signed(self, role: str) -> bytes:
        """Sign a role as it is."""
        self.roles[role].signatures.clear()
        for signer in self.signers[role]:
            self.roles[role].sign(signer, append=True)
        return self.roles[role].to_bytes()

    def serve(self, role: str, data: bytes) -> None:
        """Serve metadata of a role in its present version, and let snapshot or timestamp know."""
        said = MetaFile.from_data(self[role].version, data, ["sha256"]) if self.hashed else None
        if role == "snapshot":
            self["timestamp"].snapshot_meta = said or MetaFile(self[role].version)
        elif role not in ("root", "timestamp"):
            self["snapshot"].meta[f"{role}.json"] = said or MetaFile(self[role].version)
        self.metadata.files[self.name(role)] = data

    def name(self, role: str) -> str:
        """Return the name of the file that a role is in."""
        flat = role == "timestamp" or (role != "root" and not self["root"].consistent_snapshot)
        file = f"{quote(role, safe='')}.json"
        return file if flat else f"{self[role].version}.{file}"

    def spoil(self, role: str, **fields: Any) -> None:
        """Change what is served of a role after it was signed."""
        told = json.loads(self.metadata.files[self.name(role)])
        told["signed"].update(fields)
        self.metadata.files[self.name(role)] = json.dumps(told).encode()

    def add(
        self, path: str, data: bytes, *, role: str = "targets", hashes: tuple[str, ...] = ("sha256",)
    ) -> None:
        """Have a role sign a target, from its next version on, and serve it."""
        target = TargetFile.from_data(path, data, list(hashes))
        self[role].targets[path] = target
        folder, slash, name = path.rpartition("/")
        for digest in target.hashes.values():
            self.targets.files[f"{folder}{slash}{digest}.{name}"] = data

    def delegate(
        self, role: str, *paths: str, by: str = "targets", terminating: bool = False, prefixes: Any = None
    ) -> None:
        """Leave names to another role, which has a key of its own."""
        if self[by].delegations is None:
            self[by].delegations = Delegations({}, {})
        patterns = list(paths) if prefixes is None else None
        self[by].delegations.roles[role] = DelegatedRole(
            role, [], 1, terminating, paths=patterns, path_hash_prefixes=prefixes
        )
        if role not in self.roles:
            self.roles[role] = Metadata(Targets(expires=self["targets"].expires))
            self[role].version = 0
        spare = SIGNERS[len(self.signers) % len(SIGNERS)]
        self.entitle(role, *self.signers.get(role, [spare]), by=by)

    def expire(self, role: str) -> None:
        """Let a role's signature be too old, from its next version on."""
        self[role].expires = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


class Client:
    """The three verbs, in a folder, against a repository."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        self.folder, self.into, self.repository = folder / "trusted", folder / "targets", repository
        self.folder.mkdir()
        self.into.mkdir()
        self.init(repository.metadata.files["1.root.json"])

    def init(self, root: bytes) -> None:
        """Trust a root."""
        path = self.folder.parent / "root.json"
        path.write_bytes(root)
        client.init(str(self.folder), str(path))

    def refresh(self) -> None:
        """Look at the repository; raises what a service would tell."""
        self.repository.metadata.asked.clear()
        client.refresh(self.repository.metadata, str(self.folder))

    def download(self, path: str) -> bytes:
        """Bring a target."""
        self.repository.metadata.asked.clear()
        self.repository.targets.asked.clear()
        shelves = self.repository.metadata, self.repository.targets
        client.download(shelves[0], str(self.folder), shelves[1], path, str(self.into))
        return (self.into / quote(path, safe="")).read_bytes()

    @property
    def trusted(self) -> dict[str, int]:
        """The versions that are trusted, by role."""
        files = {path.stem: path for path in self.folder.glob("*.json")}
        return {role: json.loads(path.read_bytes())["signed"]["version"] for role, path in files.items()}

    @property
    def asked(self) -> list[str]:
        """What was asked for at the last verb, except for the next root and the timestamp."""
        names = self.repository.metadata.asked
        return [name for name in names if not name.endswith(("root.json", "timestamp.json"))]

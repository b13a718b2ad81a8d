"""A publisher to work with, and journeys of it that can be interrupted anywhere.

Run as a program it makes one journey, so that strace may kill it at a system call:

    python -m tests.contract.publishing JOURNEY FOLDER
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.contract.stand_in import program
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import Updater

from overseer.errors import PublishError
from overseer.publish import roots
from overseer.publish.audit import _Fetcher, audit
from overseer.publish.candidate import Candidate, examine
from overseer.publish.founding import found, made_or_known
from overseer.publish.home import Home, load
from overseer.publish.places import Folder, Place
from overseer.publish.publisher import publish, revoke
from overseer.publish.releases import released, whole
from overseer.publish.repository import Repository
from overseer.trust.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from securesystemslib.signer import Signer

PASSPHRASE = "correct horse"


def secret(what: str) -> str:
    """Answer every question for a passphrase."""
    del what
    return PASSPHRASE


def quick_key(path: str) -> None:
    """Make a key as ssh-keygen does, but one that opens at once: bcrypt is slow by design."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", PASSPHRASE, "-C", "", "-f", path]
    subprocess.run(command, check=True)


def new_home(folder: str, *, name: str = "app", place: str = "public") -> Home:
    """Make a publisher's folder with its keys; nothing is published yet."""
    os.makedirs(folder, exist_ok=True)
    for key in ("offline", "online"):
        quick_key(os.path.join(folder, "keys", f"{key}.key"))
    home = Home(folder=folder, name=name, place=place)
    return found(home, "file:keys/offline.key", "file:keys/online.key", secret, now=datetime.now(UTC))


def repository(
    home: Home, place: Place | None = None, signers: Mapping[str, Signer] | None = None
) -> Repository:
    """Open a publisher; `signers` spares it the opening of its keys, which is slow by design."""
    opened = Repository(home, secret, place=place)
    opened.ring._signers.update(signers or {})
    return opened


def opened_keys(home: Home) -> dict[str, Signer]:
    """Open all keys of a publisher."""
    opened = Repository(home, secret)
    known = dict(Metadata[Root].from_bytes(opened._trusted()).signed.keys)
    if os.path.exists(spare := os.path.join(home.folder, "next.key")):
        opened.ring.know(key := made_or_known(f"file:{spare}", secret), f"file:{spare}")
        known[key.keyid] = key
    return {keyid: opened.ring.signer(key) for keyid, key in known.items()}


def candidate(
    folder: Path | str, version: str, *, more: bytes = b"", name: str = "app.py", run: bool = False
) -> Candidate:
    """Make a release."""
    path = os.path.join(folder, f"{version}-{name}")
    with open(path, "wb") as file:
        file.write(program(version) + more)
    return examine(path, run=run)


def terms(version: str, **more: Any) -> Terms:
    """Say what is wanted of a release."""
    return Terms(name="app", version=version, **more)


# -- journeys ----------------------------------------------------------------------------------------------


def begin(work: Repository, folder: str) -> None:
    """Publish the first, empty state."""
    del folder
    work.begin()


def publish_one(work: Repository, folder: str) -> None:
    """Publish a second release."""
    publish(work, candidate(folder, "2.0", more=b"#" * 9000), terms("2.0"))


def renew(work: Repository, folder: str) -> None:
    """Sign the timestamp and the snapshot anew."""
    del folder
    work.renew(snapshot=True)


def take_back(work: Repository, folder: str) -> None:
    """Revoke the only release."""
    del folder
    if whole(released(work.look().targets)):
        revoke(work, "1.0")


def rotate(work: Repository, folder: str) -> None:
    """Have another online key: the root says so, and what the old one signed is signed anew."""
    present = work.root()
    if present.version > 1:
        return
    uri = f"file:{folder}/next.key"
    key = made_or_known(uri, secret)
    work.ring.know(key, uri)
    gone = present.roles["timestamp"].keyids
    roles = ("snapshot", "timestamp")
    wish = roots.Wish(add=dict.fromkeys(roles, [key]), drop=dict.fromkeys(roles, gone))  # noqa: RUF024
    new = Metadata(roots.draft(present, wish, expires=present.expires))
    roots.countersign(present, new, work.ring)
    work.adopt(new)


JOURNEYS: dict[str, tuple[Callable[[Repository, str], None], set[str]]] = {
    "begin": (begin, set()),
    "publish_one": (publish_one, {"1.0", "2.0"}),
    "renew": (renew, {"1.0"}),
    "take_back": (take_back, set()),
    "rotate": (rotate, {"1.0"}),
}
"""Each with the versions that are published at its end."""


def prepared(name: str, template: str, folder: str) -> None:
    """Have a publisher in a folder: one that has published version 1.0, or nothing yet."""
    shutil.copytree(os.path.join(template, "empty" if name == "begin" else "one"), folder)


def make_template(folder: str) -> str:
    """Make what journeys begin with, once."""
    home = new_home(os.path.join(folder, "empty"))
    shutil.copytree(home.folder, os.path.join(folder, "one"))
    quick_key(f"{folder}/one/next.key")
    work = repository(load(os.path.join(folder, "one")), signers=opened_keys(home))
    work.begin()
    publish(work, candidate(folder, "1.0"), terms("1.0"))
    return folder


@cache
def _root_of(folder: str) -> bytes:
    with open(os.path.join(folder, "root.json"), "rb") as file:
        return file.read()


class Client:
    """Somebody who keeps what he trusts, and refreshes again and again."""

    def __init__(self, folder: str, place: Place, root: bytes) -> None:
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.place = place
        self.root = root

    def refresh(self) -> set[str]:
        """Refresh, and return the versions that are there; every file that is signed must be there whole."""
        client = Updater(self.folder, "place:", fetcher=_Fetcher(self.place), bootstrap=self.root)
        client.refresh()
        targets = client._trusted_set.targets
        for each in released({"targets": targets}):
            assert self.place.size(each.file) == each.length, each
        return {each.terms.version for each in whole(released({"targets": targets}))}


def judge(name: str, folder: str, client: Client, where: str) -> set[str]:
    """See that a client can refresh, to the state before or the one after, and that nothing is missing."""
    if name == "begin" and not client.place.size("timestamp.json"):
        return set()
    seen = client.refresh()
    before, after = ({"1.0"} if name != "begin" else set()), JOURNEYS[name][1]
    assert seen in (before, after), f"{where}: {seen} are published"
    found = audit(client.place, _root_of(folder), within=1, deep=True)
    assert not found.problems, f"{where}: {found.problems}"
    return seen


def finish(name: str, folder: str, client: Client, work: Repository, where: str) -> None:
    """Make the journey again, whole, and see that it arrives and leaves nothing behind."""
    JOURNEYS[name][0](work, folder)
    assert judge(name, folder, client, f"{where}, then again") == JOURNEYS[name][1], where
    left = [each for each in os.listdir(os.path.join(folder, "public")) if each.endswith(".tmp")]
    assert not left, f"{where}: {left} are left"


def travel(name: str, folder: str, signers: Mapping[str, Signer] | None = None) -> int:
    """Make a journey; return the exit status: 3 for an error of ours."""
    try:
        JOURNEYS[name][0](repository(load(folder), signers=signers), folder)
    except (PublishError, OSError):
        return 3
    return 0


def place_of(folder: str) -> Folder:
    """Return where the publisher of a folder publishes."""
    return Folder(os.path.join(folder, "public"))


if __name__ == "__main__":
    sys.exit(travel(sys.argv[1], sys.argv[2]))

"""A machine without cryptography: Ed25519 is verified, and what is not is said to be not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner

from tests.conformance.repository import Client, Repository

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WITHOUT = """
import sys

sys.modules["cryptography"] = sys.modules["nacl"] = None  # as if they were not installed
from overseer.trust.client import refresh
from overseer.trust.files import Folder
from overseer.errors import OverseerError
public, trusted, root = sys.argv[1:]
try:
    refresh(Folder(public), trusted, open(root, "rb").read())
except OverseerError as error:
    sys.exit(str(error))
"""


def look(folder: Path, repository: Repository) -> subprocess.CompletedProcess[str]:
    """Refresh once on such a machine."""
    public = folder / "public"
    public.mkdir(exist_ok=True)
    for name, data in repository.metadata.files.items():
        (public / name).write_bytes(data)
    (folder / "first.json").write_bytes(repository.metadata.files["1.root.json"])
    command = [
        sys.executable,
        "-c",
        WITHOUT,
        str(public),
        str(folder / "without"),
        str(folder / "first.json"),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.long
def test_ed25519_needs_nothing(repository: Repository, tmp_path: Path) -> None:
    """It is verified in Python alone; a wrong signature is seen."""
    done = look(tmp_path, repository)
    assert (done.returncode, done.stderr) == (0, "")
    repository.publish("timestamp")
    repository.spoil("timestamp", extra="field")
    done = look(tmp_path, repository)
    assert done.returncode == 1
    assert "timestamp was signed by 0/1 keys" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("make", [CryptoSigner.generate_rsa, CryptoSigner.generate_ecdsa])
@pytest.mark.parametrize("role", ["root", "timestamp"])
def test_rsa_and_ecdsa_want_cryptography(
    repository: Repository, tmp_path: Path, make: Callable[[], CryptoSigner], role: str
) -> None:
    """One sentence says so, and nothing is believed; with it installed, the same is good."""
    signer = make()
    old = repository.signers[role]
    repository.entitle(role, signer)
    if role == "root":
        repository.signers["root"] = [*old, signer]
    repository.publish("root")
    repository.renew("targets")
    done = look(tmp_path, repository)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{role} was signed by 0/1 keys" in done.stderr
    assert "for RSA and ECDSA install cryptography" in done.stderr
    assert not (tmp_path / "without" / "timestamp.json").exists()
    Client(tmp_path, repository).refresh()


@pytest.mark.long
def test_one_key_that_can_be_verified_is_enough_where_one_is(repository: Repository, tmp_path: Path) -> None:
    """A role that an RSA key signs beside an Ed25519 key is for every machine."""
    repository.entitle("timestamp", CryptoSigner.generate_rsa(), *repository.signers["timestamp"])
    repository.publish("root", "timestamp")
    done = look(tmp_path, repository)
    assert (done.returncode, done.stderr) == (0, "")

"""Signatures: of enough of those who may, each counted once (TUF specification 4.2, 5.4 to 5.6)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from securesystemslib.signer import CryptoSigner

from overseer.errors import FetchError
from tests.conformance.repository import SIGNERS

if TYPE_CHECKING:
    from tests.conformance.repository import Client, Repository

SPARE = SIGNERS[4:]
ROLES = ("timestamp", "snapshot", "targets")


def told(repository: Repository, role: str) -> Any:
    """Return what is served of a role."""
    return json.loads(repository.metadata.files[repository.name(role)])


def serve(repository: Repository, role: str, what: Any) -> None:
    """Serve something else in the place of a role."""
    repository.metadata.files[repository.name(role)] = json.dumps(what).encode()


@pytest.mark.parametrize("role", ROLES)
def test_metadata_that_somebody_else_has_signed_is_refused(
    client: Client, repository: Repository, role: str
) -> None:
    """What was verified before it is kept, nothing after it is asked for."""
    repository.signers[role] = [SPARE[0]]
    repository.renew("targets")
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.refresh()
    assert client.trusted == {"root": 1, **dict.fromkeys(ROLES[: ROLES.index(role)], 2)}


@pytest.mark.parametrize("role", ROLES)
def test_metadata_that_was_changed_is_refused(client: Client, repository: Repository, role: str) -> None:
    """One field is enough."""
    repository.spoil(role, extra="field")
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.refresh()
    assert role not in client.trusted


@pytest.mark.parametrize("role", ROLES)
def test_as_many_sign_as_must(client: Client, repository: Repository, role: str) -> None:
    """Two of three, whichever; one is too few, and so are two when one is of somebody else."""
    repository.entitle(role, *SPARE[:3], threshold=2)
    repository.publish("root")
    for signers in (SPARE[:2], SPARE[1:3], [SPARE[2], SPARE[0], SPARE[5]]):
        repository.signers[role] = signers
        repository.renew("targets")
        client.refresh()
    for signers in ([SPARE[1]], [SPARE[1], SPARE[5]]):
        repository.signers[role] = signers
        repository.renew("targets")
        with pytest.raises(FetchError, match="not signed by those we trust"):
            client.refresh()
    assert client.trusted[role] == 4


def test_a_threshold_that_cannot_be_met_is_not_met(client: Client, repository: Repository) -> None:
    """More signatures than keys are wanted."""
    repository.entitle("snapshot", SPARE[0], threshold=1)
    repository["root"].roles["snapshot"].threshold = 2
    repository.publish("root", "snapshot", "timestamp")
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.refresh()
    assert client.trusted == {"root": 2, "timestamp": 2}


def test_a_signature_counts_once(client: Client, repository: Repository) -> None:
    """Twice that of one key is refused, where one is too few and also where one is enough (4.2)."""
    for threshold in (1, 2):
        repository.entitle("timestamp", SPARE[0], SPARE[1], threshold=threshold)
        repository.publish("root")
        repository.signers["timestamp"] = [SPARE[0]]
        repository.publish("timestamp")
        twice = told(repository, "timestamp")
        twice["signatures"] *= 2
        serve(repository, "timestamp", twice)
        with pytest.raises(FetchError, match="refused"):
            client.refresh()
        assert "timestamp" not in client.trusted


def test_a_key_counts_once(client: Client, repository: Repository) -> None:
    """A root that names one key twice for a role is refused."""
    repository["root"].roles["snapshot"].keyids *= 2
    repository.publish("root")
    with pytest.raises(FetchError, match="refused"):
        client.refresh()
    assert client.trusted == {"root": 1}


@pytest.mark.parametrize("sig", ["", "00" * 64, "no hexadecimal", "é"])
def test_a_signature_that_is_none_does_not_spoil_those_that_are(
    client: Client, repository: Repository, sig: str
) -> None:
    """There are enough without it."""
    repository.entitle("timestamp", SPARE[0], SPARE[1])
    repository.publish("root", "timestamp")
    served = told(repository, "timestamp")
    served["signatures"][0]["sig"] = sig
    served["signatures"].append({"keyid": "0" * 64, "sig": sig})
    serve(repository, "timestamp", served)
    client.refresh()
    assert client.trusted["timestamp"] == 2


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [
        ("ed25519", "ed25519"),
        ("ecdsa", "ecdsa-sha2-nistp256"),
        ("rsa", "rsassa-pss-sha256"),
        ("rsa", "rsa-pkcs1v15-sha256"),
    ],
)
def test_keys_of_every_kind_of_the_specification_count(
    client: Client, repository: Repository, kind: str, scheme: str
) -> None:
    """Where cryptography is installed: true signatures do, false ones do not."""
    make = getattr(CryptoSigner, f"generate_{kind}")
    signer = make(scheme=scheme) if kind == "rsa" else make()
    repository.entitle("timestamp", signer)
    repository.publish("root", "timestamp")
    client.refresh()
    repository.publish("timestamp")
    served = told(repository, "timestamp")
    sig = served["signatures"][0]["sig"]
    served["signatures"][0]["sig"] = sig[:-2] + f"{int(sig[-2:], 16) ^ 1:02x}"
    serve(repository, "timestamp", served)
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.refresh()
    assert client.trusted == {"root": 2, "timestamp": 2, "snapshot": 1, "targets": 1}


def test_a_key_that_was_taken_away_counts_no_more(client: Client, repository: Repository) -> None:
    """From the root on that has it no more."""
    client.refresh()
    gone = repository.signers["targets"]
    repository.entitle("targets", SPARE[0])
    repository.publish("root")
    repository.signers["targets"] = gone
    repository.renew("targets")
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.refresh()


def test_a_role_does_not_sign_for_another_one(client: Client, repository: Repository) -> None:
    """A snapshot in the place of a timestamp, well signed by a key of both, is of the wrong type."""
    repository.entitle("snapshot", *repository.signers["timestamp"])
    repository.publish("root", "snapshot")
    repository.metadata.files["timestamp.json"] = repository.metadata.files["2.snapshot.json"]
    with pytest.raises(FetchError, match="refused"):
        client.refresh()
    assert client.trusted == {"root": 2}

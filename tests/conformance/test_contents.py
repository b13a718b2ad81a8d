"""What metadata may have in it, how long it may be, and what is kept of it (TUF specification 4 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from overseer.errors import FetchError

if TYPE_CHECKING:
    from tests.conformance.repository import Client, Repository

ROLES = ("timestamp", "snapshot", "targets")


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_digests_of_metadata_are_compared(client: Client, repository: Repository, role: str) -> None:
    """Where they are given, other bytes are refused, be they well signed."""
    repository.hashed = True
    repository.renew("targets")
    client.refresh()
    repository.renew("targets")
    repository.metadata.files[repository.name(role)] = repository.signed(role) + b" "
    with pytest.raises(FetchError, match=r"refused|cannot be had"):
        client.refresh()
    assert client.trusted[role] == 2


def test_lengths_of_metadata_are_kept_to(client: Client, repository: Repository) -> None:
    """Longer than it was said, it is not read to its end."""
    repository.hashed = True
    repository.renew("targets")
    repository["snapshot"].meta["targets.json"].length -= 1
    repository.renew()
    with pytest.raises(FetchError, match="cannot be had"):
        client.refresh()
    assert "targets" not in client.trusted


@pytest.mark.parametrize("role", ["root", *ROLES])
def test_metadata_without_a_length_has_bounds(client: Client, repository: Repository, role: str) -> None:
    """Endless data are cut off (5.3.3, 5.4.1, 5.5.1, 5.6.1)."""
    repository.publish("root")
    repository.metadata.files[repository.name(role)] = b" " * 6_000_000
    with pytest.raises(FetchError, match="cannot be had"):
        client.refresh()


@pytest.mark.parametrize("role", ROLES)
def test_missing_metadata_is_an_alarm(client: Client, repository: Repository, role: str) -> None:
    """What came before it is trusted, and what was trusted before stays."""
    client.refresh()
    repository.renew("targets")
    del repository.metadata.files[repository.name(role)]
    with pytest.raises(FetchError, match="cannot be had"):
        client.refresh()
    new = ROLES[: ROLES.index(role)]
    assert client.trusted == {"root": 1, **{each: 2 if each in new else 1 for each in ROLES}}


def test_fields_that_nobody_knows_are_signed_as_well(client: Client, repository: Repository) -> None:
    """They are left alone, and count for digests and signatures (4)."""
    root = repository["root"]
    root.unrecognized_fields["x-colour"] = "blue"
    root.roles["root"].unrecognized_fields["x-more"] = {"a": [1, None]}
    root.keys[root.roles["root"].keyids[0]].unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    for role in ROLES:
        repository[role].unrecognized_fields["x-colour"] = {"deep": {"deeper": True}}
    repository.publish("root")
    repository.renew("targets")
    client.refresh()
    assert client.trusted == {"root": 2, "timestamp": 2, "snapshot": 2, "targets": 2}
    repository.publish("timestamp")
    repository.spoil("timestamp", **{"x-colour": "green"})
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.refresh()


def test_what_is_kept_is_what_came(client: Client, repository: Repository) -> None:
    """Byte for byte: digests are taken of it later."""
    repository.metadata.files["timestamp.json"] += b" \n"
    client.refresh()
    for role in ROLES:
        kept = (client.folder / f"{role}.json").read_bytes()
        assert kept == repository.metadata.files[repository.name(role)]


@pytest.mark.parametrize(
    ("version", "good"), [("1.0.0", True), ("1.99", True), ("2.0.0", False), ("x", False)]
)
def test_the_major_version_of_the_specification_counts(
    client: Client, repository: Repository, version: str, *, good: bool
) -> None:
    """Of another one nothing is known (4.3)."""
    repository["timestamp"].spec_version = version
    repository.publish("timestamp")
    if good:
        client.refresh()
    else:
        with pytest.raises(FetchError, match="refused"):
            client.refresh()
    assert ("timestamp" in client.trusted) is good


def test_files_may_be_without_versions_in_their_names(client: Client, repository: Repository) -> None:
    """Where the root says that there are no consistent snapshots; root alone has always one (6)."""
    repository["root"].consistent_snapshot = False
    repository.publish("root")
    repository.add("app", b"content")
    repository.renew("targets")
    repository.targets.files["app"] = b"content"
    client.refresh()
    assert client.asked == ["snapshot.json", "targets.json"]
    assert client.download("app") == b"content"
    assert repository.targets.asked == ["app"]


def test_nothing_is_left_lying_about(client: Client, repository: Repository) -> None:
    """Neither after a good look nor after one that was refused."""
    client.refresh()
    repository.renew("targets")
    repository.spoil("targets", extra="field")
    with pytest.raises(FetchError):
        client.refresh()
    kept = {path.name for path in client.folder.iterdir()}
    assert kept == {"anchor", "floor", "root_history", "root.json", *(f"{role}.json" for role in ROLES)}


@pytest.mark.parametrize("role", ["root", *ROLES])
def test_a_refusal_does_not_last(client: Client, repository: Repository, role: str) -> None:
    """Whatever was shown in between: when the repository is sound again, updates go on (5)."""
    client.refresh()
    repository.publish("root")
    repository.renew("targets")
    sound = dict(repository.metadata.files)
    for evil in (b"", b"{}", sound[repository.name(role)][:-9], b"[" * 5000):
        repository.metadata.files = {**sound, repository.name(role): evil}
        with pytest.raises(FetchError):
            client.refresh()
    repository.metadata.files = sound
    client.refresh()
    assert client.trusted == {"root": 2, **dict.fromkeys(ROLES, 2)}

"""Versions and expiry: nothing goes back, nothing stays for ever (TUF specification 5.3.11, 5.4 to 5.6)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from overseer.errors import FetchError
from tests.conformance.repository import SIGNERS

if TYPE_CHECKING:
    from tests.conformance.repository import Client, Repository

OTHER, ANOTHER = SIGNERS[4:6]


def test_a_timestamp_of_before_is_refused(client: Client, repository: Repository) -> None:
    """What was trusted last stays."""
    repository.publish("timestamp")
    client.refresh()
    repository.publish("timestamp", version=1)
    with pytest.raises(FetchError, match="older state"):
        client.refresh()
    assert client.trusted["timestamp"] == 2


def test_the_same_version_with_other_contents_is_not_taken(client: Client, repository: Repository) -> None:
    """And no alarm: nothing is new (5.4.3.1)."""
    client.refresh()
    before = (client.folder / "timestamp.json").read_bytes()
    repository["timestamp"].snapshot_meta.version = 100
    repository.publish("timestamp", version=1)
    client.refresh()
    assert (client.folder / "timestamp.json").read_bytes() == before


@pytest.mark.parametrize("hashed", [False, True])
def test_a_snapshot_of_before_is_refused(client: Client, repository: Repository, *, hashed: bool) -> None:
    """Also when the timestamp that names it is a new one."""
    repository.hashed = hashed
    repository.renew()
    client.refresh()
    repository.publish("snapshot", version=1)
    repository.publish("timestamp")
    with pytest.raises(FetchError, match="older state"):
        client.refresh()
    assert client.trusted == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 1}


@pytest.mark.parametrize("hashed", [False, True])
def test_targets_of_before_are_refused(client: Client, repository: Repository, *, hashed: bool) -> None:
    """Also when the snapshot that names them is a new one."""
    repository.hashed = hashed
    repository.renew("targets")
    client.refresh()
    repository.renew("targets", version=1)
    with pytest.raises(FetchError, match="older state"):
        client.refresh()
    assert client.trusted["targets"] == 2


def test_a_snapshot_does_not_leave_out_what_it_had(client: Client, repository: Repository) -> None:
    """A team whose metadata was there once does not vanish (5.5.5)."""
    repository.delegate("team", "team-*")
    repository.renew("targets", "team")
    client.refresh()
    del repository["snapshot"].meta["team.json"]
    repository.renew()
    with pytest.raises(FetchError, match="refused"):
        client.refresh()
    assert client.trusted["snapshot"] == 2


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_a_file_has_the_version_that_was_named(client: Client, repository: Repository, role: str) -> None:
    """Neither more nor less than the role above has said."""
    repository[role].version += 1
    data = repository.signed(role)
    repository[role].version -= 1
    repository.metadata.files[f"1.{role}.json"] = data
    with pytest.raises(FetchError, match="refused"):
        client.refresh()
    assert role not in client.trusted


def test_metadata_that_nobody_names_is_not_asked_for(client: Client, repository: Repository) -> None:
    """New targets are there when a snapshot says so."""
    client.refresh()
    repository.publish("targets")
    client.refresh()
    assert client.trusted["targets"] == 1
    assert client.asked == []


def test_what_has_not_changed_is_not_asked_for_again(client: Client, repository: Repository) -> None:
    """The first look asks for each once; the second for the next root and the timestamp."""
    client.refresh()
    assert repository.metadata.asked == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    client.refresh()
    assert repository.metadata.asked == ["2.root.json", "timestamp.json"]


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_expired_metadata_is_refused(client: Client, repository: Repository, role: str) -> None:
    """And what is trusted of that role stays what it was."""
    client.refresh()
    repository.expire(role)
    repository.renew("targets")
    with pytest.raises(FetchError, match="have expired"):
        client.refresh()
    assert client.trusted[role] == 1


def test_metadata_that_expired_here_leads_to_newer(client: Client, repository: Repository) -> None:
    """Who was away for long compares with what he has, however old it is."""
    until = repository["timestamp"].expires
    for role in ("timestamp", "snapshot", "targets"):
        repository.expire(role)
    repository.renew("targets")
    with pytest.raises(FetchError, match="have expired"):
        client.refresh()
    for role in ("timestamp", "snapshot", "targets"):
        repository[role].expires = until
    repository.renew("targets")
    client.refresh()
    assert client.trusted == {"root": 1, "timestamp": 3, "snapshot": 3, "targets": 3}


def test_a_timestamp_that_was_driven_up_is_forgotten_with_its_key(
    client: Client, repository: Repository
) -> None:
    """Fast-forward: until then nothing is believed (5.3.11)."""
    repository.publish("timestamp", version=2**31)
    client.refresh()
    repository.publish("timestamp", version=2)
    with pytest.raises(FetchError, match="older state"):
        client.refresh()
    repository.entitle("timestamp", OTHER)
    repository.publish("root")
    repository.publish("timestamp", version=2)
    client.refresh()
    assert client.trusted["timestamp"] == 2


def test_a_snapshot_that_was_driven_up_is_forgotten_with_both_keys(
    client: Client, repository: Repository
) -> None:
    """That of the timestamp, which names it, is replaced with it."""
    repository.publish("snapshot", version=2**31)
    repository.publish("timestamp")
    client.refresh()
    repository.entitle("snapshot", OTHER)
    repository.entitle("timestamp", ANOTHER)
    repository.publish("root")
    repository.publish("snapshot", version=2)
    repository.publish("timestamp")
    client.refresh()
    assert client.trusted["snapshot"] == 2


def test_targets_that_were_driven_up_are_forgotten_with_the_key_of_the_snapshot(
    client: Client, repository: Repository
) -> None:
    """It is the snapshot that has named them; our own floor must not outlive it."""
    repository.renew("targets", version=2**31)
    repository["snapshot"].version = repository["timestamp"].version = 2
    repository.publish("snapshot", "timestamp")
    client.refresh()
    repository.entitle("snapshot", OTHER)
    repository.publish("root")
    repository.publish("targets", version=2)
    repository.publish("snapshot", version=2**31 + 1)
    repository.publish("timestamp", version=2**31 + 1)
    client.refresh()
    assert client.trusted["targets"] == 2


def test_a_floor_that_a_disk_has_spoiled_is_made_anew(client: Client) -> None:
    """What is no floor does not count, and is no end of all updates."""
    client.refresh()
    for spoilt in (b"", b"[]", b'{"root": 5}', b'{"root": ["x", "y"]}', b"\xff", b"[" * 100000):
        (client.folder / "floor").write_bytes(spoilt)
        client.refresh()
        assert json.loads((client.folder / "floor").read_bytes())["timestamp"][0] == 1


@pytest.mark.parametrize("version", [0, -1, 1.5, "2", [], float("nan")])
def test_a_version_is_a_whole_number(client: Client, repository: Repository, version: object) -> None:
    """Anything else is refused before it is compared with one."""
    client.refresh()
    repository.spoil("timestamp", version=version)
    with pytest.raises(FetchError, match="refused"):
        client.refresh()
    assert client.trusted["timestamp"] == 1

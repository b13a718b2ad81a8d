"""Roots: followed one by one, each signed by the one before and by itself (TUF specification 5.3)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from overseer.errors import ConfigError, FetchError
from tests.conformance.repository import SIGNERS

if TYPE_CHECKING:
    from tests.conformance.repository import Client, Repository

SPARE = SIGNERS[4:]


def hand_over(repository: Repository, *new: Any, threshold: int = 1, signed_by: Any = None) -> None:
    """Publish a root with other keys; by default the old ones and the new ones sign it."""
    old = repository.signers["root"]
    repository.entitle("root", *new, threshold=threshold)
    repository.signers["root"] = [*{id(each): each for each in (*old, *new)}.values()]
    if signed_by is not None:
        repository.signers["root"] = signed_by
    repository.publish("root")
    repository.signers["root"] = list(new)


def test_a_chain_of_roots_is_followed_to_its_end(client: Client, repository: Repository) -> None:
    """A key at a time, and several versions at one look."""
    for signer in SPARE[:4]:
        hand_over(repository, signer)
    client.refresh()
    assert client.trusted["root"] == 5


def test_all_keys_may_change_at_once(client: Client, repository: Repository) -> None:
    """When the threshold of both is met: three new ones for one old one."""
    hand_over(repository, *SPARE[:3], threshold=3)
    hand_over(repository, *SPARE[3:6], threshold=2)
    client.refresh()
    assert client.trusted["root"] == 3


@pytest.mark.parametrize("who", ["old", "new", "strangers"])
def test_a_root_that_only_one_side_has_signed_is_refused(
    client: Client, repository: Repository, who: str
) -> None:
    """Neither those who leave nor those who come can do it alone; what was trusted stays."""
    signers = {"old": repository.signers["root"], "new": [SPARE[0]], "strangers": SPARE[1:4]}
    hand_over(repository, SPARE[0], signed_by=signers[who])
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.refresh()
    assert client.trusted == {"root": 1}


def test_a_higher_threshold_counts_for_the_root_that_brings_it(
    client: Client, repository: Repository
) -> None:
    """One signature of two is not enough for it."""
    old = repository.signers["root"][0]
    hand_over(repository, old, SPARE[0], threshold=2, signed_by=[old])
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.refresh()


def test_a_lower_threshold_counts_from_the_next_root_on(client: Client, repository: Repository) -> None:
    """The one that lowers it needs as many signatures as before."""
    hand_over(repository, *SPARE[:2], threshold=2)
    hand_over(repository, *SPARE[:2], threshold=1, signed_by=[SPARE[0]])
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.refresh()
    assert client.trusted["root"] == 2


def test_no_root_is_left_out(client: Client, repository: Repository) -> None:
    """What cannot be reached through the next version is not there."""
    repository.publish("root")
    repository.publish("root")
    del repository.metadata.files["2.root.json"]
    client.refresh()
    assert client.trusted["root"] == 1


@pytest.mark.parametrize("version", [1, 3])
def test_a_root_has_the_version_of_its_name(client: Client, repository: Repository, version: int) -> None:
    """An older or a later one in the next one's place is refused."""
    repository["root"].version = version
    repository.metadata.files["2.root.json"] = repository.signed("root")
    with pytest.raises(FetchError, match="refused"):
        client.refresh()
    assert client.trusted == {"root": 1}


def test_an_expired_root_leads_to_the_next_one(client: Client, repository: Repository) -> None:
    """Who was away for long follows them all: only the last one must not be too old."""
    before = repository["root"].expires
    repository.expire("root")
    repository.publish("root")
    repository["root"].expires = before
    repository.publish("root")
    client.refresh()
    assert client.trusted["root"] == 3


def test_an_expired_last_root_is_kept_and_nothing_after_it_is(client: Client, repository: Repository) -> None:
    """It is a root, and it is too old to say who signs the rest (5.3.10)."""
    repository.expire("root")
    repository.publish("root")
    with pytest.raises(FetchError, match="have expired"):
        client.refresh()
    assert client.trusted == {"root": 2}


def test_the_first_root_must_be_signed_too(client: Client, repository: Repository) -> None:
    """It came with the program; what was changed in it since is seen, before anything is asked for."""
    told = json.loads(repository.metadata.files["1.root.json"])
    told["signed"]["expires"] = "2999-01-01T00:00:00Z"
    client.init(json.dumps(told).encode())
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.refresh()
    assert repository.metadata.asked == []


def test_what_is_no_root_cannot_be_trusted_first(client: Client, repository: Repository) -> None:
    """Other metadata is refused at once; a root without a version before anything is asked for."""
    with pytest.raises(ConfigError, match="no root metadata"):
        client.init(repository.metadata.files["timestamp.json"])
    told = json.loads(repository.metadata.files["1.root.json"])
    del told["signed"]["version"]
    client.init(json.dumps(told).encode())
    with pytest.raises(FetchError, match="refused"):
        client.refresh()
    assert repository.metadata.asked == []


def test_the_roots_of_before_need_not_be_there_any_more(client: Client, repository: Repository) -> None:
    """They were followed once, and are kept."""
    repository.publish("root")
    client.refresh()
    del repository.metadata.files["2.root.json"]
    client.refresh()
    assert client.trusted["root"] == 2


def test_a_root_that_was_put_into_the_folder_is_verified(client: Client, repository: Repository) -> None:
    """Who can write there cannot make himself a root; the true one is asked for instead."""
    repository.publish("root")
    client.refresh()
    (client.folder / "root_history" / "2.root.json").write_bytes(repository.metadata.files["timestamp.json"])
    client.refresh()
    assert client.trusted["root"] == 2

"""A release that comes as a patch: verified before it is applied, and given up for the whole on any fault."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.contract.stand_in import Told, content_of, digest, installed, opened, program

from overseer.errors import FetchError
from overseer.fetcher import Download, Offer
from overseer.fetcher.offer import PatchOffer
from overseer.publish.compress import compress
from overseer.updater import zstd
from overseer.updater.stage import Refused, Staged, Terms, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from overseer.store import Store

OLD = program("1.0") + b"\n#" + os.urandom(30_000).hex().encode()
NEW = OLD.replace(b"'1.0'", b"'2.0'")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Have a store with the old release in it."""
    with opened(installed(tmp_path, OLD)) as made:
        yield made


class Source:
    """A source that counts what is asked of it."""

    def __init__(self) -> None:
        self.whole = 0
        self.patches = 0

    def offer(self, patch: bytes, **wrong: Any) -> Offer:
        """Offer the new release, and a patch; `wrong` is what is said of it that is not so."""
        told = PatchOffer(
            base=digest(OLD), digest=digest(patch), size=len(patch), open=lambda: self._patch(patch)
        )
        return Offer(
            seen={"etag": digest(NEW)},
            open=lambda _: self._whole(),
            digest=digest(NEW),
            size=len(NEW),
            patches=(replace(told, **wrong),),
        )

    def _whole(self) -> Download:
        self.whole += 1
        return Download(0, iter([NEW]))

    def _patch(self, patch: bytes) -> Download:
        self.patches += 1
        return Download(0, iter([patch[at : at + 100] for at in range(0, len(patch), 100)]))


def staged(store: Store, offer: Offer) -> Staged | Refused:
    """Bring an offer in, and see that nothing is left on the way."""
    store.tell = Told()
    outcome = stage(offer, store=store, terms=Terms())
    assert not os.listdir(store.layout.staging)
    return outcome


def test_a_patch_makes_the_release_and_the_whole_is_not_asked_for(store: Store) -> None:
    """A few hundred bytes instead of sixty thousand; what is on trial is the release, to the bit."""
    source = Source()
    patch = compress(OLD, NEW)
    assert len(patch) < 300
    outcome = staged(store, source.offer(patch))
    assert isinstance(outcome, Staged), outcome
    assert (source.patches, source.whole) == (1, 0)
    found = store.find(outcome.release)
    assert found
    assert content_of(found.path) == NEW
    assert ("info", f"a patch of {len(patch)} bytes made a release of {len(NEW)}") in store.tell  # type: ignore[operator]


def bomb(_: bytes) -> bytes:
    """Make something that would be far more than is signed."""
    made: bytes = zstd.module().compress(bytes(64 << 20))
    return made


FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "another release": lambda patch: compress(OLD, OLD) or patch,
    "cut short": lambda patch: patch[:-3],
    "noise": lambda patch: bytes(len(patch)),
    "a bomb": bomb,
    "two of it": lambda patch: patch + patch,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_patch_with_a_fault_is_given_up_for_the_whole(store: Store, fault: str) -> None:
    """Even if it is signed like that: the release arrives all the same, and why not by patch is told."""
    source = Source()
    outcome = staged(store, source.offer(FAULTS[fault](compress(OLD, NEW))))
    assert isinstance(outcome, Staged), outcome
    assert (source.patches, source.whole) == (1, 1)
    assert [text for level, text in store.tell if level == "warning" and "the patch is not taken" in text]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"digest": digest(b"")}, "the patch is not the one that is said of it"),
        ({"size": 20}, "the patch is longer than the 20 bytes"),
        ({"size": 5000}, "the patch is not the one that is said of it"),
    ],
)
def test_a_patch_that_is_not_as_signed_is_not_applied(store: Store, wrong: dict[str, Any], said: str) -> None:
    """It is verified before anything reads it."""
    source = Source()
    outcome = staged(store, source.offer(compress(OLD, NEW), **wrong))
    assert isinstance(outcome, Staged), outcome
    assert source.whole == 1
    assert [text for _, text in store.tell if said in text]  # type: ignore[attr-defined]


def test_a_patch_from_a_release_that_is_not_here_is_not_asked_for(store: Store) -> None:
    """Nor one that saves less than half, nor any for a release of unknown digest."""
    for wrong in ({"base": digest(b"other")}, {"size": len(NEW) // 2 + 1}):
        source = Source()
        made = source.offer(compress(OLD, NEW), **wrong)
        stage(made, store=store, terms=Terms())
        assert (source.patches, source.whole) == (0, 1)
        store.reject(digest(NEW), "so that it can come again")
        store.unhold(digest(NEW))
    source = Source()
    stage(replace(source.offer(compress(OLD, NEW)), digest=None), store=store, terms=Terms())
    assert (source.patches, source.whole) == (0, 1)


def test_a_source_that_does_not_give_the_patch_gives_the_whole(store: Store) -> None:
    """A patch that was removed is no reason to stay behind."""
    source = Source()

    def gone() -> Download:
        raise FetchError("404")

    outcome = staged(store, source.offer(compress(OLD, NEW), open=gone))
    assert isinstance(outcome, Staged), outcome
    assert source.whole == 1

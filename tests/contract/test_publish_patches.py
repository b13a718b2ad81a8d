"""Patches from publisher to store: made, signed, found in the repository, applied."""

from __future__ import annotations

import io
import os
import random
import zipfile
from typing import TYPE_CHECKING

import pytest
from tests.contract.publishing import candidate, new_home, opened_keys, repository, terms
from tests.contract.stand_in import content_of, digest, installed, opened, program

from overseer.fetcher import Download, Offer
from overseer.fetcher.offer import PatchOffer
from overseer.publish.advice import advice
from overseer.publish.compress import compress
from overseer.publish.places import Folder
from overseer.publish.publisher import Outcome, publish, revoke
from overseer.publish.releases import Released, released, whole
from overseer.updater.stage import Staged, Terms, stage

if TYPE_CHECKING:
    from pathlib import Path

    from overseer.publish.repository import Repository

NOISE = b"#" + random.Random(2).randbytes(20_000).hex().encode()


@pytest.fixture
def work(tmp_path: Path) -> Repository:
    """Have a publisher that has begun."""
    home = new_home(str(tmp_path / "home"))
    made = repository(home, signers=opened_keys(home))
    made.begin()
    return made


def published(work: Repository, folder: Path, version: str, *, more: bytes = NOISE) -> Outcome:
    """Publish a release whose versions differ in a line."""
    return publish(work, candidate(folder, version, more=more), terms(version))


def patches(work: Repository) -> dict[tuple[str, str], Released]:
    """Return the patches that are signed, by the versions they go from and to."""
    found = list(released(work.look().targets))
    versions = {each.sha256: each.terms.version for each in whole(found)}
    return {
        (versions.get(each.terms.patch.base, "?"), each.terms.version): each
        for each in found
        if each.terms.patch
    }


def test_the_last_releases_have_patches_to_a_new_one(work: Repository, tmp_path: Path) -> None:
    """Three by default, each signed as a file of its own; what is revoked takes its patches with it."""
    for version in ("1.0", "1.1", "1.2", "1.3", "1.4"):
        outcome = published(work, tmp_path, version)
        assert all(made.worth and made.size < 200 for made in outcome.patches)
    assert {pair for pair in patches(work) if pair[1] == "1.4"} == {
        ("1.1", "1.4"),
        ("1.2", "1.4"),
        ("1.3", "1.4"),
    }
    for each in patches(work).values():
        assert work.place.size(each.file) == each.length
    revoke(work, "1.3")
    assert {pair for pair in patches(work) if "1.3" in pair or "?" in pair} == set()
    assert ("1.2", "1.4") in patches(work)


def test_a_patch_that_saves_little_is_told_and_not_published(work: Repository, tmp_path: Path) -> None:
    """Half of the whole release or more is not worth a second way."""
    published(work, tmp_path, "1.0")
    other = b"#" + random.Random(3).randbytes(20_000).hex().encode()
    outcome = published(work, tmp_path, "2.0", more=other)
    assert [made.worth for made in outcome.patches] == [False]
    assert not patches(work)


def test_a_service_takes_what_was_published_as_a_patch(work: Repository, tmp_path: Path) -> None:
    """From the signed files alone: what is staged is the release, and the whole was not downloaded."""
    published(work, tmp_path, "1.0")
    new = published(work, tmp_path, "1.1").release
    assert isinstance(work.place, Folder)
    asked: list[str] = []

    def drip(each: Released) -> Download:
        asked.append(each.target)
        assert isinstance(work.place, Folder)
        return Download(0, iter([content_of(os.path.join(work.place.path, each.file))]))

    offered = tuple(
        PatchOffer(base=each.terms.patch.base, digest=each.sha256, size=each.length,
                   open=lambda each=each: drip(each), name=each.target)  # type: ignore[misc]
        for each in patches(work).values() if each.terms.patch and each.terms.patch.to == new.target
    )  # fmt: skip
    offer = Offer(seen={}, open=lambda _: drip(new), digest=new.sha256, size=new.length, patches=offered)
    with opened(installed(tmp_path, program("1.0") + NOISE)) as store:
        outcome = stage(offer, store=store, terms=Terms())
        assert isinstance(outcome, Staged), outcome
        found = store.find(outcome.release)
        assert found
        assert content_of(found.path) == program("1.1") + NOISE
        assert found.release == digest(program("1.1") + NOISE)
    assert [name.endswith(".zst") for name in asked] == [True]


# -- advice ------------------------------------------------------------------------------------------------


def archive(line: str, how: int, *, year: int = 2000) -> bytes:
    """Build an archive of some modules, in one of which a line is different."""
    words = random.Random(4)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", how) as made:
        for number in range(20):
            text = "\n".join(str(words.random()) for _ in range(800)) + (line if number == 7 else "")
            made.writestr(zipfile.ZipInfo(f"m{number}.py", (year, 1, 1, 0, 0, 0)), text, how)
    return b"#!/usr/bin/env python3\n" + target.getvalue()


def said(old: bytes, new: bytes) -> str:
    """Return the advice for two builds."""
    return " ".join(advice(old, new, max(len(compress(old, new)), 1 << 14)))


def test_an_archive_that_compresses_is_told_what_storing_would_save() -> None:
    """By building both and comparing, not by hope."""
    old, new = (archive(line * 2000, zipfile.ZIP_DEFLATED) for line in ("a", "b"))
    assert "with an archive that only stores them, the patch would have" in said(old, new)
    old, new = (archive(line * 2000, zipfile.ZIP_STORED) for line in ("a", "b"))
    assert not said(old, new)


def test_dates_that_are_new_on_files_that_are_not_are_told() -> None:
    """They make every member a little different."""
    old, new = (archive("", zipfile.ZIP_STORED, year=year) for year in (2000, 2001))
    assert "20 files in it have a new date and are the same: set SOURCE_DATE_EPOCH" in said(old, new)


def test_machine_code_is_told_of_the_variables() -> None:
    """Nobody can look into it, so it is said as a condition."""
    assert "if this is made by PyInstaller, set PYTHONHASHSEED=0" in said(b"\x7fELFa" * 9, b"\x7fELFb" * 9)


@pytest.mark.parametrize("odd", [b"", b"PK\5\6" + bytes(18), b"noise" * 100])
def test_what_is_odd_has_no_advice(odd: bytes) -> None:
    """And is no error."""
    assert not list(advice(odd, odd, 1 << 20))
    assert not list(advice(archive("", zipfile.ZIP_STORED), odd, 1 << 20))
    assert not list(advice(archive("", zipfile.ZIP_STORED), archive("", zipfile.ZIP_STORED), 100))

"""Which releases there are, and how signed targets change: functions from values to values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import Targets

from overseer.errors import PublishError
from overseer.publish.releases import Released, already, released, whole, with_files, without
from overseer.trust.terms import Terms

NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))


def release(version: str, *, platform: str = "any", content: str = "a", **more: object) -> Released:
    """Make a release."""
    terms = Terms(name="app", version=version, platform=platform, **more)  # type: ignore[arg-type]
    return Released(target=terms.target(".pyz"), role="targets", length=3, sha256=content * 64, terms=terms)


def having(*releases: Released) -> dict[str, Targets]:
    """Sign releases, as far as targets are concerned."""
    return {"targets": with_files(Targets(), releases)}


def test_what_is_signed_is_read_back() -> None:
    """Terms survive being written as custom metadata."""
    one = release("1.0", min_from="0.9", notes="fixes all", patch=None)
    assert list(released(having(one))) == [one]


def test_the_newest_release_is_told_first() -> None:
    """By its version, not in the order of the alphabet."""
    found = whole(released(having(release("1.9"), release("1.10"), release("1.2"))))
    assert [each.terms.version for each in found] == ["1.10", "1.9", "1.2"]


def test_the_same_release_again_is_there_already() -> None:
    """So publishing is idempotent."""
    assert already(having(release("1.0")), release("1.0"))
    assert not already(having(release("1.0")), release("1.1"))
    assert not already(having(release("1.0")), release("0.9", platform="linux-x86_64-gnu"))


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (release("1.0", content="b"), "with other bytes"),
        (release("1.0", notes="new"), "with other terms"),
        (release("0.9"), "is lower than 1.0"),
        (release("banana"), "nobody can tell"),
    ],
)
def test_what_would_change_or_go_backwards_is_refused(new: Released, reason: str) -> None:
    """A version means the same bytes for ever, and versions only rise."""
    with pytest.raises(PublishError, match=reason):
        already(having(release("1.0")), new)


def test_a_version_that_was_revoked_does_not_come_back() -> None:
    """Not with its own bytes and not with others."""
    targets = having(release("1.0"), release("1.1"))
    gone = {"targets": without(targets["targets"], [release("1.1")])}
    assert list(released(gone)) == [release("1.0")]
    for content in "ab":
        with pytest.raises(PublishError, match=r"1\.1 was revoked"):
            already(gone, release("1.1", content=content))
    assert not already(gone, release("1.2"))


@given(st.lists(NUMBERS, unique=True, max_size=8), NUMBERS)
def test_whatever_is_published_no_lower_version_follows(there: list[str], new: str) -> None:
    """A version that is taken is at least as high as every other, in whatever order they came."""
    targets = having(*(release(version) for version in there))
    try:
        already(targets, release(new))
    except PublishError:
        return
    newest = whole(released({"targets": with_files(targets["targets"], [release(new)])}))[0]
    key = [int(part) for part in newest.terms.version.split(".")]
    wanted = [int(part) for part in new.split(".")]
    for numbers in (key, wanted):
        while numbers and not numbers[-1]:
            numbers.pop()
    assert key == wanted


def test_changing_targets_leaves_those_given_alone() -> None:
    """Values, not places: what was read before a race is still what was read."""
    before = Targets()
    with_files(before, [release("1.0")])
    assert not before.targets
    signed = with_files(before, [release("1.0")])
    without(signed, [release("1.0")])
    assert signed.targets
    assert not signed.unrecognized_fields

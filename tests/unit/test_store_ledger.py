"""The ledger: what may become of releases, told in stories and checked against every order of events."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.errors import StoreError
from overseer.store.ledger import FORMAT, Ledger, Published, Trial, dump, format_of, load

if TYPE_CHECKING:
    from collections.abc import Callable

KEEP = 2


def stamp(release: str, *, by_hand: bool = False) -> Published:
    """Say that a release is the public file."""
    return Published(release=release, size=1, mtime_ns=1, inode=1, by_hand=by_hand)


def running(release: str = "a") -> Ledger:
    """Have one release, as the first start leaves it."""
    return Ledger(public="/bin/app").adopted(release, version="1").published_as(stamp(release))


def promoted(ledger: Ledger, release: str) -> Ledger:
    """Let a release pass its trial and be published."""
    ledger = ledger.begun(release, attempts=3).promoted(release, highest="2", keep=KEEP)
    return ledger.published_as(stamp(ledger.publishing)) if ledger.publishing else ledger


def test_the_first_release_is_current_without_a_trial() -> None:
    """There is nothing to fall back to, and it runs already."""
    assert running("a").current == "a"
    assert running("a").trial is None


def test_a_second_first_release_is_an_error() -> None:
    """Whoever adopts twice has lost its mind or its ledger."""
    with pytest.raises(StoreError, match="there is one already"):
        running("a").adopted("b")


def test_a_release_on_trial_is_not_current() -> None:
    """A start falls back to what was current before."""
    ledger = running("a").begun("b", attempts=3)
    assert (ledger.current, ledger.trial) == ("a", Trial(release="b", attempts_left=3))


def test_a_promoted_release_wants_to_be_the_public_file() -> None:
    """And what was current can be gone back to."""
    ledger = running("a").begun("b", attempts=3).promoted("b", highest="2", keep=KEEP)
    assert (ledger.current, ledger.previous, ledger.trial, ledger.publishing) == ("b", ("a",), None, "b")


def test_only_so_many_previous_releases_are_kept() -> None:
    """The oldest goes first."""
    ledger = running("a")
    for release in "bcd":
        ledger = promoted(ledger, release)
    assert ledger.previous == ("c", "b")


def test_promoting_twice_is_promoting_once() -> None:
    """The second time nothing changes."""
    ledger = promoted(running("a"), "b")
    assert ledger.promoted("b", highest="9", keep=KEEP) is ledger


def test_a_rejected_trial_leaves_the_current_release_current() -> None:
    """Rolling back has no code of its own: current never moved."""
    ledger = running("a").begun("b", attempts=3).rejected("b", "it crashed")
    assert (ledger.current, ledger.trial, ledger.publishing, ledger.held) == (
        "a",
        None,
        "",
        {"b": "it crashed"},
    )


def test_a_held_release_is_neither_tried_nor_promoted() -> None:
    """Until somebody gives it another chance."""
    ledger = running("a").holding("b", "it crashed")
    with pytest.raises(StoreError, match="it crashed"):
        ledger.begun("b", attempts=3)
    with pytest.raises(StoreError, match="it crashed"):
        ledger.promoted("b", highest="2", keep=KEEP)
    assert ledger.unheld("b").begun("b", attempts=3).trial is not None


def test_giving_a_release_another_chance_asks_the_source_again() -> None:
    """What was seen is forgotten, or the source would say that there is nothing new."""
    ledger = running("a").saw({"etag": "b"}).holding("b", "it crashed").unheld("b")
    assert ledger.seen is None


def test_an_installed_release_is_published_and_stays_on_trial_with_all_attempts() -> None:
    """The start that was counted when it was staged has not happened."""
    ledger = running("a").begun("b", attempts=3).spent().installed("b", attempts=3)
    assert ledger.publishing == "b"
    assert ledger.trial == Trial(release="b", attempts_left=3, installed=True)


def test_rejecting_an_installed_release_puts_the_current_file_back() -> None:
    """The public place is for releases that are current, or wait for their trial."""
    ledger = running("a").begun("b", attempts=3).installed("b", attempts=3).published_as(stamp("b"))
    assert ledger.rejected("b", "it crashed").publishing == "a"


def test_rejecting_while_a_file_is_being_published_publishes_again() -> None:
    """Which of the two is there cannot be known, so it is not assumed."""
    ledger = running("a").begun("b", attempts=3).installed("b", attempts=3)
    assert (ledger.published, ledger.rejected("b", "no").publishing) == (stamp("a"), "a")


def test_rejecting_the_current_release_goes_back_to_the_one_before() -> None:
    """Everything at once: the ledger, and the public file it wants."""
    ledger = promoted(running("a"), "b").rejected("b", "rolled back by hand")
    assert (ledger.current, ledger.previous, ledger.publishing) == ("a", (), "a")
    assert ledger.held == {"b": "rolled back by hand"}


def test_the_only_release_cannot_be_given_up() -> None:
    """There would be nothing to start."""
    with pytest.raises(StoreError, match="there is none before it"):
        running("a").rejected("a", "no")


def test_a_file_put_there_by_hand_is_left_alone_when_its_release_fails() -> None:
    """It is the operator's."""
    ledger = running("a").published_as(stamp("b", by_hand=True)).begun("b", attempts=3)
    assert ledger.rejected("b", "it crashed").publishing == ""


def test_a_promoted_release_replaces_even_a_file_that_was_put_there_by_hand() -> None:
    """Newer than the operator's wish is the source's."""
    ledger = running("a").published_as(stamp("b", by_hand=True)).begun("c", attempts=3)
    assert ledger.promoted("c", highest="2", keep=KEEP).publishing == "c"


def test_attempts_run_out_and_no_further() -> None:
    """After the last one the trial is exhausted."""
    ledger = running("a").begun("b", attempts=2)
    assert [ledger.exhausted, ledger.spent().exhausted, ledger.spent().spent().exhausted] == ["", "", "b"]
    assert ledger.spent().spent().spent() == ledger.spent().spent()


def test_what_must_stay_on_disk_is_what_can_still_be_started() -> None:
    """Current, previous, on trial."""
    ledger = promoted(running("a"), "b").begun("c", attempts=3)
    assert ledger.kept == {"a", "b", "c"}


def test_the_reasons_for_holding_are_not_remembered_for_ever() -> None:
    """A source that offers a bad release a minute must not grow the ledger without end."""
    ledger = running("a")
    for n in range(1000):
        ledger = ledger.holding(f"bad{n}", "no")
    assert len(ledger.held) == 200
    assert "bad999" in ledger.held


# -- every order of events ---------------------------------------------------------------------------------

RELEASES = st.sampled_from("abcde")
EVENTS: dict[str, Callable[[Ledger, str], Ledger]] = {
    "begun": lambda ledger, r: ledger.begun(r, attempts=3),
    "spent": lambda ledger, _: ledger.spent(),
    "promoted": lambda ledger, r: ledger.promoted(r, highest="1", keep=KEEP),
    "installed": lambda ledger, r: ledger.installed(r, attempts=3),
    "rejected": lambda ledger, r: ledger.rejected(r, "no"),
    "holding": lambda ledger, r: ledger.holding(r, "no"),
    "unheld": lambda ledger, r: ledger.unheld(r),
    "by hand": lambda ledger, r: ledger.published_as(stamp(r, by_hand=True)),
    "published": lambda ledger, _: (
        ledger.published_as(stamp(ledger.publishing)) if ledger.publishing else ledger
    ),
    "private": lambda ledger, _: ledger.left_alone(),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), RELEASES), max_size=40))
def test_whatever_happens_what_is_current_or_on_trial_is_not_held(events: list[tuple[str, str]]) -> None:
    """And every release is in one place only, and there is always one to start."""
    ledger = running("a")
    for name, release in events:
        before = ledger
        with suppress(StoreError):
            ledger = EVENTS[name](ledger, release)
        trial = ledger.trial.release if ledger.trial else ""
        assert ledger.current
        assert not {ledger.current, trial, *ledger.previous} & set(ledger.held)
        assert ledger.current not in ledger.previous
        assert trial != ledger.current
        assert len(ledger.previous) == len(set(ledger.previous)) <= KEEP
        if ledger.current != before.current:
            assert name == "promoted" or (name == "rejected" and ledger.current == before.previous[0])


@given(st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), RELEASES), max_size=20))
def test_every_ledger_survives_being_written_and_read(events: list[tuple[str, str]]) -> None:
    """What is read is what was written."""
    ledger = running("a").saw({"etag": '"x"'})
    for name, release in events:
        with suppress(StoreError):
            ledger = EVENTS[name](ledger, release)
    assert load(dump(ledger)) == ledger


@given(st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), RELEASES), max_size=20))
def test_when_all_is_published_the_public_file_is_current_or_installed_or_the_operators(
    events: list[tuple[str, str]],
) -> None:
    """There is no other way into the public place."""
    ledger = running("a")
    shown = {"a"}
    for name, release in events:
        if name == "private":
            continue
        with suppress(StoreError):
            ledger = EVENTS[name](ledger, release)
        ledger = EVENTS["published"](ledger, release)
        if ledger.trial and ledger.trial.installed:
            shown.add(ledger.trial.release)
        assert ledger.published is not None
        assert ledger.published.by_hand or ledger.published.release in {ledger.current, *shown}


@given(st.binary(max_size=200))
def test_bytes_that_are_no_ledger_are_a_value_error(data: bytes) -> None:
    """And nothing else, since only that is caught."""
    with pytest.raises(ValueError, match=r"\S"):
        load(data)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_that_is_no_ledger_is_a_value_error_too(content: object) -> None:
    """Whatever somebody has edited into it."""
    good = json.loads(dump(running("a")))
    for name in good:
        if name not in ("seen", "trial", "published") or content is not None:
            with suppress(ValueError):
                load(json.dumps({**good, name: content}).encode())


def test_the_format_of_a_ledger_can_be_told_before_it_is_read() -> None:
    """A newer one is left alone, not misread."""
    newer = json.dumps({"format": FORMAT + 1, "all": "different"}).encode()
    assert [format_of(newer), format_of(dump(Ledger())), format_of(b"[]"), format_of(b"\xff")] == [2, 1, 0, 0]


def test_a_ledger_is_a_value() -> None:
    """Nobody can change one that somebody else holds."""
    ledger = running("a")
    assert replace(ledger) == ledger
    with pytest.raises(AttributeError):
        ledger.current = "b"  # type: ignore[misc]

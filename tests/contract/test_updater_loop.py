"""The updater's loop, with us as its master and a source that does as it is told."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.contract.stand_in import PATIENCE, Master, content_of, digest, installed, offer, opened, program

from overseer.errors import FetchError
from overseer.fetcher import Download, LookAgain, Offer
from overseer.updater.loop import Options, run
from overseer.updater.stage import Terms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from overseer.store import Store

NEW = program("2.0")


class Source:
    """Answer each look with the next thing from a list: an offer, nothing, or an exception."""

    interval = 0.0

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.seen: list[Mapping[str, str] | None] = []
        self.asked = threading.Semaphore(0)

    def latest(self, seen: Mapping[str, str] | None) -> Offer | LookAgain | None:
        """Answer."""
        self.seen.append(seen)
        self.asked.release()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        assert answer is None or isinstance(answer, (Offer, LookAgain))
        return answer


class Work:
    """A loop that runs in a thread."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.status: list[int] = []
        self.threads: list[threading.Thread] = []
        self.masters: list[Master] = []

    def start(self, source: Source, **options: Any) -> Master:
        """Start it; return its master's end."""
        ours, theirs = socket.socketpair()
        hurry: dict[str, Any] = {"min_fetch_interval": 0.01, "backoff": 0.01, "terms": Terms(check=False)}

        def work() -> None:
            chosen = Options(**(hurry | options))
            self.status.append(run(theirs, fetcher=source, store=self.store, options=chosen))
            theirs.close()

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()
        self.masters.append(Master(ours))
        return self.masters[-1]

    def end(self) -> None:
        """Let the master go and wait for the loop's end."""
        for master in self.masters:
            master.go()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def replace_by_hand(work: Work, content: bytes) -> None:
    """Do what an operator does."""
    public = work.store.layout.public
    with open(public + ".new", "wb") as file:
        file.write(content)
    os.rename(public + ".new", public)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    """Have a store, and loops that end."""
    with opened(installed(tmp_path)) as store:
        made = Work(store)
        yield made
        made.end()
        assert set(made.status) <= {0}


def test_it_says_hello_with_what_is_current_before_anything_else(work: Work) -> None:
    """The master may know of a promotion that was lost."""
    hello = work.start(Source()).hear("hello")
    assert hello == {"type": "hello", "role": "updater", "current": work.store.ledger.current}


def test_a_source_is_asked_with_what_was_seen_last(work: Work) -> None:
    """Nothing the first time; then the offer that was staged."""
    source = Source(offer(NEW, seen={"etag": "2"}))
    work.start(source).hear("staged")
    for _ in range(3):
        assert source.asked.acquire(timeout=PATIENCE)
    assert source.seen[:3] == [None, {"etag": "2"}, {"etag": "2"}]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (FetchError("the server is away"), "no release could be fetched: the server is away"),
        (ValueError("a bug"), "the fetcher failed: ValueError: a bug"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (offer(b"<html>"), "a web page"),
        (offer(NEW, digest="0" * 64), "has the digest"),
    ],
)
def test_a_look_that_fails_is_said_and_tried_again(work: Work, failure: object, words: str) -> None:
    """With the same words from the source as before: nothing was remembered."""
    source = Source(failure, offer(NEW))
    master = work.start(source)
    assert words in master.hear("say", where=lambda word: word["level"] == "warning")["text"]
    assert master.hear("staged")["release"] == digest(NEW)
    assert source.seen[1] is None


def test_the_same_failure_is_worth_one_line(work: Work) -> None:
    """Until something else has happened."""
    again = [FetchError("the server is away") for _ in range(5)]
    master = work.start(Source(*again, offer(NEW), *again))
    levels = [master.hear("say", where=lambda word: "is away" in word["text"])["level"] for _ in range(10)]
    assert levels == ["warning", *["debug"] * 4] * 2


def test_what_cannot_be_judged_yet_is_looked_at_again_soon(work: Work) -> None:
    """Long before the interval has passed."""
    source = Source(LookAgain(after=0.01), LookAgain(after=0.01), offer(NEW))
    source.interval = 3600.0
    assert work.start(source).hear("staged")["release"] == digest(NEW)


def test_a_source_that_asks_for_an_hour_is_not_asked_meanwhile(work: Work) -> None:
    """But the master is heard."""
    source = Source(FetchError("too many requests", retry_after=3600))
    master = work.start(source)
    master.hear("say", where=lambda word: "too many requests" in word["text"])
    master.say(type="clear", release="ab" * 32)
    assert master.hear("cleared")["release"] == "ab" * 32
    assert len(source.seen) == 1


def test_the_master_is_heard_during_a_download(work: Work) -> None:
    """A probation may end while the next release is on its way, drop by drop."""
    first = Source(offer(NEW))
    master = work.start(first)
    master.hear("staged")
    going, done = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        newer = program("3.0")
        for at in range(0, len(newer), 10):
            yield newer[at : at + 10]
            going.set()
            done.wait(0.01)
        assert done.wait(PATIENCE)

    first.answers.append(Offer(seen={"etag": "3"}, open=lambda _: Download(0, slow())))
    assert going.wait(PATIENCE)
    master.say(type="promote", release=digest(NEW))
    assert master.hear("promoted")["release"] == digest(NEW)
    done.set()
    assert master.hear("staged")["release"] == digest(program("3.0"))
    assert work.store.ledger.current == digest(NEW)


def test_what_the_disk_refuses_is_done_later(work: Work) -> None:
    """The answer comes when it is true."""
    source = Source(offer(NEW))
    master = work.start(source)
    master.hear("staged")
    public = work.store.layout.public
    os.rename(public, public + ".away")
    os.mkdir(public)  # a file cannot be renamed over a folder
    master.say(type="promote", release=digest(NEW))
    said = master.hear("say", where=lambda word: word["level"] == "error")
    assert "cannot promote the release yet" in said["text"]
    os.rmdir(public)
    assert master.hear("promoted")["public"] is True
    assert content_of(public) == NEW


def test_the_last_word_about_a_release_counts(work: Work) -> None:
    """A rejection is not overtaken by a promotion that the disk has put off."""
    master = work.start(Source(offer(NEW)))
    master.hear("staged")
    public = work.store.layout.public
    before = content_of(public)
    os.rename(public, public + ".away")
    os.mkdir(public)
    master.say(type="promote", release=digest(NEW))
    master.hear("say", where=lambda word: word["level"] == "error")
    master.say(type="reject", release=digest(NEW), reason="rolled back")
    os.rmdir(public)
    master.hear("rejected")
    assert content_of(public) == before


def test_words_that_make_no_sense_are_said_and_survived(work: Work) -> None:
    """Unknown ones, half ones, and ones about releases that nobody knows."""
    master = work.start(Source())
    for word, words in (
        ({"type": "dance"}, "does not know the word 'dance'"),
        ({"type": "promote"}, "no release is named"),
        ({"type": "promote", "release": 7}, "no release is named"),
        ({"type": "promote", "release": "ab" * 32}, "is not in the store"),
        ({"type": "reject", "release": work.store.ledger.current}, "there is none before it"),
    ):
        master.say(**word)
        assert words in master.hear("say")["text"]
    master.channel.sock.sendall(b"no json\n")
    assert "cannot read" in master.hear("say")["text"]


def test_releases_in_use_are_not_removed(work: Work) -> None:
    """The master says which its generations run."""
    source = Source(*(offer(program(f"{n}.0")) for n in range(2, 7)))
    master = work.start(source)
    first = work.store.ledger.current
    for n in range(2, 7):
        new = digest(program(f"{n}.0"))
        master.hear("staged", where=lambda word, new=new: word["release"] == new)  # type: ignore[misc]
        master.say(type="promote", release=new, in_use=[first, new])
        master.hear("promoted")
    left = {release for n in range(1, 7) if work.store.find(release := digest(program(f"{n}.0")))}
    assert left == {first, *(digest(program(f"{n}.0")) for n in (4, 5, 6))}


def test_a_look_before_a_restart_stages_a_file_that_was_replaced_by_hand(work: Work) -> None:
    """So that a restart really runs what the operator has put there."""
    master = work.start(Source())
    master.say(type="look")
    assert master.hear("looked") == {"type": "looked", "release": "", "reason": ""}
    replace_by_hand(work, NEW)
    master.say(type="look")
    assert master.hear("staged")["release"] == digest(NEW)
    assert master.hear("looked") == {"type": "looked", "release": digest(NEW), "reason": ""}
    master.say(type="look")
    assert master.hear("looked")["release"] == ""


def test_a_file_that_was_replaced_by_hand_is_held_and_left_alone_when_it_will_not_do(work: Work) -> None:
    """The old generation serves on, the operator's file stays, and it is said why."""
    master = work.start(Source(), terms=Terms())
    for content, words in ((program("2.0", before="1/0"), "ZeroDivisionError"), (b"<html>", "a web page")):
        replace_by_hand(work, content)
        master.say(type="look")
        looked = master.hear("looked")
        assert looked["release"] == digest(content)
        assert words in looked["reason"]
        assert content_of(work.store.layout.public) == content
    assert work.store.ledger.trial is None


def test_words_that_came_before_the_end_are_obeyed(work: Work) -> None:
    """A master may say its last word and go."""
    master = work.start(Source(offer(NEW)))
    master.hear("staged")
    master.say(type="promote", release=digest(NEW))
    work.end()
    assert work.store.ledger.current == digest(NEW)
    assert content_of(work.store.layout.public) == NEW

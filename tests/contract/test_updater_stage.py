"""How releases come into the store, and everything that keeps one out."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from tests.contract.stand_in import Told, content_of, digest, installed, offer, opened, program

from overseer.errors import FetchError, StoreError
from overseer.fetcher import Download, Offer, Partial
from overseer.store import Store, staging
from overseer.updater import download
from overseer.updater.kinds import this_interpreter
from overseer.updater.stage import Refused, Staged, Terms, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEW = program("2.0")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Have a store with a program of version 1.0 in it."""
    with opened(installed(tmp_path)) as made:
        yield made


def taken(store: Store, what: Offer | bytes, **terms: Any) -> Staged:
    """Bring an offer in."""
    outcome = stage(offer(what) if isinstance(what, bytes) else what, store=store, terms=Terms(**terms))
    assert isinstance(outcome, Staged), outcome
    return outcome


def refused(store: Store, what: Offer | bytes, **terms: Any) -> Refused:
    """Have an offer refused for good."""
    outcome = stage(offer(what) if isinstance(what, bytes) else what, store=store, terms=Terms(**terms))
    assert isinstance(outcome, Refused), outcome
    assert store.ledger.trial is None
    return outcome


def put_off(store: Store, what: Offer | bytes, **terms: Any) -> str:
    """Have an offer put off: nothing is remembered of it, and nothing left."""
    seen = store.ledger.seen
    with pytest.raises((FetchError, StoreError)) as caught:
        stage(offer(what) if isinstance(what, bytes) else what, store=store, terms=Terms(**terms))
    assert (store.ledger.seen, store.ledger.trial) == (seen, None)
    assert len(os.listdir(store.layout.versions)) == 1
    return str(caught.value)


# -- the way in --------------------------------------------------------------------------------------------


def test_a_good_release_is_on_trial_and_remembered(store: Store) -> None:
    """Under its digest, whole, executable, and what the source said of it is not asked for again."""
    staged = taken(store, offer(NEW, seen={"etag": "2"}))
    found = store.find(staged.release)
    assert found is not None
    assert (staged.release, content_of(found.path)) == (digest(NEW), NEW)
    assert store.ledger.trial is not None
    assert (store.ledger.trial.release, store.ledger.trial.attempts_left) == (digest(NEW), 2)
    assert store.ledger.seen == {"etag": "2"}
    assert (found.version, found.kind) == ("2.0", "python")
    assert staged.argv == [*this_interpreter(), found.path]


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o644, 0o4755])
def test_a_stored_release_can_be_read_by_whom_the_public_file_can_be_read(store: Store, mode: int) -> None:
    """Executed as well, written by nobody, and never with somebody else's rights."""
    os.chmod(store.layout.public, mode)
    found = store.find(taken(store, NEW).release)
    assert found is not None
    stored = os.stat(found.path).st_mode & 0o7777
    assert stored == (0o500 if mode == 0o700 else 0o555)


def test_nothing_of_the_way_is_left_in_staging(store: Store) -> None:
    """Neither the download nor its note."""
    taken(store, gzip.compress(NEW))
    assert os.listdir(store.layout.staging) == []


@pytest.mark.parametrize("name", ["app", "app.gz", "app.bin"])
def test_a_packed_release_is_unpacked_whatever_it_is_called(store: Store, name: str) -> None:
    """And named by what it unpacks to; what the source says is about what was downloaded."""
    packed = gzip.compress(NEW)
    staged = taken(store, offer(packed, name=name, digest=digest(packed), size=len(packed)))
    assert staged.release == digest(NEW)


def test_a_name_that_promises_a_packed_release_is_not_believed(store: Store) -> None:
    """Servers unpack on the way."""
    assert taken(store, offer(NEW, name="app.gz")).release == digest(NEW)


def test_an_archive_runs_in_a_cache_of_its_own(store: Store) -> None:
    """The master starts it with the variables that say so, and so is it checked."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as zipped:
        zipped.writestr("__main__.py", program("2.0", before="assert 'caches' in os.environ['SHIV_ROOT']"))
    staged = taken(store, data.getvalue())
    assert os.path.dirname(staged.environ["SHIV_ROOT"]) == os.path.dirname(staged.argv[-1]) + "/caches"


def test_the_check_gets_the_programs_own_arguments(store: Store) -> None:
    """A program may refuse to start without them."""
    taken(
        store,
        program("2.0", before="import sys; assert sys.argv[1:] == ['--port', '1']"),
        arguments=("--port", "1"),
    )


def test_pre_upgrade_is_asked_last_with_the_path_of_the_stored_release(store: Store) -> None:
    """When everything else is known to be right, and nothing is decided yet."""
    asked = []

    def pre_upgrade(path: str) -> None:
        asked.append((content_of(path), store.ledger.trial))

    stage(offer(NEW), store=store, terms=Terms(), pre_upgrade=pre_upgrade)
    stage(offer(program("3.0", before="1/0")), store=store, terms=Terms(), pre_upgrade=pre_upgrade)
    assert asked == [(NEW, None)]


# -- refused for good --------------------------------------------------------------------------------------


def test_what_pre_upgrade_refuses_is_held(store: Store) -> None:
    """With the words of the exception; also when it wants to end the process."""
    for version, error in (("2.0", ValueError("not on a Friday")), ("3.0", SystemExit("not on a Friday"))):

        def pre_upgrade(_: str, error: BaseException = error) -> None:
            raise error

        outcome = stage(offer(program(version)), store=store, terms=Terms(), pre_upgrade=pre_upgrade)
        assert isinstance(outcome, Refused)
        assert "pre_upgrade refused it" in store.ledger.held[outcome.release]
        assert "not on a Friday" in outcome.reason


def test_what_fails_its_check_is_held_and_removed_and_not_run_again(store: Store, tmp_path: Path) -> None:
    """However often it is offered under another name."""
    bad = program("2.0", before=f"open({str(tmp_path / 'ran')!r}, 'a').write('x'); 1/0")
    assert "ZeroDivisionError" in refused(store, bad).reason
    assert refused(store, offer(bad, seen={"etag": "another"})).known
    assert (tmp_path / "ran").read_text() == "x"
    assert store.find(digest(bad)) is None


def test_what_was_held_and_is_given_another_chance_is_taken(store: Store) -> None:
    """By the operator's word."""
    bad = program("2.0", before=f"if not os.path.exists({store.layout.root + '/mended'!r}): 1/0")
    refused(store, bad)
    store.unhold(digest(bad))
    with open(store.layout.root + "/mended", "w", encoding="utf-8"):
        pass
    taken(store, bad)


def test_the_current_release_is_not_taken_again(store: Store) -> None:
    """But remembered: the source need not be asked for it."""
    outcome = refused(store, offer(program("1.0"), seen={"etag": "1"}))
    assert (outcome.known, outcome.reason) == (True, "it is the current release")
    assert store.ledger.seen == {"etag": "1"}


def test_a_digest_that_is_known_is_not_even_downloaded(store: Store) -> None:
    """What the source says is enough."""

    def never(_: object) -> Download:
        raise AssertionError

    known = digest(program("1.0"))
    assert refused(store, Offer(seen={}, open=never, digest=known)).known
    assert refused(store, Offer(seen={}, open=never, digest=known.upper())).known


def test_an_older_version_is_refused_by_what_the_source_says(store: Store) -> None:
    """Before it is downloaded."""
    assert "lower than 1.0" in refused(store, offer(NEW, version="0.9")).reason


def test_an_older_version_is_refused_by_what_the_release_says(store: Store) -> None:
    """Whatever the source says."""
    assert "version 0.9 is lower than 1.0" in refused(store, offer(program("0.9"), version="2.0")).reason


def test_an_older_version_is_taken_where_that_was_asked_for(store: Store) -> None:
    """The operator knows better."""
    taken(store, offer(program("0.9"), version="0.9"), allow_downgrade=True)


def test_an_older_release_that_is_offered_once_more_stays_the_way_back(store: Store) -> None:
    """Whoever puts it there wants to go back; that it is refused must not take the rollback from him, too."""
    first = store.ledger.current
    store.promote(taken(store, NEW).release, highest="2.0")
    again = offer(program("1.0"), seen={"etag": "once more"})
    assert "version 1.0 is lower than 2.0" in refused(store, again).reason
    assert (store.ledger.previous, dict(store.ledger.held)) == ((first,), {})
    assert store.find(first) is not None
    assert store.ledger.seen == {"etag": "once more"}


def test_a_python_program_is_named_as_it_is_called(tmp_path: Path) -> None:
    """In what is said of one that cannot be read."""
    with Store.open(installed(tmp_path, name="app.py"), {}, tell=Told()) as store:
        store.boot(version="1.0", kind="python")
        assert "(app.py, line 1)" in put_off(store, b"def broken(:\n")


def test_versions_that_cannot_be_compared_are_taken(store: Store) -> None:
    """A guess would refuse good releases."""
    taken(store, program("main-2f3a9c1"))


def test_an_executable_for_another_machine_is_held(store: Store) -> None:
    """It is whole, and for somebody else."""
    ours = content_of("/proc/self/exe")
    other = ours[:18] + (b"\xb7\x00" if ours[18:20] != b"\xb7\x00" else b"\x3e\x00") + ours[20:]
    assert "this machine is" in refused(store, other).reason
    assert digest(other) in store.ledger.held


def test_what_the_source_vouches_for_and_is_no_release_is_held(store: Store) -> None:
    """With its digest, it will not be another one next time."""
    page = b"<html>soon</html>"
    assert "a web page" in refused(store, offer(page, digest=digest(page))).reason


# -- put off -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<html>please log in</html>", "a web page"),
        (b"Bad gateway", "text without a #! line"),
        (os.urandom(5000).replace(b"\x1f", b"\x00"), ""),
        (gzip.compress(NEW, mtime=0)[:-9], "cut short"),
        (gzip.compress(NEW, mtime=0)[:-1] + b"x", "damaged"),
        (gzip.compress(b"<html>", mtime=0), "a web page"),
        (content_of("/proc/self/exe")[:9_000], "cut short"),
    ],
)
def test_garbage_neither_passes_nor_sticks(store: Store, content: bytes, words: str) -> None:
    """It is asked for again, and the real release behind the same name is taken then."""
    assert words in put_off(store, offer(content, seen={"etag": "2"}))
    taken(store, offer(NEW, seen={"etag": "2"}))


def test_a_digest_that_is_not_the_promised_one_is_put_off(store: Store) -> None:
    """Both are named."""
    said = put_off(store, offer(NEW, digest="0" * 64))
    assert digest(NEW) in said
    assert "0" * 64 in said


def test_a_size_that_is_not_the_promised_one_is_put_off(store: Store) -> None:
    """Too short and too long alike."""
    assert "of a release of" in put_off(store, offer(NEW, size=len(NEW) + 1))
    assert "longer than the" in put_off(store, offer(NEW, size=len(NEW) - 1))


def test_an_endless_release_stops_at_the_limit(store: Store) -> None:
    """And leaves nothing that could be resumed."""
    seen = 0

    def endless() -> Iterator[bytes]:
        nonlocal seen
        while True:
            seen += 1000
            yield bytes(1000)

    said = put_off(store, Offer(seen={"etag": "2"}, open=lambda _: Download(0, endless())), max_size=10_000)
    assert "longer than the limit of 10000 bytes" in said
    assert seen <= 12_000
    assert staging.waiting(store.layout) is None


def test_an_endless_release_stops_where_it_was_said_to_end(store: Store) -> None:
    """Not a chunk later, whatever the limit."""
    seen = 0

    def endless() -> Iterator[bytes]:
        nonlocal seen
        while True:
            seen += 1000
            yield b"#" * 1000

    said = put_off(store, Offer(seen={}, open=lambda _: Download(0, endless()), size=5000))
    assert "longer than the 5000 bytes that are said of it" in said
    assert seen == 6000


def test_a_bomb_stops_at_the_limit(store: Store) -> None:
    """A few kilobytes must not fill the disk."""
    assert "more than 100000 bytes" in put_off(store, gzip.compress(bytes(10 << 20)), max_unpacked=100_000)


def test_a_fetcher_that_begins_in_the_middle_is_put_off(store: Store) -> None:
    """Nobody asked it to."""
    lies = Offer(seen={}, open=lambda _: Download(10, iter([NEW])))
    assert "begins at byte 10" in put_off(store, lies)


def test_a_release_that_cannot_be_stored_is_put_off(store: Store) -> None:
    """The folder of releases has gone, say."""
    os.rename(store.layout.versions, store.layout.versions + ".away")
    with pytest.raises(StoreError, match="cannot be stored"):
        stage(offer(NEW), store=store, terms=Terms())
    os.rename(store.layout.versions + ".away", store.layout.versions)
    taken(store, NEW)


# -- interrupted -------------------------------------------------------------------------------------------

LONG = NEW + b"#" + os.urandom(3000).hex().encode() + b"\n"


class Cut:
    """A source whose first answer breaks off, and which can go on where it broke off."""

    def __init__(self, content: bytes, at: int, *, resumes: bool = True) -> None:
        self.content = content
        self.at = at
        self.resumes = resumes
        self.asked: list[Partial | None] = []

    def offer(self, **known: Any) -> Offer:
        """Offer it."""
        return Offer(seen={"etag": "2"}, open=self._open, **known)

    def _open(self, partial: Partial | None) -> Download:
        self.asked.append(partial)
        start = partial.size if partial and self.resumes else 0
        first = len(self.asked) == 1
        return Download(start, self._read(start, self.at if first else len(self.content), first))

    def _read(self, start: int, end: int, cut: bool) -> Iterator[bytes]:  # noqa: FBT001
        for at in range(start, end, 100):
            yield self.content[at : min(at + 100, end)]
        if cut:
            raise FetchError("the connection was reset")


@pytest.mark.parametrize("at", [1, 100, 3001, len(LONG)])
def test_a_transfer_that_was_cut_goes_on_where_it_was_cut(store: Store, at: int) -> None:
    """With the validators it began with, and the digest of the whole."""
    source = Cut(LONG, at)
    assert "the connection was reset" in put_off(store, source.offer())
    assert taken(store, source.offer(digest=digest(LONG), size=len(LONG))).release == digest(LONG)
    assert source.asked == [None, Partial(at, {"etag": "2"})]


def test_a_transfer_goes_on_in_another_process(store: Store) -> None:
    """Also a short-lived one."""
    source = Cut(LONG, 3001)
    put_off(store, source.offer())
    store.close()
    with Store.open(store.layout.public, {}, tell=Told()) as again:
        assert taken(again, source.offer()).release == digest(LONG)
    assert source.asked[1] == Partial(3001, {"etag": "2"})


def test_a_source_that_cannot_go_on_begins_anew(store: Store) -> None:
    """And what waited is thrown away."""
    source = Cut(LONG, 3001, resumes=False)
    put_off(store, source.offer())
    assert taken(store, source.offer()).release == digest(LONG)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, 2000),
        lambda path: _overwrite(path, 50),
        os.unlink,
    ],
)
def test_what_waits_is_believed_only_if_its_digest_is_right(
    store: Store, damage: Callable[[str], None]
) -> None:
    """A power cut leaves files that are short, or long and empty."""
    source = Cut(LONG, 3001)
    put_off(store, source.offer())
    damage(staging.data_path(f"{store.layout.staging}/partial"))
    assert taken(store, source.offer()).release == digest(LONG)
    assert source.asked[1] is None


def test_what_came_behind_the_last_note_is_not_believed(store: Store) -> None:
    """It was never made safe."""
    source = Cut(LONG, 3001)
    put_off(store, source.offer())
    with open(staging.data_path(f"{store.layout.staging}/partial"), "ab") as file:
        file.write(b"?" * 500)
    assert taken(store, source.offer()).release == digest(LONG)
    assert source.asked[1] == Partial(3001, {"etag": "2"})


def test_what_came_whole_and_wrong_is_not_resumed(store: Store) -> None:
    """Or it would be wrong for ever."""
    put_off(store, offer(LONG, digest="0" * 64))
    assert staging.waiting(store.layout) is None


def test_a_long_transfer_is_told_now_and_then() -> None:
    """Every ten seconds, with how much there is and how much there will be."""
    now, told = [0.0], Told()
    progress = download.Progress(offer(b"", name="app", size=100 << 20), told, lambda: now[0])
    for second in range(35):
        now[0] = float(second)
        progress.reached(second << 20)
    assert [text for _, text in told] == [f"{n} of 100 MiB of app have arrived" for n in (10, 20, 30)]


def test_a_long_transfer_is_made_safe_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash costs what came since, not all of it."""
    monkeypatch.setattr(download, "CHECKPOINT", 1000)
    notes = []

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(LONG), 100):
            found = staging.waiting(store.layout)
            notes.append(found.size if found else 0)
            yield LONG[at : at + 100]

    taken(store, Offer(seen={}, open=lambda _: Download(0, chunks())))
    assert sorted(set(notes)) == list(range(0, len(LONG), 1000))


def test_an_interruption_by_the_master_can_be_resumed(store: Store) -> None:
    """Between any two chunks."""

    class Gone(BaseException):
        pass

    class Master:
        left = 10

        def attend(self) -> None:
            self.left -= 1
            if not self.left:
                raise Gone

        def fileno(self) -> int:
            return -1

        foreign = staticmethod(io.BytesIO)  # any context will do

        def progress(self, *_: object) -> None:
            pass

    with pytest.raises(Gone):
        stage(offer(LONG, piece=100), store=store, terms=Terms(), attention=Master())  # type: ignore[arg-type]
    waiting = staging.waiting(store.layout)
    assert waiting is not None
    assert (waiting.size, waiting.sha256) == (900, hashlib.sha256(LONG[:900]).hexdigest())


def test_a_release_that_is_stored_already_is_not_stored_twice(store: Store) -> None:
    """A crash between storing it and trying it left it there."""
    staged = taken(store, NEW)
    store.write(store.ledger.begun(store.ledger.current, attempts=3))
    before = os.stat(staged.argv[-1])
    assert taken(store, NEW).release == staged.release
    assert os.stat(staged.argv[-1]).st_ino == before.st_ino


def test_a_release_with_the_short_name_of_another_one_is_refused(store: Store) -> None:
    """Twelve digits can be forged."""
    current = store.boot().current
    short = digest(NEW)[:12]
    os.rename(current.folder, f"{store.layout.versions}/1.0-{short}")
    with pytest.raises(StoreError, match="begins like"):
        stage(offer(NEW), store=store, terms=Terms())


def _overwrite(path: str, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(bytes(10))

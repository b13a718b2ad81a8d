"""The doctor judges facts: what is well, what might be better, what would stop an upgrade, and what to do."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.doctor.facts import Facts, Finding, Place, Process
from overseer.doctor.judge import CHECKS, judge
from overseer.doctor.managed import seconds
from overseer.store.ledger import Ledger, Pin, Published, Trial

if TYPE_CHECKING:
    from collections.abc import Callable

US = 1000
STATUS: dict[str, Any] = {
    "pid": 7,
    "overseer": "1",
    "life": "running",
    "generations": [{"phase": "serving", "release": "a", "version": "1", "workers": []}],
    "events": [],
    "sockets": ["127.0.0.1:80"],
    "source": ["HTTP", "TUF"],
    "store": "/srv/.app.overseer",
    "trouble": "",
    "ailment": "",
    "updater": 8,
    "patience": {"terminate_timeout": 30.0},
}
UNIT = {"Id": "app.service", "Type": "notify", "KillMode": "mixed", "TimeoutStopUSec": "45s"}
WAITS = Trial(release="b", attempts_left=1, installed=True)
STAMP = Published(release="a", size=1, mtime_ns=1, inode=1)


def at(path: str, **known: Any) -> Place:
    """Have something there that belongs to the service."""
    return Place(**{"path": path, "uid": US, "gid": US, "mode": 0o755, "free": 1 << 40, **known})


WELL = Facts(
    version="1",
    python="/venv/bin/python",
    status=STATUS,
    service=Process(pid=7, uid=US, gids=frozenset({US}), python="/venv/bin/python"),
    control=at("/run/app/overseer.sock", mode=0o600),
    control_folder=at("/run/app", is_folder=True),
    public=at("/srv/app"),
    folder=at("/srv", is_folder=True),
    store=at("/srv/.app.overseer", is_folder=True),
    ledger=Ledger(current="a" * 64, published=STAMP),
    holder="process 7 (app)",
    holder_pid=7,
    size=1 << 20,
    kind="elf",
    interpreted=False,
    unit=UNIT,
    migrates="0",
)


def status(**changed: Any) -> Facts:
    """Let the master say something else."""
    return replace(WELL, status={**STATUS, **changed})


def unit(**changed: str) -> Facts:
    """Let the unit say something else."""
    return replace(WELL, unit={**UNIT, **changed})


def place(which: str, **changed: Any) -> Facts:
    """Let a place be otherwise."""
    return replace(WELL, **{which: replace(getattr(WELL, which), **changed)})


def kept(**changed: Any) -> Facts:
    """Let the store say something else."""
    assert WELL.ledger
    return replace(WELL, ledger=replace(WELL.ledger, **changed))


def service(**changed: Any) -> Facts:
    """Let the service be somebody else."""
    return replace(WELL, service=replace(WELL.service, **changed))


def elsewhere(**changed: Any) -> Facts:
    """Have a program that cannot be replaced, with or without a store in a state directory."""
    store = at("/var/lib/app/app.overseer", is_folder=True, **changed)
    return replace(place("folder", uid=0), store=store)


def sticky() -> Facts:
    """Have somebody else's program in a folder like /tmp."""
    return replace(place("public", uid=5), folder=at("/srv", uid=0, mode=0o1777))


def of(facts: Facts, check: str) -> list[Finding]:
    """Return what one check has to say."""
    return [finding for finding in judge(facts) if finding.check == check]


def test_a_good_installation_is_all_well() -> None:
    """One line for each check, and none of them asks for anything."""
    found = judge(WELL)
    assert {finding.level for finding in found} == {"ok"}, found
    assert len(found) == len({finding.check for finding in found})
    assert not [finding for finding in found if finding.do]


def test_a_service_without_upgrades_needs_no_store() -> None:
    """Nothing is said about what does not concern it."""
    bare = replace(status(source=["", ""], store="", updater=None), store=None, ledger=None, folder=None)
    assert {finding.level for finding in judge(bare)} == {"ok"}
    assert [f.says for f in of(bare, "updater")] == [
        "the program has no fetcher: it restarts, and is not upgraded"
    ]


ILL: list[tuple[str, str, str, Callable[[], Facts]]] = [
    ("platform", "warn", "process trees", lambda: replace(WELL, platform="darwin")),
    ("platform", "warn", "old kernel", lambda: replace(WELL, kernel="4.19.0-21-amd64")),
    ("master", "fail", "nobody serves", lambda: status(generations=[])),
    ("master", "warn", "it is stopping", lambda: status(life="stopping")),
    ("master", "warn", "it runs overseer 0.9", lambda: status(overseer="0.9")),
    ("control", "fail", "has mode 0666", lambda: place("control", mode=0o666)),
    ("control", "fail", "everybody may write to /run/app", lambda: place("control_folder", mode=0o777)),
    ("limits", "warn", "it may open 100 files", lambda: service(files=100)),
    ("limits", "warn", "umask is 0000", lambda: service(umask=0)),
    ("sockets", "fail", "/tmp/a.sock: somebody has removed it", lambda: replace(WELL, gone=("/tmp/a.sock",))),
    ("sockets", "warn", "with reuse_port", lambda: status(sockets=[":80?reuse_port=yes"])),
    ("systemd", "fail", "Type=forking", lambda: unit(Type="forking")),
    ("systemd", "warn", "Type=simple", lambda: unit(Type="simple")),
    ("systemd", "warn", "KillMode=process", lambda: unit(KillMode="process")),
    ("systemd", "warn", "TimeoutStopSec is 10 s", lambda: unit(Type="exec", TimeoutStopUSec="10s")),
    ("systemd", "fail", "without StateDirectory=", lambda: unit(DynamicUser="yes")),
    ("updater", "fail", "upgrades are off", lambda: status(store="")),
    ("updater", "fail", "no releases come (expired)", lambda: status(trouble="old", ailment="expired")),
    ("updater", "fail", "no releases come (source)", lambda: status(trouble="down")),
    ("updater", "warn", "does not run at present", lambda: status(updater=None)),
    ("extras", "fail", "tuf, urllib3: not installed", lambda: replace(WELL, missing=("tuf", "urllib3"))),
    ("place", "fail", "/srv/app is not there", lambda: place("public", exists=False)),
    ("place", "warn", "mounted read-only", lambda: replace(elsewhere(), folder=at("/srv", read_only=True))),
    ("place", "warn", "immutable", lambda: replace(elsewhere(), folder=at("/srv", immutable=True))),
    ("place", "warn", "user 1000 may not write to /srv", elsewhere),
    ("place", "fail", "there is no store elsewhere", lambda: elsewhere(exists=False)),
    ("place", "fail", "there is no store elsewhere", lambda: elsewhere(uid=0, gid=0)),
    ("place", "fail", "is sticky", lambda: replace(sticky(), store=None)),
    ("place", "fail", "/srv/.app.overseer cannot be written", lambda: place("store", uid=0)),
    ("rights", "fail", "everybody may write to /srv,", lambda: place("folder", mode=0o777)),
    ("rights", "fail", "everybody may write to /srv/app", lambda: place("public", mode=0o777)),
    ("rights", "warn", "belongs to user 5", lambda: place("public", uid=5)),
    ("owner", "warn", "is of the package nginx", lambda: replace(WELL, package="nginx")),
    ("owner", "warn", "has file capabilities", lambda: replace(WELL, capabilities=True)),
    ("disk", "warn", "is lost at the next boot", lambda: place("store", file_system="tmpfs")),
    ("disk", "warn", "belongs to another machine", lambda: place("store", file_system="nfs4")),
    ("disk", "warn", "goes with the container", lambda: place("store", file_system="overlay")),
    ("disk", "fail", "a release of the present size needs 17.0 MiB", lambda: place("store", free=1 << 20)),
    ("disk", "warn", "enough for one more release", lambda: place("store", free=18 << 20)),
    ("execution", "fail", "mounted noexec", lambda: place("store", noexec=True)),
    ("lock", "fail", "in use by process 9", lambda: replace(WELL, holder="process 9 (other)", holder_pid=9)),
    ("lock", "fail", "would have no upgrades", lambda: replace(WELL, status={}, holder="process 9 (app)")),
    ("lock", "fail", "nobody holds the lock", lambda: replace(WELL, holder="", holder_pid=0)),
    ("releases", "fail", "a newer overseer", lambda: replace(WELL, ledger_fault="of a newer overseer")),
    ("releases", "warn", "is pinned", lambda: kept(pin=Pin(version="2"))),
    ("releases", "warn", "waits for a restart", lambda: kept(trial=WAITS)),
    ("releases", "warn", "is still another one", lambda: kept(publishing="a" * 64)),
    ("releases", "warn", "1 held, the last b: it crashed", lambda: kept(held={"b": "it crashed\n..."})),
]  # fmt: skip


def test_a_ledger_that_may_not_be_read_is_not_to_be_moved_away() -> None:
    """There is nothing wrong with it, and what is held in it would be taken again."""
    shut = replace(WELL, ledger_fault="state.json cannot be read: Permission denied", ledger_shut=True)
    (found,) = of(shut, "releases")
    assert found.do == f"let user {US} read it, and ask as that user, or as root"


@pytest.mark.parametrize(("check", "level", "says", "facts"), ILL, ids=[f"{i[0]}: {i[2]}" for i in ILL])
def test_what_is_wrong_is_said_with_what_to_do(
    check: str, level: str, says: str, facts: Callable[[], Facts]
) -> None:
    """By the check that it belongs to, and as seriously as it is meant."""
    found = [finding for finding in of(facts(), check) if says in finding.says]
    assert [finding.level for finding in found] == [level], of(facts(), check)
    assert found[0].do


def test_every_check_can_find_something() -> None:
    """None of them is there for show."""
    assert {name for name, *_ in ILL} == {finding.check for finding in judge(WELL)}
    assert len(CHECKS) == len({name for name, *_ in ILL})


def test_noexec_does_not_matter_to_what_an_interpreter_runs() -> None:
    """It opens them, and nobody executes them."""
    assert of(replace(place("store", noexec=True), interpreted=True), "execution")[0].level == "ok"


def test_more_time_is_asked_for_where_systemd_listens() -> None:
    """A short TimeoutStopSec is no fault of a unit that is told how long it takes."""
    assert of(unit(TimeoutStopUSec="10s"), "systemd")[0].level == "ok"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1min 30s", 90.0),
        ("45s", 45.0),
        ("infinity", inf),
        ("500ms", 0.5),
        ("1d 2h", 93600.0),
        ("", inf),
        ("?", inf),
    ],
)
def test_time_spans_of_systemd_are_read(text: str, what: float) -> None:
    """As `systemctl show` writes them."""
    assert seconds(text) == what


PLACES = st.none() | st.builds(
    Place,
    path=st.just("/srv/x"),
    exists=st.booleans(),
    is_folder=st.booleans(),
    is_link=st.booleans(),
    mode=st.integers(0, 0o7777),
    uid=st.sampled_from([0, US, 5]),
    immutable=st.booleans(),
    file_system=st.sampled_from(["ext4", "tmpfs", "nfs", ""]),
    read_only=st.booleans(),
    noexec=st.booleans(),
    free=st.none() | st.integers(0, 1 << 40),
)


@given(
    asked=st.just({}) | st.fixed_dictionaries({name: st.just(told) for name, told in STATUS.items()}),
    places=st.tuples(PLACES, PLACES, PLACES, PLACES, PLACES),
    ledger=st.none() | st.just(Ledger()),
    holder=st.sampled_from(["", "process 7 (app)", "another process"]),
)
def test_whatever_could_not_be_found_out_the_doctor_has_something_to_say(
    asked: dict[str, Any], places: tuple[Place | None, ...], ledger: Ledger | None, holder: str
) -> None:
    """He never fails himself; what needs something says what, and what is well asks for nothing."""
    names = ("control", "control_folder", "public", "folder", "store")
    there: dict[str, Any] = dict(zip(names, places, strict=True))
    facts = replace(WELL, status=asked, ledger=ledger, holder=holder, **there)
    found = judge(facts)
    assert found
    for finding in found:
        assert bool(finding.do) == (finding.level != "ok")

"""What the master remembers of its life: every fact that matters, once, counted, and within bounds."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_memory import EVENTS as HAPPENINGS
from tests.unit.test_memory import POLICIES
from tests.unit.tube import Tube

from overseer import machine, wire
from overseer.facts import Failed, Policy, Tick, World
from overseer.master import telling
from overseer.master.chronicle import BOUNDS, EVENTS, MOST, Chronicle
from overseer.master.control import Caller

if TYPE_CHECKING:
    from overseer.facts import Action, Event

ALWAYS = {"number", "time", "event"}


class Chronicled(Tube):
    """A master in a test tube whose life is written down."""

    def __init__(self, **policy: object) -> None:
        self.chronicle = Chronicle()
        super().__init__(**policy)

    def on(self, event: Event) -> list[Action]:
        """Let something happen, and write it down."""
        before = self.world
        actions = super().on(event)
        self.chronicle.take(before, event, actions, self.now)
        return actions

    @property
    def events(self) -> list[dict[str, Any]]:
        """Everything that is remembered."""
        return self.chronicle.latest_events(MOST)

    @property
    def told(self) -> list[str]:
        """The kinds of everything that is remembered, with the generation where there is one."""
        return [f"{e['event']} {e.get('generation', '')}".strip() for e in self.events]

    def last(self, kind: str) -> dict[str, Any]:
        """Return the last event of a kind."""
        return [e for e in self.events if e["event"] == kind][-1]


def test_a_restart_is_told_from_its_start_to_the_end_of_the_one_before() -> None:
    """In the order in which it happens, with how long each thing took."""
    tube = Chronicled()
    tube.up(1)
    tube.restart()
    tube.now += 2
    tube.up(2)
    tube.now += 3
    tube.exits(1)
    assert tube.told == [
        "started 1",
        "ready 1",
        "started 2",
        "ready 2",
        "answered",
        "drains 1",
        "exited 1",
        "drained 1",
    ]
    assert (tube.last("ready")["duration"], tube.last("drained")["duration"]) == (2, 3)
    assert tube.last("exited")["unasked"] is False
    assert tube.last("drains")["reason"] == "generation 2 serves"
    assert tube.chronicle.counts["restarts_done"] == 1
    assert tube.chronicle.times["drain"][BOUNDS.index(5.0)] == 1


def test_a_release_that_fails_is_told_with_its_reason_and_the_way_back() -> None:
    """Failed, held, rolled back: three facts, one reason."""
    tube = Chronicled(probation=60.0)
    tube.up(1)
    tube.chronicle.learn("B", "2.0")
    tube.stage("B")
    tube.up(2)
    tube.now += 7
    tube.on(Failed(2, "it has no heart"))
    assert [e for e in tube.told if "fail" in e or "held" in e or "rolled" in e] == [
        "failed 2",
        "held",
        "rolled-back",
    ]
    assert tube.last("failed")["duration"] == 7, "since its start, though it has served since"
    back = tube.last("rolled-back")
    assert (back["release"], back["version"], back["to"]) == ("B", "2.0", "A")
    assert (back["reason"], back["duration"]) == ("it has no heart", 7)
    assert tube.chronicle.counts["releases_rolled_back"] == 1


def test_a_release_that_passes_is_told_with_the_time_it_took() -> None:
    """From the moment it was staged."""
    tube = Chronicled(probation=60.0)
    tube.up(1)
    tube.stage("B")
    tube.up(2)
    tube.wait(60)
    assert tube.last("promoted")["duration"] == 60
    assert sum(tube.chronicle.times["upgrade"][:-1]) == 1


def test_a_worker_that_is_killed_is_told_twice() -> None:
    """That it is killed, and why; and its end. The generation says how many it had to lose."""
    tube = Chronicled(terminate_timeout=5.0)
    tube.up(1)
    tube.restart()
    tube.up(2)
    tube.wait(5)
    tube.exits(1, status=-9)
    assert "still there 5 s after" in tube.last("killed")["reason"]
    assert (tube.last("exited")["status"], tube.last("exited")["unasked"]) == (-9, False)
    assert tube.last("drained")["killed"] == 1
    assert tube.chronicle.counts["kills_draining"] == 1


def test_a_worker_that_ends_unasked_is_told_as_such() -> None:
    """With its status; and what failed thereby."""
    tube = Chronicled()
    tube.exits(1, status=3)
    assert (tube.last("exited")["status"], tube.last("exited")["unasked"]) == (3, True)
    assert tube.last("failed")["reason"] == "ended before it was ready (exit status 3)"


def test_the_end_of_a_master_is_told() -> None:
    """Who asked, that everybody is asked to leave, and with which status it ends."""
    tube = Chronicled()
    tube.up(1)
    tube.stop()
    tube.exits(1)
    assert tube.told[2:] == ["stopping", "drains 1", "exited 1", "drained 1", "answered", "ended"]


@given(policy=POLICIES, history=st.lists(st.tuples(HAPPENINGS, st.floats(0, 10)), max_size=40))
def test_whatever_happens_every_event_has_its_fields(
    policy: Policy, history: list[tuple[Event, float]]
) -> None:
    """Those of the table, all of them and no others; and what is counted agrees with what is told."""
    world, chronicle, now = World("a", "a", policy), Chronicle(), 0.0
    for event, later in [(Tick(), 0.0), *history]:
        now += later
        after, actions = machine.step(world, event, now)
        chronicle.take(world, event, actions, now)
        world = after
    told = chronicle.latest_events(MOST)
    for event_ in told:
        assert set(event_) == ALWAYS | set(EVENTS[event_["event"]]), event_
    if chronicle.last <= MOST:
        kinds = [event_["event"] for event_ in told]
        for kind, count in (
            ("started", "generations_started"),
            ("ready", "generations_served"),
            ("failed", "generations_failed"),
            ("held", "releases_held"),
            ("promoted", "releases_promoted"),
        ):
            assert kinds.count(kind) == chronicle.counts[count]
        assert kinds.count("drained") <= kinds.count("drains")
        living = {g.number for g in world.generations}
        ended = {e["generation"] for e in told if e["event"] in ("drained", "failed")}
        assert {e["generation"] for e in told if e["event"] == "started"} <= living | ended | _done(told)
    renewed = Chronicle(json.loads(json.dumps(chronicle.as_state())))
    assert renewed.as_state() == chronicle.as_state()


def _done(told: list[dict[str, Any]]) -> set[int]:
    """A command that came to its end is neither drained nor failed: its process has ended."""
    return {e["generation"] for e in told if e["event"] == "exited" and e["unasked"]}


def test_only_the_last_events_are_remembered() -> None:
    """A master that runs for years needs no more memory than one that runs for a day."""
    chronicle = Chronicle()
    for number in range(3 * MOST):
        chronicle.add("trouble", reason=f"{number} " + "x" * 10_000)
    assert (chronicle.last, chronicle.first) == (3 * MOST, 2 * MOST + 1)
    assert len(json.dumps(chronicle.as_state())) < MOST * 500


def test_what_is_listened_on_is_told_when_it_changes() -> None:
    """And what is wrong with releases, once when it begins and once when it is over."""
    chronicle = Chronicle()
    for addresses, trouble in (([":1"], ""), ([":1"], ""), ([":1", ":2"], "no network"), ([":2"], "")):
        chronicle.look(addresses, trouble)
    kinds = [(e["event"], e.get("added"), e.get("removed")) for e in chronicle.latest_events(MOST)]
    assert kinds == [
        ("addresses", [":1"], []),
        ("trouble", None, None),
        ("addresses", [":2"], []),
        ("trouble-over", None, None),
        ("addresses", [], [":1"]),
    ]


# -- whoever reads -----------------------------------------------------------------------------------------


def test_a_reader_who_stands_still_costs_a_few_lines_and_is_told_what_he_missed() -> None:
    """Nothing is kept for him beside the ring; when he reads on, he hears how many are gone."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        caller, chronicle = Caller(wire.Channel(ours), []), Chronicle()
        telling.begin(caller, chronicle, None, follow=True)
        for number in range(10 * MOST):
            chronicle.add("trouble", reason=str(number))
            telling.tell(caller, chronicle)
            assert caller.channel.unsent < 1 << 15
        heard = _read(theirs, caller, chronicle)
    numbers = [word["number"] for word in heard if word["type"] == "event"]
    missed = sum(word["events"] for word in heard if word["type"] == "missed")
    assert missed > 0
    assert len(numbers) + missed == 10 * MOST
    assert numbers == sorted(numbers)
    assert numbers[-1] == 10 * MOST


def _read(theirs: socket.socket, caller: Caller, chronicle: Chronicle) -> list[dict[str, Any]]:
    """Read until nothing more comes, while the master sends what it can."""
    theirs.setblocking(False)
    lines = wire.Lines()
    heard: list[Any] = []
    while True:
        caller.channel.flush()
        telling.tell(caller, chronicle)
        try:
            heard += lines.feed(theirs.recv(1 << 16))
        except BlockingIOError:
            return heard


def test_a_reader_may_begin_anywhere() -> None:
    """After a number, whatever it is; without one, at the oldest that is remembered."""
    chronicle = Chronicle()
    for number in range(MOST + 10):
        chronicle.add("trouble", reason=str(number))
    heard = {}
    for after in (None, 0, MOST, 10**30, -5, True, "x"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            caller = Caller(wire.Channel(ours), [])
            telling.begin(caller, chronicle, after, follow=False)
            telling.tell(caller, chronicle)
            heard[str(after)] = [word["type"] for word in _read(theirs, caller, chronicle)]
    assert heard["None"] == heard["True"] == heard["x"] == ["event"] * MOST + ["end"]
    assert heard["0"] == heard["-5"] == ["missed", *["event"] * MOST, "end"]
    assert heard[str(MOST)] == ["event"] * 10 + ["end"]
    assert heard[str(10**30)] == ["end"]

"""The load generator's account of a run: windows, generations, and failures in bounded memory."""

from __future__ import annotations

from typing import Any

from bench.load.ledger import MOST_FAILURES, SLICE, Ledger
from bench.load.marks import Marks
from bench.load.outcomes import Failure, Outcome


def failure(at: float, outcome: Outcome = Outcome.RESET) -> Failure:
    """Return a failure of a request that was due as long ago as it failed."""
    return Failure(outcome, "fresh", "why", at, at, None, 0, 0)


def test_a_request_due_before_a_window_and_answered_in_it_is_inside() -> None:
    """It was under way when the restart began, so the restart can be why it was slow."""
    ledger = Ledger("t", ("fresh",), started=0.0)
    ledger.answered("fresh", 0.5, 1.2, None)
    ledger.answered("fresh", 0.6, 0.7, None)
    marks = Marks()
    marks.add(1.0, 2.0, "restart")
    report = ledger.report(marks, now=3.0)
    assert (report.total.inside.ok, report.total.outside.ok) == (1, 1)
    assert report.total.inside.most == 1.2 - 0.5


def test_a_request_due_after_a_window_is_outside() -> None:
    """By more than the slice of time that is told apart."""
    ledger = Ledger("t", ("fresh",), started=0.0)
    ledger.answered("fresh", 2.0 + 2 * SLICE, 2.5, None)
    marks = Marks()
    marks.add(1.0, 2.0)
    assert ledger.report(marks, now=3.0).total.inside.count == 0


def test_a_request_under_way_in_two_windows_counts_once_inside() -> None:
    """Each window has it, the sum has it once."""
    ledger = Ledger("t", ("fresh",), started=0.0)
    ledger.answered("fresh", 0.5, 3.0, None)
    marks = Marks()
    marks.add(1.0, 1.5)
    marks.add(2.0, 2.5)
    report = ledger.report(marks, now=4.0)
    assert [window.summary.ok for window in report.windows] == [1, 1]
    assert report.total.inside.ok == report.total.all.ok == 1


def test_windows_of_one_label_are_added_up_and_others_are_told_apart() -> None:
    """A request that is under way in two of them counts once; one that two labels touch counts for both."""
    ledger = Ledger("t", ("fresh",), started=0.0)
    ledger.answered("fresh", 0.5, 3.0, None)
    ledger.answered("fresh", 3.5, 3.6, None)
    ledger.answered("fresh", 5.0, 5.2, None)
    marks = Marks()
    marks.add(1.0, 1.5, "restart")
    marks.add(2.0, 2.5, "restart")
    marks.add(2.8, 4.0, "warm-up")
    report = ledger.report(marks, now=6.0)
    assert {label: each.ok for label, each in report.labels.items()} == {"restart": 1, "warm-up": 2}
    assert report.labels["restart"].most == 3.0 - 0.5
    assert report.total.outside.ok == 1


def test_a_window_left_open_lasts_to_the_end_of_the_run() -> None:
    """A server that never came back is not outside of its restart."""
    ledger = Ledger("t", ("fresh",), started=0.0)
    ledger.failed(failure(9.0))
    marks = Marks()
    marks.add(1.0, None)
    report = ledger.report(marks, now=10.0)
    assert report.total.inside.failed == 1
    assert report.windows[0].end == 10.0


def test_failed_requests_are_counted_but_their_times_are_no_latencies() -> None:
    """A quick refusal must not make the figures better, nor a timeout be hidden among slow answers."""
    ledger = Ledger("t", ("fresh",), started=0.0)
    ledger.answered("fresh", 0.0, 0.5, None)
    ledger.failed(failure(0.1, Outcome.REFUSED))
    total = ledger.report(Marks(), now=1.0).total
    assert (total.all.ok, total.all.failed, total.all.p50) == (1, 1, 0.5)
    assert dict(total.outcomes) == {"ok": 1, "refused": 1}


def test_failures_past_a_thousand_are_only_counted() -> None:
    """A server that is down for an hour does not fill the memory."""
    told: list[dict[str, Any]] = []
    ledger = Ledger("t", ("fresh",), started=0.0, told=told.append)
    for number in range(MOST_FAILURES + 50):
        ledger.failed(failure(number / 100))
    report = ledger.report(Marks(), now=20.0)
    assert report.failed == MOST_FAILURES + 50
    assert len(report.failures) == len(told) == MOST_FAILURES


def test_the_first_answer_by_a_new_generation_is_timed_from_the_start_of_its_window() -> None:
    """That is how long clients waited for what the operator asked for."""
    ledger = Ledger("t", ("fresh",), started=0.0)
    ledger.answered("fresh", 0.5, 0.5, "1")
    ledger.answered("fresh", 1.5, 1.75, "2")
    ledger.answered("fresh", 1.8, 1.8, "1")
    marks = Marks()
    marks.add(1.25, 2.0, "restart")
    marks.add(2.5, 3.0, "nothing came of it")
    report = ledger.report(marks, now=4.0)
    assert [window.new_after for window in report.windows] == [0.5, None]
    assert {name: each.answers for name, each in report.generations.items()} == {"1": 2, "2": 1}


def test_the_first_answer_is_told_even_when_it_is_a_bad_one() -> None:
    """Somebody is there; a refusal says the opposite."""
    told: list[dict[str, Any]] = []
    ledger = Ledger("t", ("fresh",), started=0.0, told=told.append)
    ledger.failed(failure(0.1, Outcome.REFUSED))
    ledger.heard("1", 0.2, "fresh")
    assert [event["event"] for event in told] == ["failure", "started", "generation", "heard"]


def test_each_kind_of_client_hears_each_generation_for_the_first_time_once() -> None:
    """Who waits for one of them is not told of another."""
    told: list[dict[str, Any]] = []
    ledger = Ledger("t", ("fresh", "events"), started=0.0, told=told.append)
    for at, (kind, name) in enumerate([("fresh", "1"), ("fresh", "2"), ("events", "1"), ("fresh", "1")]):
        ledger.answered(kind, float(at), float(at), name)
    heard = [(each["kind"], each["generation"], each["at"]) for each in told if each["event"] == "heard"]
    assert heard == [("fresh", "1", 0.0), ("fresh", "2", 1.0), ("events", "1", 2.0)]
    assert sum(each["event"] == "generation" for each in told) == 2

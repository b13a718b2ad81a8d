"""The load generator's figures by generation, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.load import generations as module
from bench.load.generations import OTHERS, TIMED, Generations
from bench.load.histogram import Histogram
from bench.load.ledger import Ledger
from bench.load.marks import Marks
from bench.load.report import MOST_TOLD, Generation, Report, told
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    import pytest


@given(
    answers=st.lists(
        st.tuples(st.sampled_from(["1", "2", "3"]), st.floats(min_value=0.0001, max_value=10)), max_size=50
    )
)
def test_each_generation_has_the_latencies_of_its_own_answers(answers: list[tuple[str, float]]) -> None:
    """As if the others had not answered."""
    found = Generations()
    for at, (name, seconds) in enumerate(answers):
        found.heard(name, at)
        found.timed(name, seconds)
    table = found.table()
    assert list(table) == list(dict.fromkeys(name for name, _ in answers))
    for name, each in table.items():
        own = Histogram()
        for other, seconds in answers:
            if other == name:
                own.record(seconds)
        assert (each.answers, each.timed) == (own.count, own.count)
        shares = (own.quantile(0.5), own.quantile(0.99), own.quantile(0.999), own.most)
        assert (each.p50, each.p99, each.p999, each.most) == shares


def test_the_figures_of_a_generation_that_is_long_gone_stay() -> None:
    """It is summed up; what it says after that is counted and not timed."""
    found = Generations()
    for number in range(TIMED + 1):
        found.heard(str(number), number)
        found.timed(str(number), 0.5)
    found.heard("0", 9999)
    found.timed("0", 7.0)
    first = found.table()["0"]
    assert (first.answers, first.timed, first.most, first.last) == (2, 1, 0.5, 9999)
    assert found.table()[str(TIMED)].most == 0.5


def test_a_pattern_that_finds_a_new_name_in_every_answer_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rest have one name, which is heard for the first time once."""
    monkeypatch.setattr(module, "NAMED", 3)
    found = Generations()
    new = []
    for number in range(10):
        new.append(found.heard(str(number), number))
        found.timed(str(number), 0.1)
    assert new == [True] * 4 + [False] * 6
    assert {name: each.timed for name, each in found.table().items()} == {"0": 1, "1": 1, "2": 1, OTHERS: 7}


@given(p99s=st.lists(st.floats(min_value=0, max_value=10), min_size=1, max_size=60))
def test_of_many_generations_the_first_the_slowest_and_the_last_are_told(p99s: list[float]) -> None:
    """In their order, and never more than the table has room for."""
    every = {str(number): Generation(1, 0.0, 0.0, 1, p99=p99) for number, p99 in enumerate(p99s)}
    shown = told(every)
    assert len(shown) == min(len(every), MOST_TOLD)
    assert list(shown) == [name for name in every if name in shown]
    assert {"0", str(len(every) - 1)} <= set(shown)
    assert max(each.p99 for each in every.values()) == max(each.p99 for each in shown.values())


def test_a_report_tells_latencies_by_generation_in_words_and_as_data() -> None:
    """Also what was counted apart, beside the kind of client it is about."""
    ledger = Ledger("t", ("websocket",), started=0.0)
    for number in range(20):
        ledger.answered("websocket", float(number), number + 0.25, f"v{number}")
    ledger.apart["websocket"]["sent again"] += 3
    report = ledger.report(Marks(), now=30.0)
    assert Report.from_json(report.to_json()) == report
    assert report.to_json()["generations"]["v7"]["p999"] == 0.25
    lines = str(report).splitlines()
    (row,) = (line for line in lines if line.split()[:1] == ["v19"])
    assert row.split() == ["v19", "1", "250.00", "250.00", "250.00", "250.00"]
    assert not any(line.split()[:1] == ["v9"] for line in lines)
    assert "  the first, the slowest and the last of 20 generations" in lines
    assert any(line.strip() == "3 sent again" for line in lines)

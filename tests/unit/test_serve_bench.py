"""What make bench-serve counts, whom it measures, and where it writes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from bench import written
from bench.serve.__main__ import RESULTS, place
from bench.serve.peers import SUBJECTS, chosen
from bench.serve.running import Sample, is_new
from bench.serve.table import Row, Run, document, table

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = Sample(
    restarts=2,
    sent=1000,
    failed=0,
    steady=0.010,
    steady_answers=700,
    around=0.011,
    around_answers=200,
    worst=0.020,
    closed=3,
    busy=0.5,
    lag=0.001,
    until_new=[1.5, 1.5],
    until_left=[2.0, 2.0],
    stayed=0,
    by_kind={"kept": 0, "late": 0},
)
RUN = Run(rounds=1, seconds=1, versions={"x": "1"})
UWSGI = next(subject for subject in SUBJECTS if subject.without)


def test_who_was_imported_before_the_restart_is_not_new_though_never_heard() -> None:
    """One of two workers may answer for the first time after it."""
    assert not is_new("12@99.5", ["11@99.4"], since=100.0)
    assert is_new("13@100.5", ["11@99.4"], since=100.0)


def test_who_tells_no_time_is_new_when_nobody_has_heard_it() -> None:
    """So it is with nginx, which runs no program that could; it has one worker."""
    assert is_new("13", ["12"], since=100.0)
    assert not is_new("12", ["12"], since=100.0)


def test_rounds_are_summed_up_and_ratios_taken_within_each() -> None:
    """What failed is added, what took time is the middle one, and the longest is the longest of all."""
    rounds = [SAMPLE, replace(SAMPLE, failed=2, by_kind={"kept": 2, "late": 0}, steady=0.020, around=0.060)]
    rounds.append(replace(SAMPLE, around=0.020, worst=0.5, stayed=1))
    row = Row.of(replace(UWSGI, name="x", without=("pipeline",)), rounds)
    assert table([row]).splitlines()[-1] == (
        "| x | 6 | 3,000 | 2 | 2 kept, no pipeline sent, 1 of before never left | 9 "
        "| 10.0 ms | 20.0 ms | 2.00 (1.10…3.00) | 500.0 ms |"
    )


def test_there_is_no_ratio_to_a_round_without_quiet() -> None:
    """Answers that take longer than the quiet belong to the restart before it."""
    row = Row.of(UWSGI, [SAMPLE, replace(SAMPLE, steady=0.0, steady_answers=0)])
    assert " | 11.0 ms |  | " in table([row])


def test_a_saturated_machine_is_told() -> None:
    """Its latencies are not the server's."""
    full = Row.of(UWSGI, [replace(SAMPLE, busy=0.99)])
    late = Row.of(UWSGI, [replace(SAMPLE, lag=0.1)])
    well = Row.of(UWSGI, [SAMPLE])
    told = [document([row], RUN) for row in (full, late, well)]
    assert ["saturated" in each for each in told] == [True, True, False]


def test_a_server_without_a_row_is_told_with_the_reason() -> None:
    """A row that is missing without a word would be taken for a server that nobody thought of."""
    told = document([Row.of(UWSGI, [SAMPLE])], replace(RUN, missed={"another": "it ended with 1"}))
    assert "No row has another: it ended with 1." in " ".join(told.split())


def test_a_server_is_chosen_by_its_name_or_a_part_of_it() -> None:
    """A whole name is one server, though it is a part of others."""
    assert [subject.name for subject in chosen(["overseer.serve.asgi"])] == ["overseer.serve.asgi"]
    assert [subject.name for subject in chosen(["nginx", "gthread"])] == [
        subject.name for subject in SUBJECTS if "nginx" in subject.name or "gthread" in subject.name
    ]
    assert chosen([]) == list(SUBJECTS)
    with pytest.raises(ValueError, match="nobody is called 'apache'"):
        chosen(["nginx", "apache"])


def test_a_part_of_a_run_is_never_written_over_the_results(tmp_path: Path) -> None:
    """Not even if it is told to; elsewhere it may be."""
    assert place(None, whole=False) is None
    assert place(RESULTS, whole=False) is None
    assert place(tmp_path, whole=False) == tmp_path.resolve()
    assert place(None, whole=True) == RESULTS


def test_a_table_is_put_into_its_place_in_a_page(tmp_path: Path) -> None:
    """Between the comments that name its command; the rest of the page stays, other tables too."""
    page = tmp_path / "page.md"
    other = "<!-- from a run: make other -->\n\n1\n\n<!-- end of the run -->"
    page.write_text(f"a\n{other}\nb\n<!-- from a run: make it -->\n2\n<!-- end of the run -->\nc\n")
    for _ in range(2):
        written.into_page(page, "make it", "3")
    assert page.read_text() == (
        f"a\n{other}\nb\n<!-- from a run: make it -->\n\n3\n\n<!-- end of the run -->\nc\n"
    )


def test_a_page_without_a_place_is_told_and_left_alone(tmp_path: Path) -> None:
    """A run is not lost silently."""
    page = tmp_path / "page.md"
    page.write_text("<!-- from a run: make other -->\n<!-- end of the run -->\n")
    with pytest.raises(ValueError, match="make it"):
        written.into_page(page, "make it", "3")
    assert "3" not in page.read_text()


def test_some_of_ours_are_left_alone_to_tell_what_a_ratio_is_worth() -> None:
    """One whose requests take one thread, and one whose requests go from thread to thread."""
    alone = [subject.name for subject in SUBJECTS if subject.restart is None]
    assert alone == ["overseer.serve.asgi, left alone", "overseer.serve.wsgi, left alone"]

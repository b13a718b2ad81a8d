"""Tables that a bench has written stand in the docs as they were written."""

from __future__ import annotations

import pytest
from bench.matrix.__main__ import RESULTS, SERVERS
from bench.serve.__main__ import SUBJECTS

from tests.docs.blocks import ROOT


@pytest.mark.parametrize(
    ("bench", "page", "count"),
    [
        ("matrix", "docs/howto/any-program.md", len(SERVERS)),
        ("serve", "docs/explanation/figures.md", len(SUBJECTS)),
    ],
)
def test_the_page_has_the_table_of_the_last_run(bench: str, page: str, count: int) -> None:
    """Whole, each with a row for whatever is measured."""
    rows = [line for line in (RESULTS / f"{bench}.md").read_text().splitlines() if line.startswith("|")]
    assert len(rows) == count + 2
    assert "\n".join(rows) in (ROOT / page).read_text()

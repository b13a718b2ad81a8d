"""Tables that a bench has written stand in the docs as they were written."""

from __future__ import annotations

import pytest
from bench.matrix.__main__ import RESULTS
from bench.matrix.servers import SERVERS
from bench.serve.peers import SUBJECTS

from tests.docs.blocks import ROOT


@pytest.mark.parametrize(
    ("bench", "page", "measured"),
    [
        ("matrix", "docs/howto/any-program.md", {server.name for server in SERVERS}),
        ("serve", "docs/explanation/figures.md", {subject.name for subject in SUBJECTS}),
    ],
)
def test_the_page_has_the_table_of_the_last_run(bench: str, page: str, measured: set[str]) -> None:
    """Whole, each with a row for whatever is measured."""
    rows = [line for line in (RESULTS / f"{bench}.md").read_text().splitlines() if line.startswith("|")]
    assert sorted(row.split(" | ")[0].removeprefix("| ") for row in rows[2:]) == sorted(measured)
    assert "\n".join(rows) in (ROOT / page).read_text()


def test_the_page_tells_of_every_server_that_is_measured_how_it_is_started() -> None:
    """In its first table; of the one that binds its port itself in the text."""
    page = (ROOT / "docs/howto/any-program.md").read_text()
    commands, _, rest = page.partition("\n\nThis is what clients saw")
    for server in SERVERS:
        first = server.name.replace(",", " ").split()[0]
        assert first in (rest if server.binds else commands), server.name

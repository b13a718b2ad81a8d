"""Servers that nobody here wrote, below `overseer run`: two restarts each under load, of `make matrix`."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.matrix.__main__ import RESULTS, SERVERS, Row, Server, measure, missing, table

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "any-program.md"


@pytest.mark.long
@pytest.mark.parametrize("server", SERVERS, ids=lambda server: str(server.name))
def test_a_server_is_restarted_under_load(server: Server) -> None:
    """A stop is a good end for all of them; some lose what they have accepted and not yet heard."""
    if why := missing(server):
        pytest.skip(f"NOT PROVEN HERE: {why}")
    row = measure(server, 2)
    assert row.sent > 100
    assert row.status == 0, row
    assert not (server.finishes and row.failed), row


def test_the_page_has_the_table_of_the_last_run() -> None:
    """As it was written down."""
    rows = [line for line in (RESULTS / "matrix.md").read_text().splitlines() if line.startswith("|")]
    assert len(rows) == len(SERVERS) + 2
    assert "\n".join(rows) in PAGE.read_text()


def test_the_table_tells_what_failed_and_as_what() -> None:
    """In words, and empty where nothing did."""
    rows = [Row("a", "1", 2, 3000, 2, {"fresh": 0, "kept": 2}, {"reset": 2}), Row("b", "", 2, 5, 0)]
    assert table(rows).splitlines()[2:] == [
        "| a | 1 | 2 | 3,000 | 2 | 2 kept | 2 reset |",
        "| b |  | 2 | 5 | 0 |  |  |",
    ]

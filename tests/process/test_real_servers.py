"""Servers that nobody here wrote, below `overseer run`: two restarts each under load, of `make matrix`."""

from __future__ import annotations

import pytest
from bench.matrix.__main__ import Row, measure, table
from bench.matrix.servers import SERVERS, Server, missing


@pytest.mark.long
@pytest.mark.parametrize("server", SERVERS, ids=lambda server: str(server.name))
def test_a_server_is_restarted_under_load(server: Server) -> None:
    """A stop is a good end for all of them; some lose what they have accepted and not yet heard."""
    if why := missing(server):
        pytest.skip(f"NOT PROVEN HERE: {why}")
    row = measure(server, 2)
    assert row.sent > 100
    assert row.status == 0, row
    assert not {"refused", "timeout", "local"} & row.saw.keys(), row
    assert not {kind for kind in server.answers if row.by_kind[kind]}, row


def test_the_table_tells_what_failed_and_as_what() -> None:
    """In words, and empty where nothing did; and who ends each connection has lost no kept one for that."""
    rows = [Row("a", "1", 2, 3000, 2, 1200, {"fresh": 0, "kept": 2}, {"reset": 2}), Row("b", "", 2, 5, 0)]
    assert table(rows).splitlines()[2:] == [
        "| a | 1 | 2 | 3,000 | 1,200 | 2 | 2 kept | 2 reset |",
        "| b |  | 2 | 5 | ends each | 0 |  |  |",
    ]

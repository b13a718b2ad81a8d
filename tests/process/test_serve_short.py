"""A generation that may not have more descriptors takes over what rests as soon as it may, and loses none."""

from __future__ import annotations

import http.client
import os
import select
from typing import TYPE_CHECKING

import pytest

from tests.process.service import DEADLINE
from tests.process.test_serve_handing import SERVERS, answered, made

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

SHORT = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, MOST))
"""


@pytest.mark.parametrize("source", SERVERS.values(), ids=SERVERS)
def test_a_connection_waits_for_a_descriptor(service: Callable[..., Service], source: str) -> None:
    """The kernel closes a connection that comes where none is free; so it is left where it is."""
    app = service(made(source)).serves()
    (pid,) = app.pids(1)
    most = max(int(number) for number in os.listdir(f"/proc/{pid}/fd")) + 20
    kept = {connection.sock.fileno(): connection for connection in answered(app, 60)}
    app.write(SHORT.replace("MOST", str(most)) + made(source))
    assert app.restart() == 2
    app.logged("connections are handed over, and wait: Too many open files")
    answers = select.poll()
    for number, connection in kept.items():
        connection.request("GET", "/")
        answers.register(number, select.POLLIN)
    lost = 0
    while kept:
        found = answers.poll(DEADLINE * 1000)
        assert found, f"{len(kept)} have no answer, {lost} are lost"
        for number, _ in found:
            answers.unregister(number)
            connection = kept.pop(number)
            try:
                connection.getresponse().read()
            except (http.client.HTTPException, ConnectionError):
                lost += 1
            connection.close()  # and there is room for another one
    assert lost == 0
    app.logged(r"generation 1 \(pid \d+\) left .*: exit status 0")

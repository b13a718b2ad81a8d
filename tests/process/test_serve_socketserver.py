"""Servers of the standard library: what threads, or none, have to do with a drain."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.process.service import DEADLINE, until
from tests.process.test_serve import KEPT, SINGLE, read_all
from tests.process.test_serve_handing import is_read

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service


def test_who_is_asked_to_leave_before_it_serves_leaves(service: Callable[..., Service]) -> None:
    """The end of a loop that has not begun is waited for by nobody."""
    late = "    state.ready()\n    state.draining.wait()\n    server ="
    app = service(KEPT.replace("LINGER", "1").replace("    server =", late)).serves()
    app.restart()
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_a_server_without_threads_hears_that_its_master_has_gone(service: Callable[..., Service]) -> None:
    """Also while it drains, and is held by a request."""
    waits = """
        while not program.state.draining.stops:
            time.sleep(0.01)
        body ="""
    source = SINGLE.replace("LINGER", "1").replace("        body =", waits.lstrip("\n"))
    source = source.replace("(state):", "(state):\n    program.state = state")
    app = service(source.replace("import http", "import time, http", 1)).serves()
    held = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    held.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
    until(lambda: is_read(held), "the request is read")
    app.restart()
    app.process.kill()
    assert read_all(held).endswith(b"1 0")

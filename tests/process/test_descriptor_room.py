"""Who accepts many connections at once finds room for their descriptors, and does not wait for the kernel."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from tests.process.foreigners import foreign
from tests.process.service import ECHO

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

TELLS = """
with open("/proc/self/status") as file:
    print("room", [line.split()[1] for line in file if line.startswith("FDSize")][0], flush=True)
"""
"""At the start of a program: for how many descriptors the kernel has room (proc(5))."""

SOFT, _ = resource.getrlimit(resource.RLIMIT_NOFILE)


def native(service: Callable[..., Service], prefix: list[str]) -> Service:
    """Start a program that runs with overseer's help."""
    return service(TELLS + ECHO, prefix=prefix)


def strange(service: Callable[..., Service], prefix: list[str]) -> Service:
    """Start one that knows nothing of it."""
    return foreign(service, body=f"{TELLS}\nprogram()", prefix=prefix)


@pytest.mark.parametrize("start", [native, strange])
@pytest.mark.parametrize(("limit", "room"), [(min(SOFT, 20_000), 16_384), (1_500, 1_024), (300, 256)])
def test_there_is_room_before_anybody_connects(
    service: Callable[..., Service],
    start: Callable[[Callable[..., Service], list[str]], Service],
    limit: int,
    room: int,
) -> None:
    """For as many as the limit of open files allows, within reason; so in each generation."""
    if limit < room:
        pytest.skip(f"this process may have {limit} open files")
    app = start(service, ["prlimit", f"--nofile={limit}:"]).serves()
    app.restart()
    app.said(rf"room {room}\n", times=2)


def test_a_low_limit_is_no_reason_not_to_start(service: Callable[..., Service]) -> None:
    """Then the table is as large as it ever will be."""
    app = native(service, ["prlimit", "--nofile=40:"]).serves()
    assert app.restart() == 2

"""One systemd for all that a module proves, and programs under it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.systemd.manager import Systemd, obstacle
from tests.systemd.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """Boot one, or say why not."""
    if why := obstacle():
        pytest.skip(why)
    with Systemd(tmp_path_factory.mktemp("systemd")) as booted:
        yield booted


@pytest.fixture
def port() -> int:
    """A port of the loopback that nobody has at present."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        number: int = found.getsockname()[1]
        return number


@pytest.fixture
def unit(systemd: Systemd, request: pytest.FixtureRequest) -> Iterator[Callable[..., Unit]]:
    """Make units, and stop them at the end."""
    made: list[Unit] = []

    def make(source: str, *lines: str, **options: object) -> Unit:
        name = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")[:40].strip("-")
        name += f"-{len(made)}" if made else ""
        made.append(Unit(systemd, name, source, *lines, **options))
        return made[-1]

    yield make
    for one in made:
        systemd.run("systemctl", "kill", "--signal=KILL", one.name)
        systemd.run("systemctl", "stop", one.name, f"{one.name}.socket")

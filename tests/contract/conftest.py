"""Sites of signed releases, for whoever plays a client; servers that misbehave, for the load generator."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.contract.loaded import Server, Visit
from tests.contract.publishing import make_template
from tests.contract.site import Site

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def first_site(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Publish version 1.0, once for all tests."""
    return make_template(str(tmp_path_factory.mktemp("site")))


@pytest.fixture
def site(first_site: str, tmp_path: Path) -> Site:
    """Have a site of one's own, with version 2.0 in it."""
    shutil.copytree(os.path.join(first_site, "one"), tmp_path / "site")
    made = Site(tmp_path / "site")
    made.publish("2.0", notes="it is better")
    return made


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers that end with the test."""
    servers: list[Server] = []

    def start(
        behave: Callable[[Visit], None], path: str = "", context: ssl.SSLContext | None = None
    ) -> Server:
        servers.append(Server(behave, path, context))
        return servers[-1]

    yield start
    for server in servers:
        server.close()

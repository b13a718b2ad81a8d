"""A repository and a client of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.repository import Client, Repository

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository() -> Repository:
    """Have a repository whose roles are all in version 1."""
    return Repository()


@pytest.fixture
def client(tmp_path: Path, repository: Repository) -> Client:
    """Have a client that trusts its first root, and has not looked yet."""
    return Client(tmp_path, repository)

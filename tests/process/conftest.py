"""What the tests with real processes share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.process.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start programs under overseer that do not outlive the test."""
    started: list[Service] = []

    def start(*args: Any, **options: Any) -> Service:
        folder = tmp_path / f"service{len(started)}"
        folder.mkdir()
        started.append(Service(folder, *args, **options))
        return started[-1]

    yield start
    for one in started:
        one.__exit__()

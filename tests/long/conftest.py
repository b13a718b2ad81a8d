"""What the proofs on file systems of their own share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.long.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Volume]:
    """Mount a file system of the kind that the test is about."""
    kind, options = request.param
    if obstacle := Volume.obstacle(kind):
        pytest.skip(f"NOT PROVEN HERE: {obstacle}")
    with Volume(tmp_path, kind, options) as mounted:
        yield mounted

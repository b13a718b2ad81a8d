"""The attacks on signed releases: all are refused, and the page tells of all of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.process.attacks import ATTACKS, PAGE, play, table
from tests.process.besieged import Stage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.long
def test_no_attack_comes_through_and_no_client_notices_one(tmp_path: Path) -> None:
    """Each is refused and said, nothing of it is executed, and the service serves on."""
    with Stage(tmp_path) as stage:
        outcomes, report = play(stage, ATTACKS)
        print("\n".join(table(outcomes, stage)))
    assert report.failed == 0, report
    for each in outcomes:
        assert not each.executed, each
        assert each.failed == 0, each
        assert each.requests > 0, each


def test_the_page_tells_of_every_attack_as_it_went_in_a_run() -> None:
    """Another list in the code wants another run: make attacks."""
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \| .+ \| [\d,]+ \| 0 \| nothing \|$", PAGE.read_text(), re.MULTILINE
    )
    assert rows == [(each.name, each.has) for each in ATTACKS]

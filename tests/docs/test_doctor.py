"""The page of the doctor and the code agree on what is looked at."""

from __future__ import annotations

import re

from overseer.doctor.judge import judge
from tests.docs.blocks import ROOT
from tests.unit.test_doctor import WELL

PAGE = (ROOT / "docs" / "reference" / "doctor.md").read_text()


def test_every_check_is_in_the_page_in_its_order() -> None:
    """And no other."""
    told = re.findall(r"^\| `(\w+)` \|", PAGE.partition("| check |")[2], re.MULTILINE)
    assert told == [finding.check for finding in judge(WELL)]

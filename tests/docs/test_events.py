"""The page of events and the code agree: every kind is there, with its fields, and no other."""

from __future__ import annotations

import re

from overseer.master.chronicle import EVENTS, MOST
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "reference" / "events.md").read_text()


def test_every_event_is_in_the_page_with_its_fields() -> None:
    """Read out of its tables."""
    rows = re.findall(r"^\| `([\w-]+)` \| (?:(.*?) )?\| .+ \|$", PAGE, re.MULTILINE)
    told = {kind: set(re.findall(r"`(\w+)`", fields)) for kind, fields in rows}
    assert told == {kind: set(fields) for kind, fields in EVENTS.items()}


def test_the_page_knows_how_many_are_remembered() -> None:
    """The one figure in it."""
    assert f"the last {MOST} of them" in PAGE

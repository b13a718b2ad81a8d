"""Stories and laws catch faults: that is how they show that they are worth something."""

from __future__ import annotations

import pytest
from tests.laws.mutants import main


@pytest.mark.long
@pytest.mark.very_long
def test_no_seeded_fault_goes_unnoticed() -> None:
    """Every mutant is killed, or it is known why it makes no difference."""
    assert main([]) == 0

"""The original's example: builds that say hello, one after the other, and nobody notices."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_example_tells_the_originals_story() -> None:
    """Each build listens, says hello and leaves; the first answers its slow request after the second did."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.hello.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    story = re.sub(r" \([0-9a-f]{12}\)", "", done.stdout).splitlines()
    for build in "1234":
        told = [f"BUILT APP ({build})", f"app#{build} listening...", f"app#{build} says hello"]
        places = [story.index(line) for line in told]
        assert places == sorted(places), story
        begun, ended = f"app#{build} listening...", f"app#{build} exiting..."
        assert ended in story, done.stdout + done.stderr
        assert story.index(begun) < story.index(ended)
    assert story[:2] == ["BUILT APP (1)", "RUNNING APP"]
    assert story.count("app#1 says hello") == 2, "one quick answer, and the slow one"
    slow = len(story) - 1 - story[::-1].index("app#1 says hello")
    assert story.index("app#2 listening...") < slow, "build 1 stays until its last request is closed"
    assert re.search(r"; 0 failed; one PID, \d+$", story[-1]), story[-1]

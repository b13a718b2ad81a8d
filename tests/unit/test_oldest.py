"""What is said to be supported is what is proven."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = ("serve", "hypercorn", "granian", "wsgi", "aiohttp", "grpc")


def test_the_oldest_versions_of_the_servers_are_those_of_the_extras() -> None:
    """`make oldest` runs the proofs of overseer.serve with exactly these."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    said = dict(wanted.split(">=") for extra in EXTRAS for wanted in extras[extra])
    pinned = dict(re.findall(r"^(\w+)==([\d.]+)$", (ROOT / "tests" / "oldest.txt").read_text(), re.MULTILINE))
    assert said.keys() == pinned.keys()
    for name, version in said.items():
        assert (pinned[name] + ".0").startswith(version + "."), name

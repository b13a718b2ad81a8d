"""The fake GitHub, held to GitHub's own description of its API by prism."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import urllib3
from tests.contract.fake_github import FakeGitHub

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS = Path(__file__).parents[2] / ".prism"
RELEASES = "/repos/{owner}/{repo}/releases"
PATHS = ("", "/latest", "/tags/{tag}", "/assets/{asset_id}")

pytestmark = [pytest.mark.long, pytest.mark.very_long]


@pytest.fixture(scope="module")
def prism() -> Path:
    """Install prism and GitHub's description, once for this working copy."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed, so the fake GitHub is not held to the official schema")
    if not (TOOLS / "node_modules/.bin/prism").exists():
        packages = ["@stoplight/prism-cli@5", "@octokit/openapi@23"]
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(TOOLS), *packages],
            check=True,
            env={**os.environ, "HOME": str(TOOLS)},
        )
    return TOOLS / "node_modules"


@pytest.fixture
def proxy(prism: Path, tmp_path: Path) -> Iterator[str]:
    """Serve a fake with two releases, through prism; say prism's URL."""
    official = json.loads((prism / "@octokit/openapi/generated/api.github.com.deref.json").read_text())
    paths = {RELEASES + path: {"get": official["paths"][RELEASES + path]["get"]} for path in PATHS}
    schema = tmp_path / "releases.json"
    schema.write_text(json.dumps({"openapi": official["openapi"], "info": official["info"], "paths": paths}))
    with FakeGitHub() as fake:
        fake.publish("v1", {"app": b"one", "app.sha256": b"sum"})
        fake.publish("v2", {"app": b"two"}, pre=True)
        argv = [str(prism / ".bin/prism"), "proxy", str(schema), fake.url, "--errors", "--port", "0"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                yield listening(process)
            finally:
                process.terminate()


def listening(process: subprocess.Popen[str]) -> str:
    """Wait until prism says where it listens."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "listening on" in line:
            return line.split("listening on")[1].strip()
    return pytest.fail(f"prism did not start: {''.join(said)}")


@pytest.mark.parametrize("path", ["", "?per_page=30", "/latest", "/tags/v1", "/assets/1000"])
def test_the_fake_answers_as_the_official_schema_demands(proxy: str, path: str) -> None:
    """Prism answers 500, with its reasons, where it departs from it."""
    answer = urllib3.request("GET", f"{proxy}/repos/ann/app/releases{path}", retries=False)
    assert answer.status == 200, answer.data.decode()


def test_the_fake_is_really_held_to_it(proxy: str) -> None:
    """A question that the schema does not know is refused by prism, not answered by the fake."""
    answer = urllib3.request("GET", f"{proxy}/repos/ann/app/tarball", retries=False)
    assert answer.status == 404
    assert b"NO_PATH_MATCHED" in answer.data

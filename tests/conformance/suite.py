"""Run the public suite of TUF clients against ours, and print the figure.

    python -m tests.conformance.suite [CHECKOUT] [--plain] [WORDS FOR PYTEST...]

Without a checkout of it, github.com/theupdateframework/tuf-conformance is cloned. The suite has an
environment of its own, with what it asks for. It wants `faketime` (Debian: faketime). `--plain` is a client
without cryptography: the suite's publisher signs with ECDSA unless a test says otherwise, so hardly anything
passes then.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import xml.etree.ElementTree as ET
from pathlib import Path

URL = "https://github.com/theupdateframework/tuf-conformance"
ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv" / "conformance"


def main(words: list[str]) -> int:
    """Run it; return 1 if anything failed."""
    plain = "--plain" in words
    words = [word for word in words if word != "--plain"]
    suite = Path(words.pop(0)).resolve() if words and not words[0].startswith("-") else cloned()
    if not (suite / "tuf_conformance").is_dir():
        sys.exit(f"{suite} is no checkout of {URL}")
    if shutil.which("faketime") is None:
        sys.exit("the suite wants faketime: apt-get install faketime")
    python = environment(suite)
    results = HOME / "results.xml"
    results.unlink(missing_ok=True)
    module = "plain_client" if plain else "client"
    command = [
        *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={results}", *words),
        *("--entrypoint", f"{sys.executable} -m tests.conformance.{module}"),
        str(suite / "tuf_conformance"),
    ]
    subprocess.run(command, cwd=ROOT, check=False)
    return told(results, suite)


def cloned() -> Path:
    """Return a checkout, made if there is none yet."""
    place = HOME / "tuf-conformance"
    if not place.exists():
        command = ["git", "clone", "--quiet", "--depth=1", URL, str(place)]
        if subprocess.run(command, check=False).returncode:
            sys.exit("the suite cannot be cloned; say where a checkout of it is: make conformance SUITE=...")
    return place


def environment(suite: Path) -> str:
    """Return the interpreter of the suite's environment, made if it is not there."""
    python = HOME / "env" / "bin" / "python"
    if not python.exists():
        venv.create(HOME / "env", with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--editable", str(suite)], check=True)
    return str(python)


def told(results: Path, suite: Path) -> int:
    """Print the figure, and what did not pass."""
    if not results.exists():
        sys.exit("the suite came to no result")
    cases = list(ET.parse(results).getroot().iter("testcase"))
    failed = [case for case in cases if {"failure", "error"} & {each.tag for each in case}]
    skipped = [case for case in cases if "skipped" in {each.tag for each in case}]
    passed = len(cases) - len(failed) - len(skipped)
    for kind, those in (("failed", failed), ("skipped", skipped)):
        for case in those:
            print(f"{kind}: {case.get('classname')}::{case.get('name')}")
    print(f"tuf-conformance at {commit(suite)}: {passed} of {len(cases)} passed")
    return 1 if failed or not cases else 0


def commit(suite: Path) -> str:
    """Return which state of it this is."""
    command = ["git", "-C", str(suite), "describe", "--always", "--tags", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

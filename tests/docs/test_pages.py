"""What the pages say of the code is in the code, and what the code says to people is in the pages."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from tests.docs.blocks import MARGIN, ROOT, blocks, pages
from tests.docs.log_lines import composed, sentences, told

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
LOG = (ROOT / "docs" / "reference" / "log.md").read_text()


def test_generated_parts_are_up_to_date() -> None:
    """`make docs` would change nothing."""
    command = [sys.executable, "-m", "docs.generate", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"run make docs: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link names a file, and its heading if it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        found = (PAGES[page].parent / path).resolve() if path else PAGES[page]
        assert found.exists(), target
        if heading:
            assert heading in _headings(found.read_text()), target


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_reached(page: str) -> None:
    """A page that nobody links to is read by nobody."""
    if page == "README.md":
        return
    target = PAGES[page].resolve()
    for other, path in PAGES.items():
        linked = re.findall(r"\]\(([^)#\s]+)[^)]*\)", _prose(other))
        if other != page and any((path.parent / link).resolve() == target for link in linked):
            return
    raise AssertionError(f"nobody links to {page}")


def test_every_extra_is_told() -> None:
    """The README says of each what it brings, and of none that is not there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| (`[^|]*) \|", _prose("README.md"), re.MULTILINE)
    assert sorted(re.findall(r"`([a-z0-9]+)`", " ".join(rows))) == sorted(project["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES)
def test_what_is_pointed_to_in_the_repository_is_there(page: str) -> None:
    """`src/...`, `tests/...::name` and the like name files, and names in them."""
    for path, name in re.findall(r"`((?:src|tests|bench|examples|docs)/[\w./-]+)(?:::(\w+))?`", _prose(page)):
        assert (ROOT / path).exists(), path
        if name:
            assert name in (ROOT / path).read_text(), f"{path}::{name}"


@pytest.mark.parametrize("page", PAGES)
def test_prose_keeps_within_the_margin(page: str) -> None:
    """120 columns, but for tables, links and what is generated."""
    generated = re.sub(r"<!-- generated.*?<!-- end", "", _prose(page), flags=re.DOTALL)
    long = [line for line in generated.splitlines() if len(line) > MARGIN and not line.startswith("|")]
    mine = [line for line in long if not re.match(r"\* \[|\[", line)]
    assert not mine


@pytest.mark.parametrize(("pattern", "place"), sentences().items(), ids=list(sentences().values()))
def test_every_line_of_the_log_is_explained(pattern: str, place: str) -> None:
    """Whoever reads a line at 3 a.m. finds it, and what to do."""
    assert [line for line in told(LOG) if re.fullmatch(pattern, line)], f"{place}: {pattern}"


@pytest.mark.parametrize("line", told(LOG))
def test_every_line_that_is_explained_can_come(line: str) -> None:
    """No page explains what nobody says any more."""
    assert [pattern for pattern in (*sentences(), *composed()) if re.fullmatch(pattern, line)]


def test_lines_shown_as_a_log_are_lines_of_the_log() -> None:
    """An example is what would really be seen."""
    for block in blocks():
        for line in block.text.splitlines() if "log" in block.wants else ():
            text = re.sub(r"^overseer: (warning: |error: )?", "", line)
            assert any(re.fullmatch(pattern, text) for pattern in (*sentences(), *composed())), line


def _prose(page: str) -> str:
    return re.sub(r"^```.*?^```", "", PAGES[page].read_text(), flags=re.DOTALL | re.MULTILINE)


def _headings(text: str) -> set[str]:
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}

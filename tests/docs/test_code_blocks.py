"""Every fenced block of the README and of the pages below docs does what it says it does."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import pytest

from tests.docs import programs, settings
from tests.docs.blocks import Block, UntestableError, blocks, read, refuse_unknown
from tests.docs.commands import follow, missing, only_looked_at, pattern_of, save
from tests.docs.places import Places
from tests.docs.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = blocks()
SESSIONS = ("sh", "console")
PROGRAMS = [
    b for b in BLOCKS if b.language == "python" and programs.is_program(b.text) and "page" not in b.wants
]
SNIPPETS = [
    b for b in BLOCKS if b.language == "python" and not (programs.is_program(b.text) or "page" in b.wants)
]  # what is for its page's commands only is run by these
FILES = [b for b in BLOCKS if b.language not in ("python", *SESSIONS)]
PAGES = {
    page: [b for b in of_page if b.language in SESSIONS or "file" in b.wants]
    for page, of_page in groupby(BLOCKS, lambda b: b.page)
}
TYPED = {page: found for page, found in PAGES.items() if any(b.language in SESSIONS for b in found)}

SLOW = {f"docs/howto/{name}.md" for name in ("lost-keys", "sign-together", "publish", "small-updates")}
SLOW |= {"docs/tutorial/sign-your-releases.md"}
"""Pages with dozens of commands that each derive keys from passphrases."""


def _follow(page: str, folder: Path) -> None:
    """Do what a reader of the page does, in its order."""
    places = Places(folder)
    with Terminal(folder) as terminal:
        for block in TYPED[page]:
            if block.language == "python":
                save(block, folder, places)
            else:
                follow(block, terminal, places)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_can_be_verified(block: Block) -> None:
    """Its language and its words are known; a block that nobody can verify has no place in a page."""
    refuse_unknown(block)


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.name)
def test_a_program_does_what_its_page_says(block: Block, tmp_path: Path) -> None:
    """It is run as a real process: it serves, restarts, upgrades, as its nature or its comment says."""
    programs.run_program(block, tmp_path)


@pytest.mark.parametrize("block", SNIPPETS, ids=lambda block: block.name)
def test_a_snippet_runs(block: Block, tmp_path: Path) -> None:
    """A piece of Python that is no program runs to its end, with its assertions true."""
    programs.run_snippet(block.text, tmp_path)


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.long] if page in SLOW else []) for page in TYPED]
)
def test_the_commands_of_a_page_do_what_it_shows(page: str, tmp_path: Path) -> None:
    """They are typed into one terminal, in order, and what the page shows is seen there."""
    if absent := set[str]().union(*(missing(b) for b in TYPED[page] if b.language == "console")):
        pytest.skip(f"this machine has no {', '.join(absent)}")
    _follow(page, tmp_path)


@pytest.mark.parametrize("block", FILES, ids=lambda block: block.name)
def test_a_file_for_another_program_can_be_read_by_it(block: Block, tmp_path: Path) -> None:
    """Units, configurations and words are read as their owners read them."""
    settings.verify(block, tmp_path)


def test_an_unknown_word_is_refused() -> None:
    """A wish that the runner does not understand is not silently lost."""
    (block,) = read("<!-- test: serves flies -->\n```python\npass\n```\n", "page")
    assert block.wants == {"serves": "", "flies": ""}
    with pytest.raises(UntestableError, match="flies"):
        refuse_unknown(block)


def test_an_unknown_language_is_refused() -> None:
    """A block that nobody can verify fails."""
    (block,) = read("```cobol\nSTOP RUN\n```\n", "page")
    with pytest.raises(UntestableError, match="cobol"):
        refuse_unknown(block)


def test_a_fence_that_never_closes_is_refused() -> None:
    """The rest of the page would be taken for code."""
    with pytest.raises(UntestableError, match="never closed"):
        list(read("text\n```python\npass\n", "page"))


def test_a_command_that_is_not_known_is_refused() -> None:
    """It is run, or it is on the list of those that are looked at; there is nothing between."""
    assert only_looked_at("make demo   # live")
    assert not only_looked_at("curl -s localhost:3000 | head -1")
    for wrong in ("make coffee", "pip install something-else", "rm -rf build"):
        with pytest.raises(UntestableError):
            only_looked_at(wrong)


def test_figures_of_chance_match_others_of_their_kind() -> None:
    """A shown line stands for every line that differs in times, digests and process numbers only."""
    import re  # noqa: PLC0415

    shown = "overseer: generation 2 serves, 0.12 s after its start"
    assert re.fullmatch(pattern_of(shown), shown.replace("0.12", "10.07"))
    assert not re.fullmatch(pattern_of(shown), shown.replace("2 serves", "3 serves"))

"""The fenced blocks of the pages, each with its language and what its author wants verified.

An HTML comment on the line before a block, `<!-- test: serves restarts -->`, holds words for the runner;
`file=app.py` is a word with a value. A word that nobody knows is an error, so that no wish is silently lost.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
"""The repository."""

MARGIN = 120
"""Columns that no line of prose has more of; most keep to 110."""

WORDS = {
    "python": {
        "serves", "restarts", "upgrades", "installs", "prints", "workers", "alone", "checks", "exits",
        "says", "file", "page",
    },
    "sh": {"file"},
    "console": set(),
    "ini": {"unit", "supervisor"},
    "dockerfile": {"file"},
    "text": {"drawing", "log"},
    "json": set(),
    "jsonl": {"words"},
    "toml": set(),
}  # fmt: skip
"""What may be said before a block, by its language; a language that is not here cannot be tested."""

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>\S*)\s*$")
_COMMENT = re.compile(r"^\s*<!-- test: (?P<words>.*?) -->\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str  # relative to the repository
    line: int  # of its opening fence
    language: str
    text: str
    words: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What a test calls it."""
        return f"{self.page}:{self.line}"

    @property
    def wants(self) -> Mapping[str, str]:
        """The words of its comment, with their values."""
        return dict(self.words)


class UntestableError(Exception):
    """A block that nobody can verify, and what to do about it."""


def pages() -> list[Path]:
    """Return every page with blocks: the README and all below docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks() -> list[Block]:
    """Return the blocks of all pages, in order."""
    return [block for page in pages() for block in read(page.read_text(), str(page.relative_to(ROOT)))]


def read(text: str, page: str) -> Iterator[Block]:
    """Cut a page into its blocks. Raises `UntestableError` for a fence that never closes."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if not opened:
            at += 1
            continue
        start, closing = at, re.compile(rf"^ *{opened['ticks']}\s*$")
        at += 1
        body: list[str] = []
        while at < len(lines) and not closing.match(lines[at]):
            body.append(lines[at].removeprefix(opened["indent"]))
            at += 1
        if at == len(lines):
            raise UntestableError(f"{page}:{start + 1}: this fence is never closed")
        said = _COMMENT.match(lines[start - 1]) if start else None
        words = tuple(_word(word) for word in shlex.split(said["words"])) if said else ()
        yield Block(page, start + 1, opened["language"], "\n".join(body) + "\n", words)
        at += 1


def refuse_unknown(block: Block) -> None:
    """Raise `UntestableError` for a language or a word that nobody knows."""
    if block.language not in WORDS:
        known = ", ".join(sorted(WORDS))
        raise UntestableError(f"{block.name}: {block.language or 'no language'!r} is none of {known}")
    for word in block.wants:
        if word not in WORDS[block.language]:
            known = ", ".join(sorted(WORDS[block.language])) or "nothing"
            raise UntestableError(f"{block.name}: {word!r} before a {block.language} block; known is {known}")
    if block.language == "text" and not block.words:
        raise UntestableError(f"{block.name}: say whether this text is a drawing or a log")


def _word(text: str) -> tuple[str, str]:
    word, _, value = text.partition("=")
    return word, value

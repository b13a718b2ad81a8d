"""What the code says to its log: every sentence, as the pattern of the lines that it can make."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

from tests.docs.blocks import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SAYS = {"say", "_say", "tell", "warning", "error", "exception"}
_ALSO = {"loop.py": {"_failed"}}
"""What says something to the log in one file only."""

_WORDS = re.compile(r"[a-z]{3,}")

SPEAKERS = ("master", "program", "store", "updater", "foreign", "launch.py", "entry.py")
"""Who says something to the log, below src/overseer."""


@cache
def sentences() -> dict[str, str]:
    """Return every sentence as a pattern, with the place where it is said first."""
    found: dict[str, str] = {}
    for speaker in SPEAKERS:
        source = ROOT / "src" / "overseer" / speaker
        for path in sorted(source.glob("*.py")) if source.is_dir() else [source]:
            for line, pattern in _said_in(path):
                found.setdefault(pattern, f"{path.relative_to(ROOT)}:{line}")
    return found


def _said_in(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and _called(node) in _SAYS | _ALSO.get(path.name, set()):
            for argument in node.args:
                pattern = _pattern(argument)
                if r"\ " in pattern and _WORDS.search(pattern.replace(".+", "")):
                    yield node.lineno, pattern


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _pattern(node: ast.expr) -> str:
    """What a sentence may look like: its words as they are, anything where something is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%\w", ".+", re.escape(node.value).replace("%g", "%g"))
    if isinstance(node, ast.JoinedStr):
        parts = [_pattern(part) if isinstance(part, ast.Constant) else ".+" for part in node.values]
        return "".join(parts)
    return ""


def told(page: str) -> list[str]:
    """Return the lines that a page explains: the first cell of each row of its tables, where it is code."""
    return [line.replace(r"\|", "|") for line in re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)]


@cache
def composed() -> list[str]:
    """Return every text with a blank in the heart and the journal: reasons, and lines made of parts."""
    found = [".+: .+"]  # what an address is refused for, told as it is
    for name in ("machine.py", "master/journal.py"):
        tree = ast.parse((ROOT / "src" / "overseer" / name).read_text())
        strings = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.Constant)]
        found += [pattern for node in strings if r"\ " in (pattern := _pattern(node))]
    return [pattern.removeprefix(r"overseer:\ warning:\ ") for pattern in found]

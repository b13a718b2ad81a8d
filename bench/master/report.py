"""The tables for people, on a terminal and in Markdown, and for programs, in JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.master.samples import Row, Spread, Table

_DOCS = "../../docs/explanation/figures.md"
_SPREAD = (
    "*Spread* is from the first to the third quartile, or from the least to the most of fewer than four "
    "samples. Ratios are taken within a round, then summarised."
)
_PACKAGES = ("pyoverseer", "gunicorn", "uvicorn", "circus")


def machine() -> dict[str, str]:
    """Describe where this is measured: what a figure is worth depends on it."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    found = {
        "cores": str(os.cpu_count()),
        "processor": model,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "overseer's source": source(),
        "load": f"{os.getloadavg()[0]:.2f} at the start",
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def source() -> str:
    """Return a digest of the overseer that is measured: of its modules, their names and their order."""
    spec = importlib.util.find_spec("overseer")
    assert spec is not None
    assert spec.origin is not None
    digest, root = hashlib.sha256(), Path(spec.origin).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def number(given: float) -> str:
    """Write a number with three digits that mean something, or all there are before the point."""
    size = abs(given)
    if size >= 100 or given == int(given):
        return f"{given:,.0f}"
    return f"{given:.1f}" if size >= 10 else f"{given:.2f}"


def _around(spread: Spread) -> str:
    if spread.count == 1:
        return ""
    if spread.count < 4:
        return f"{number(spread.least)}…{number(spread.most)}"
    return f"{number(spread.low)}…{number(spread.high)}"


def _ratio(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f}x"


def _ratio_around(ratio: Spread | None) -> str:
    if ratio is None or ratio.count == 1:
        return ""
    low, high = (ratio.low, ratio.high) if ratio.count >= 4 else (ratio.least, ratio.most)
    return f"{low:.2f}…{high:.2f}"


def _cells(row: Row) -> tuple[str, ...]:
    value, ratio = row.value, row.ratio
    return (row.name, number(value.median), _around(value), _ratio(ratio), _ratio_around(ratio))


def _head(table: Table) -> tuple[str, ...]:
    return ("", table.unit, "spread", "ratio", "its spread")


def _remarks(table: Table) -> Iterator[str]:
    count = max(row.value.count for row in table.rows)
    taken = f"{count} samples each. " if count > 1 else "One sample each. "
    yield f"{taken}Ratios are to: {table.baseline}."
    if table.noise:
        noise = table.noise
        yield f"Noise, the baseline to itself: {noise.median:.2f}x ({_ratio_around(noise) or 'one sample'})."
    yield from table.notes


def on_terminal(table: Table) -> str:
    """Return a table as aligned text."""
    cells = [_head(table), *(_cells(row) for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["", table.title]
    for row in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(["  " + first.strip().ljust(widths[0]), *rest]).rstrip())
    lines += [f"    {remark}" for remark in _remarks(table)]
    return "\n".join(lines)


def in_markdown(table: Table) -> str:
    """Return a table in Markdown, under a heading."""
    lines = [f"### {table.title}", "", "| " + " | ".join(_head(table)) + " |", "|---" + "|--:" * 4 + "|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in table.rows]
    return "\n".join([*lines, "", " ".join(_remarks(table)), ""])


def document(tables: Sequence[Table], about: dict[str, str], *, command: str, seconds: float) -> str:
    """Return the whole report in Markdown."""
    lines = [
        "# Figures of the master",
        "",
        f"Written by `{command}` in {seconds:.0f} s; do not edit. How to read it: [figures]({_DOCS}).",
        "",
        *(f"- {name}: {text}" for name, text in about.items()),
        "",
        _SPREAD,
        "",
    ]
    return "\n".join(lines) + "\n" + "\n".join(in_markdown(table) for table in tables)


def as_data(
    tables: Sequence[Table], about: dict[str, str], *, command: str, seconds: float
) -> dict[str, Any]:
    """Return the whole report as JSON can write it."""
    return {
        "command": command,
        "seconds": round(seconds, 1),
        "machine": about,
        "tables": {table.key: dataclasses.asdict(table) for table in tables},
    }

"""The plot: for each server what failed of ten thousand requests, and the longest answer around a restart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_NAMES: Final = 230
_PANEL: Final = 250
_GAP: Final = 70
_LINE: Final = 26
_TOP: Final = 46
_OURS: Final = "#1b7f5c"
_THEIRS: Final = "#8a94a3"


@dataclass(frozen=True)
class Bar:
    """What is drawn of one server."""

    name: str
    failed: float
    """of ten thousand requests"""
    worst: float
    """milliseconds"""
    ours: bool


def draw(bars: Sequence[Bar]) -> str:
    """Return an SVG. Lengths are logarithmic: what matters is nothing, little, or much."""
    width, height = _NAMES + 2 * (_PANEL + _GAP), _TOP + _LINE * len(bars) + 12
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    lines += _panel(bars, _NAMES, "failed of 10,000 requests", lambda bar: bar.failed)
    lines += _panel(
        bars, _NAMES + _PANEL + _GAP, "longest answer around a restart, ms", lambda bar: bar.worst
    )
    for at, bar in enumerate(bars):
        weight = ' font-weight="bold"' if bar.ours else ""
        lines.append(f'<text x="8" y="{_TOP + _LINE * at + 13}"{weight}>{escape(bar.name)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _panel(bars: Sequence[Bar], left: int, title: str, value: Callable[[Bar], float]) -> Iterator[str]:
    yield f'<text x="{left}" y="24" font-weight="bold">{title}</text>'
    most = math.log10(1 + max((value(bar) for bar in bars), default=0.0)) or 1.0
    for at, bar in enumerate(bars):
        length = _PANEL * math.log10(1 + value(bar)) / most
        top = _TOP + _LINE * at
        colour = _OURS if bar.ours else _THEIRS
        yield f'<rect x="{left}" y="{top}" width="{max(1.0, length):.1f}" height="17" fill="{colour}"/>'
        told = "0" if value(bar) == 0 else f"{value(bar):.3g}" if value(bar) < 100 else f"{value(bar):.0f}"
        yield f'<text x="{left + length + 6:.1f}" y="{top + 13}">{told}</text>'

"""What a terminal may be sent: colours and bars only where somebody looks, and has not refused them."""

from __future__ import annotations

import os
import shutil
import sys
from textwrap import wrap
from typing import TYPE_CHECKING

from click import style, unstyle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

_CANNOT = ("dumb", "unknown")


def is_plain(environ: Mapping[str, str]) -> bool:
    """Tell whether the user wants letters and lines only: NO_COLOR (no-color.org), or TERM=dumb."""
    return bool(environ.get("NO_COLOR")) or environ.get("TERM", "") in _CANNOT


def moves(stream: TextIO) -> bool:
    """Tell whether what was printed on a stream may be drawn over."""
    return stream.isatty() and not is_plain(os.environ)


def width() -> int | None:
    """Return how many columns standard output has, where it is a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fold(line: str, indent: int) -> str:
    """Break a line for people between its words, with `indent` spaces before the rest; never on a pipe."""
    columns = width()
    if columns is None or len(unstyle(line)) <= columns or columns <= 2 * indent:
        return line
    return "\n".join(wrap(line, columns, subsequent_indent=" " * indent, break_on_hyphens=False))


def redraw(lines: list[str]) -> None:
    """Draw lines on standard output in place of those before; in one write, so that nothing flickers.

    What does not fit on the terminal is cut: a line that wraps, or a screen that scrolls, would not stay
    where it is. The cursor stays as it is, so that whatever ends us leaves the terminal in order.
    """
    columns, rows = shutil.get_terminal_size()
    lines = "\n".join(lines).split("\n")[: max(1, rows - 1)]
    shown = [_cut(line, columns) for line in lines]
    sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
    sys.stdout.flush()


def _cut(line: str, columns: int) -> str:
    """Cut a line to a width; what is styled counts for what it shows."""
    bare = unstyle(line)
    if len(bare) <= columns:
        return line
    cut = bare[: columns - 1] + "…"
    return style(cut, bold=True) if bare != line else cut

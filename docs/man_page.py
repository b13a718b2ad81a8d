"""Tell the commands of a click group as a manual page, in the macros of man(7)."""

from __future__ import annotations

import re
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click
from docs.command_line import each_command, rows

from overseer.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DATE = "2026-11-29"
"""When the commands were last changed: a page that is made anew is the same page."""


def page(group: click.Group, name: str, says: str, sections: Mapping[str, str]) -> str:
    """Return the page of a group: what it `says` in one line, its commands, and sections in Markdown."""
    title = name.replace(" ", "-")
    lines = [
        f'.TH {_text(title.upper())} 1 {DATE} "overseer {VERSION}" "User Commands"',
        ".SH NAME",
        rf"{_text(title)} \- {_text(says)}",
        ".SH SYNOPSIS",
        rf"\fB{_text(name)}\fR [\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(group.help or ""),
    ]
    with click.Context(group, info_name=name) as context:
        if general := list(_options(group, context)):
            lines += [".SH OPTIONS", *general]
    if group.epilog:
        lines += [".SH EXAMPLES", *_paragraphs(group.epilog)]
    lines.append(".SH COMMANDS")
    for called, command, context in each_command(group, name):
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [f".SS {_text(called)}", rf"\fB{_text(called)}\fR {_text(usage)}", ".PP"]
        lines += _paragraphs(command.help or "")
        lines += _options(command, context)
    for heading, text in sections.items():
        lines += [f".SH {_text(heading.upper())}", *_markdown(text)]
    return "\n".join(lines) + "\n"


def section(markdown: str, heading: str) -> str:
    """Return what stands below a heading of a page."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", markdown, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1].strip("\n")


def lead(markdown: str) -> str:
    """Return the first paragraph of a page."""
    return markdown.split("\n\n")[1]


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for option, text in rows(command, context):
        yield from (".TP", rf"\fB{_text(option)}\fR", _prose(text))


def _paragraphs(told: str) -> Iterator[str]:
    """Set the paragraphs of a help; what must not be filled, behind a backspace, is an example."""
    for at, part in enumerate(re.split(r"\n\s*\n", told.strip())):
        if at:
            yield ".PP"
        if part.startswith("\b"):
            yield from (".EX", *(_text(line) for line in part.splitlines()[1:]), ".EE")
        else:
            yield _prose(part)


def _markdown(text: str) -> Iterator[str]:
    """Set what the pages use: paragraphs, tables of two columns, examples."""
    for at, part in enumerate(re.split(r"\n\s*\n", text)):
        if part.startswith("|"):
            for row in part.splitlines()[2:]:
                first, second = (cell.strip() for cell in row.strip("|").split("|", 1))
                yield from (".TP", _inline(first), _prose(second))
            continue
        if at:
            yield ".PP"
        if part.startswith("```"):
            yield from (".EX", *(_text(line) for line in part.splitlines()[1:-1]), ".EE")
        else:
            yield _prose(part)


def _prose(text: str) -> str:
    """Set filled text, a sentence to a line as roff wants it."""
    sentences = re.split(r"(?<=[a-z0-9)\]]\.) (?=[A-Z])", _inline(" ".join(text.split())))
    lines = (line for each in sentences for line in wrap(each, _MARGIN, **_WHOLE))
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in lines)


_MARGIN = 78
_WHOLE: Any = {"break_long_words": False, "break_on_hyphens": False}


def _inline(text: str) -> str:
    linked = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
    parts = linked.split("`")  # every second one is code
    if len(parts) % 2 == 0:
        return _text(linked)
    return "".join(rf"\fB{_text(part)}\fR" if at % 2 else _text(part) for at, part in enumerate(parts))


_ESCAPED = {"\\": r"\e", "-": r"\-", '"': r"\(dq", "^": r"\(ha", "~": r"\(ti", "`": r"\(ga"}


def _text(text: str) -> str:
    """Write letters so that roff takes none of them for a command."""
    safe = "".join(_ESCAPED.get(letter, letter) for letter in text)
    return rf"\&{safe}" if safe.startswith((".", "'")) else safe

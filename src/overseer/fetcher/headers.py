"""What header fields of HTTP say: pure parsers of strangers' text.

Each answers with a value or None for "it says nothing that can be used"; none raises.
Grammar: RFC 9110 (HTTP semantics), RFC 6266 (Content-Disposition).
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

LONGEST_WAIT = 24 * 3600.0
"""Seconds: nobody may keep us from looking for longer than a day with one header."""

MAX_NAME = 200
"""Characters of a file name that are kept."""

_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII | re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\uffff]*"')
_FILENAME = re.compile(r"""filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))""", re.IGNORECASE)
_FILENAME_EXT = re.compile(r"filename\*\s*=\s*(?:utf-8|iso-8859-1)'[^']*'([^\s;]+)", re.IGNORECASE)


def seconds_of(value: str | None, *, now: float) -> float | None:
    """Say how long `Retry-After: value` asks us to wait, in seconds, 0 to `LONGEST_WAIT`.

    `value` is a number of seconds or a date; `now` is the time at the source, in seconds since the epoch.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_WAIT)
    moment = epoch_of(text)
    return None if moment is None else min(max(moment - now, 0.0), LONGEST_WAIT)


def epoch_of(value: str | None) -> float | None:
    """Read an HTTP date as seconds since the epoch."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def range_of(value: str | None) -> tuple[int, int, int | None] | None:
    """Read `Content-Range: bytes first-last/total` as (first, last, total); total is None when unknown."""
    match = _RANGE.fullmatch((value or "").strip())
    if not match:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if first > last or (total is not None and last >= total):
        return None
    return first, last, total


def length_of(value: str | None) -> int | None:
    """Read `Content-Length: value`; a list of equal numbers, as some proxies make, counts as one."""
    numbers = {number.strip() for number in (value or "").split(",")}
    number = numbers.pop() if len(numbers) == 1 else ""
    return int(number) if _DIGITS.fullmatch(number) else None


def is_strong(etag: str | None) -> bool:
    """Say whether two answers with this ETag are the same byte for byte: only then may one be resumed."""
    match = _ETAG.fullmatch(etag or "")
    return bool(match and not match[1])


def is_html(content_type: str | None) -> bool:
    """Say whether a media type is that of a page for people."""
    return (content_type or "").partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


def begins_like_html(head: bytes) -> bool:
    """Say whether bytes begin like a page for people, whatever type was told: captive portals lie."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def name_of(url: str, disposition: str | None = None) -> str:
    """Say what the source calls the file: its `Content-Disposition`, else the last part of the URL's path.

    Only ever a bare file name: no folder, no control characters, "" when there is none.
    """
    told = ""
    if match := _FILENAME_EXT.search(disposition or ""):
        told = unquote(match[1])
    elif match := _FILENAME.search(disposition or ""):
        told = re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2]
    return _bare(told) or _bare(unquote(urlsplit(url).path))


def _bare(name: str) -> str:
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(char for char in last if char.isprintable()).strip()[-MAX_NAME:]
    return "" if kept in (".", "..") else kept

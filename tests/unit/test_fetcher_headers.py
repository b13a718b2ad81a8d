"""Header fields of HTTP: what is read out of strangers' text."""

from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.fetcher.headers import (
    LONGEST_WAIT,
    MAX_NAME,
    begins_like_html,
    epoch_of,
    is_html,
    is_strong,
    length_of,
    name_of,
    range_of,
    seconds_of,
)

ANYTHING = st.none() | st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))


@given(ANYTHING, st.floats(0, 4e9))
def test_retry_after_is_a_bearable_time_or_nothing(value: str | None, now: float) -> None:
    """Whatever is told, nobody waits for longer than a day, or for less than no time."""
    wait = seconds_of(value, now=now)
    assert wait is None or (0 <= wait <= LONGEST_WAIT and not math.isnan(wait))


@given(st.integers(0, 10**9))
def test_retry_after_in_seconds_is_read(seconds: int) -> None:
    """Up to a day."""
    assert seconds_of(f" {seconds} ", now=0) == min(seconds, LONGEST_WAIT)


@given(st.integers(0, 4 * 10**9), st.integers(-(10**6), 10**6))
def test_retry_after_as_a_date_is_read_against_the_clock_that_made_it(now: int, ahead: int) -> None:
    """A date in the past is no time at all."""
    moment = min(max(now + ahead, 0), 4 * 10**9)
    wait = seconds_of(formatdate(moment, usegmt=True), now=now)
    assert wait == min(max(moment - now, 0), LONGEST_WAIT)


@pytest.mark.parametrize("date", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"])
def test_both_zoned_forms_of_a_date_are_read(date: str) -> None:
    """HTTP has had more than one."""
    assert epoch_of(date) == 784111777


@given(ANYTHING)
def test_a_date_is_read_or_nothing(value: str | None) -> None:
    """And nothing is raised."""
    assert isinstance(epoch_of(value), float | None)


@given(ANYTHING)
def test_a_range_that_is_read_makes_sense(value: str | None) -> None:
    """Its first byte is not after its last, and its last is inside the whole."""
    told = range_of(value)
    if told is not None:
        first, last, total = told
        assert 0 <= first <= last
        assert total is None or last < total


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.none() | st.integers(0, 10**12))
def test_a_content_range_is_read_when_it_makes_sense(first: int, last: int, total: int | None) -> None:
    """As it was written."""
    told = range_of(f"bytes {first}-{last}/{'*' if total is None else total}")
    sense = first <= last and (total is None or last < total)
    assert told == ((first, last, total) if sense else None)


@pytest.mark.parametrize(
    "value",
    ["bytes */10", "bytes 1-2", "bytes=1-2/3", "items 1-2/3", "bytes 1-2/3 ", "bytes \u0663-\u0664/\u0665"],
)
def test_other_ranges_are_not_read(value: str) -> None:
    """Only bytes, only ASCII digits; a space around it is forgiven."""
    assert (range_of(value) is None) == (value != "bytes 1-2/3 ")


@given(ANYTHING)
def test_a_length_is_a_number_or_nothing(value: str | None) -> None:
    """And never a negative one."""
    length = length_of(value)
    assert length is None or length >= 0


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("10", 10),
        ("10, 10", 10),
        ("0", 0),
        ("", None),
        (None, None),
        ("10, 11", None),
        ("+10", None),
        ("1e3", None),
    ],
)
def test_a_length_is_read(value: str | None, length: int | None) -> None:
    """Equal ones that a proxy joined count as one."""
    assert length_of(value) == length


@pytest.mark.parametrize(
    ("etag", "strong"),
    [
        ('"a"', True),
        ('""', True),
        ('W/"a"', False),
        ("a", False),
        ('"a', False),
        ('"a"b"', False),
        (None, False),
    ],
)
def test_only_a_strong_etag_is_strong(etag: str | None, strong: bool) -> None:  # noqa: FBT001 - a parameter
    """A weak one, or something that is none, promises no equal bytes."""
    assert is_strong(etag) is strong


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        ("text/html", True),
        ("Text/HTML; charset=utf-8", True),
        ("text/plain", False),
        (None, False),
        ("", False),
    ],
)
def test_a_page_is_told_by_its_type(kind: str | None, page: bool) -> None:  # noqa: FBT001 - a parameter
    """In any case, with any parameter."""
    assert is_html(kind) is page


@pytest.mark.parametrize("head", [b"<!DOCTYPE html>", b"\xef\xbb\xbf\n <html>", b"<HTML lang=en>"])
def test_a_page_is_told_by_its_beginning(head: bytes) -> None:
    """After a byte order mark and white space, in any case."""
    assert begins_like_html(head)


@pytest.mark.parametrize(
    "head", [b"\x7fELF", b"#!/usr/bin/env python3\n", b"PK\x03\x04", b"\x1f\x8b", b"<?xml", b""]
)
def test_a_release_does_not_begin_like_a_page(head: bytes) -> None:
    """Not an ELF, not a script, not a zip."""
    assert not begins_like_html(head)


@pytest.mark.parametrize(
    ("url", "disposition", "name"),
    [
        ("https://host/a/app-1.0.pyz?x=/y", None, "app-1.0.pyz"),
        ("https://host/app%20one", None, "app one"),
        ("https://host/", None, ""),
        ("https://host/get", 'attachment; filename="app.gz"', "app.gz"),
        ("https://host/get", "attachment; filename=app.gz; size=3", "app.gz"),
        ("https://host/get", r'attachment; filename="a\"b"', 'a"b'),
        ("https://host/get", "attachment; filename=x; filename*=UTF-8''%C3%A4pp.gz", "äpp.gz"),
        ("https://host/get", 'attachment; filename="../../etc/passwd"', "passwd"),
        ("https://host/get", r'attachment; filename="c:\\windows\\app.gz"', "app.gz"),
        ("https://host/get", 'attachment; filename=".."', "get"),
        ("https://host/get", "inline", "get"),
        ("https://host/..%2f..%2fpasswd", None, "passwd"),
    ],
)
def test_the_name_of_a_file_is_what_the_source_calls_it(url: str, disposition: str | None, name: str) -> None:
    """And never more than a name."""
    assert name_of(url, disposition) == name


@given(st.text(max_size=300), ANYTHING)
def test_a_name_is_never_a_way_out(path: str, disposition: str | None) -> None:
    """No folder, no control character, no name of a folder, no endless one."""
    name = name_of(f"https://host/{path.replace('?', '').replace('#', '')}", disposition)
    assert "/" not in name
    assert "\\" not in name
    assert name not in (".", "..")
    assert name.isprintable()
    assert len(name) <= MAX_NAME

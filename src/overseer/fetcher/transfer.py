"""Starting a download, or going on with one: the part that `HTTP` and `GitHub` share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from overseer.fetcher.headers import range_of
from overseer.fetcher.offer import Download

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from overseer.fetcher.answer import Answer

STALE = 10.0
"""Seconds after which the answer of a look is not trusted to be still on its way: it is asked for again."""

_ASK_FOR_ALL = (206, 412, 416)


def download(
    ask: Callable[[Mapping[str, str]], Answer],
    check: Callable[[Answer], None],
    *,
    held: Answer | None = None,
    offset: int = 0,
    validator: str | None = None,
    if_range: bool = True,
    size: int | None = None,
) -> Download:
    """Start at `offset` if the source goes along, else at 0.

    `ask` sends the request with more header fields; `check` raises `FetchError` unless an answer is the whole
    of the release that was offered. `held` is an answer of that kind that is still unread. `validator` is a
    strong ETag; the caller gives an `offset` without one only when the digest of the whole is known, and
    turns `if_range` off only when `ask` has a condition of its own. `size` is the
    release's, None when it is not known.
    """
    if offset:
        if held:
            held.close()
            held = None
        if offset == size:
            return Download(offset, iter(()))
        wanted = {"Range": f"bytes={offset}-"}
        answer = ask(wanted | {"If-Range": validator} if validator and if_range else wanted)
        if _goes_on(answer, offset, validator, size):
            return Download(offset, answer.body(start=offset, whole=size))
        part = answer.status == 200 and size is not None and answer.size not in (None, size)
        if answer.status in _ASK_FOR_ALL or part:
            answer.close()  # a range of something else, or none, or one that calls itself the whole (200)
        else:
            held = answer
    if held and time.monotonic() - held.born > STALE:
        held.close()
        held = None
    answer = held or ask({})
    check(answer)
    return Download(0, answer.body(whole=size))


def _goes_on(answer: Answer, offset: int, validator: str | None, size: int | None) -> bool:
    """Say whether an answer is the rest of the very release that `offset` bytes are known of."""
    told = range_of(answer.headers.get("content-range"))
    if answer.status != 206 or told is None or told[0] != offset:
        return False
    first, last, total = told
    etag = answer.headers.get("etag")
    return (
        (total is None or last == total - 1)
        and (size is None or last == size - 1)
        and answer.size in (None, last - first + 1)
        and (validator is None or etag in (None, validator))
        and answer.headers.get("content-encoding", "identity") == "identity"
    )

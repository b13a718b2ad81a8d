"""What a better build would save: looked for in two releases, and said only where it is worth a line.

Nothing here is about right or wrong, so whatever is odd about a file makes no advice and no error.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from overseer.publish.compress import compress

if TYPE_CHECKING:
    from collections.abc import Iterator

WORTH_SAYING = 16 << 10
"""Bytes of a patch below which no advice is given."""

MOST = 32 << 20
"""Bytes of a release beyond which a better build is not tried out here: it would take too long."""


def advice(old: bytes, new: bytes, patch: int) -> Iterator[str]:
    """Say in sentences what would make the next patch smaller; `patch` is how large this one is."""
    if patch < WORTH_SAYING or max(len(old), len(new)) > MOST:
        return
    if not (zipfile.is_zipfile(io.BytesIO(old)) and zipfile.is_zipfile(io.BytesIO(new))):
        if new.startswith(b"\x7fELF"):
            yield (
                "if this is made by PyInstaller, set PYTHONHASHSEED=0 and SOURCE_DATE_EPOCH: "
                "else two builds of the same code differ"
            )
        return
    try:
        yield from _of_archives(old, new, patch)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return


def _of_archives(old: bytes, new: bytes, patch: int) -> Iterator[str]:
    before, after = _members(old), _members(new)
    same = [name for name, each in after.items() if name in before and each.CRC == before[name].CRC]
    redated = [name for name in same if before[name].date_time != after[name].date_time]
    if len(redated) > len(after) // 2:
        yield (
            f"{len(redated)} files in it have a new date and are the same: "
            "set SOURCE_DATE_EPOCH, and it could stay the same"
        )
    if any(each.compress_type != zipfile.ZIP_STORED for each in after.values()):
        stored = len(compress(_stored(old), _stored(new)))
        if stored < patch * 0.8:
            yield (
                "its files are compressed one by one; with an archive that only stores them, "
                f"the patch would have {stored} bytes instead of {patch}"
            )


def _members(archive: bytes) -> dict[str, zipfile.ZipInfo]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {each.filename: each for each in opened.infolist()}


def _stored(archive: bytes) -> bytes:
    """Return the same archive with nothing in it compressed, and with what stands before it."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as opened, zipfile.ZipFile(target, "w") as made:
        start = min((each.header_offset for each in opened.infolist()), default=0)
        for each in opened.infolist():
            if each.file_size > MOST:
                raise ValueError(each.filename)
            plain = zipfile.ZipInfo(each.filename, each.date_time)
            made.writestr(plain, opened.read(each), zipfile.ZIP_STORED)
    return archive[:start] + target.getvalue()

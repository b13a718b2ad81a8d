"""Files of a few megabytes, or kilobytes, that want to be gigabytes."""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO

from overseer.updater import zstd
from overseer.updater.patch import window_log
from tests.process.besieged import EVIL


def archive() -> bytes:
    """Make a zip of two files of three gigabytes of zeros: one block of deflate, again and again."""
    size, block = 3 << 30, bytes(16 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = head * (size // len(block)) + b"\x03\x00"
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("__main__.py", f"# {EVIL.decode()}\n")
        for name in ("one", "two"):
            archive.writestr(entry := zipfile.ZipInfo(name), packed)  # stored, as it will be read
            entry.compress_type, entry.file_size = zipfile.ZIP_DEFLATED, size
    return content.getvalue()


def patch(base: bytes, wanted: bytes) -> bytes:
    """Make a patch that begins as it should, wants no more memory than it may, and goes on for 64 MiB."""
    module = zstd.module()
    parameters = module.CompressionParameter
    size = len(wanted) + (64 << 20)
    packer = module.ZstdCompressor(
        options={parameters.compression_level: 3, parameters.window_log: window_log(len(wanted))},
        zstd_dict=module.ZstdDict(base, is_raw=True).as_prefix,
    )
    made: bytes = packer.compress(wanted.ljust(size, b"\0"), mode=module.ZstdCompressor.FLUSH_FRAME)
    return made

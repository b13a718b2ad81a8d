"""How a patch is compressed: one frame of zstd, with the old release as what stood before it."""

from __future__ import annotations

from overseer.updater import zstd
from overseer.updater.patch import window_log

LEVEL = 19
"""How hard zstd tries: a patch is made once and downloaded by everybody."""


def compress(old: bytes, new: bytes) -> bytes:
    """Return the patch that makes `new` of `old`. Raises `NoZstdError` when there is no zstd here."""
    module = zstd.module()
    parameters = module.CompressionParameter
    options = {
        parameters.compression_level: LEVEL,
        parameters.window_log: window_log(len(new)),
        parameters.enable_long_distance_matching: 1,
        parameters.content_size_flag: 1,
        parameters.checksum_flag: 0,  # the digest is signed
    }
    prefix = module.ZstdDict(old, is_raw=True).as_prefix
    compressor = module.ZstdCompressor(options=options, zstd_dict=prefix)
    compressor.set_pledged_input_size(len(new))
    patch: bytes = compressor.compress(new, mode=module.ZstdCompressor.FLUSH_FRAME)
    return patch

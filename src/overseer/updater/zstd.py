"""Where zstd is: the standard library has it from Python 3.14 on, `backports.zstd` is the same before."""

from __future__ import annotations

import sys
from typing import Any

from overseer.errors import OverseerError


class NoZstdError(OverseerError):
    """There is no zstd here; the message says how to have it."""


def module() -> Any:
    """Return the module. Raises `NoZstdError` when it is not installed."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - loaded only where something is packed with it
        else:
            from backports import zstd  # noqa: PLC0415
    except ImportError as error:
        raise NoZstdError("zstd is not here; pip install 'pyoverseer[zstd]' brings it") from error
    return zstd

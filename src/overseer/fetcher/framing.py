"""Connections that do not mistake a cut line for a whole one.

The standard library's HTTP takes what comes before the end of a stream for a line, ended or not: a chunk size
`0A` that is cut after its first digit reads as 0, the regular end of a body, and a short release would pass
for whole. Here a line without its end is an incomplete read.
"""

from __future__ import annotations

import http.client
import io
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


class _Lines(io.BufferedReader):
    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        cut = line and not line.endswith(b"\n") and len(line) != size  # at `size` it is too long, not cut
        if cut:
            raise http.client.IncompleteRead(line)
        return line


class _Response(http.client.HTTPResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp: io.BufferedReader = _Lines(self.fp.detach())  # nothing has been read from it yet


class _Connection(HTTPConnection):
    response_class = _Response


class _TLSConnection(HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def strict(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    """Let every connection of `manager` read lines strictly."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
    return manager

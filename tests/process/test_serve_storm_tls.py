"""The storm over TLS: handshakes, records and close_notify between a client and the end of its connection."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trustme
from bench.load import Http2, Kind, Pipeline

from tests.process.test_serve import ASGI, UVLOOP
from tests.process.test_serve_aiohttp import AIOHTTP
from tests.process.test_serve_ends import of
from tests.process.test_serve_granian import GRANIAN
from tests.process.test_serve_grpc import GRPC, no_call_is_lost
from tests.process.test_serve_grpc import UVLOOP as ON_UVLOOP
from tests.process.test_serve_hypercorn import HYPERCORN
from tests.process.test_serve_storm import LASTING, LEFT_OUT, LINGER, STREAMED, STREAMS, storm
from tests.process.test_serve_wsgi import WSGI

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.service import Service

SHARE = 1 / 4
"""What of the rates of the storm is left: a handshake costs both sides as much as several answers."""
SHARES = {STREAMED: 1}
"""Who has no clients that last is restarted more quickly, and hears of them all the same."""
STREAMS_OR_TALKS = tuple(replace(kind, rate=kind.rate * SHARE) for kind in LASTING)
EVERY = (*STREAMS_OR_TALKS, Http2(rate=20))
UNANSWERED: dict[str, tuple[type[Kind], ...]] = {**LEFT_OUT, GRANIAN: (Pipeline,)}
"""granian shows nobody what is within its TLS: a request that comes behind another one is not seen."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("source", "lasting"),
    [
        (ASGI, STREAMS_OR_TALKS),
        (UVLOOP, STREAMS_OR_TALKS),
        (WSGI, STREAMS),
        (AIOHTTP, STREAMS_OR_TALKS),
        (HYPERCORN, EVERY),
        (GRANIAN, EVERY),
        (STREAMED, ()),
    ],
    ids=["asgi", "uvloop", "wsgi", "aiohttp", "hypercorn", "granian", "asyncio"],
)
@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.very_long)])
def test_no_client_notices_a_restart_over_tls(
    service: Callable[..., Service], tmp_path: Path, source: str, lasting: tuple[Kind, ...], count: int
) -> None:
    """The kinds of clients of the storm without TLS; hands are shaken while generations change."""
    pem, ca = certified(tmp_path)
    app = service(of(source, linger=LINGER, pem=str(pem)), max_draining=50).serves()
    share, left_out = SHARES.get(source, SHARE), UNANSWERED.get(source, ())
    storm(app, source, lasting, count, share=share, ca=str(ca), left_out=left_out)


@pytest.mark.long
@pytest.mark.parametrize(
    ("loop", "count"),
    [("", 10), (ON_UVLOOP, 10), pytest.param("", 200, marks=pytest.mark.very_long)],
    ids=["10", "uvloop-10", "200"],
)
def test_no_call_over_tls_is_lost(
    service: Callable[..., Service], tmp_path: Path, loop: str, count: int
) -> None:
    """Calls of gRPC on one channel that is kept: each is answered, and was done once."""
    pem, ca = certified(tmp_path)
    app = service(loop + of(GRPC, linger=LINGER, pem=str(pem)), max_draining=50).serves()
    no_call_is_lost(app, count, ca.read_bytes())


def certified(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for this machine with its key, and that of the authority to trust."""
    pem, ca = folder / "cert.pem", folder / "ca.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    return pem, ca

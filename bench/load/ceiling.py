"""How much load one process of this generator can put on a server here: `python -m bench.load.ceiling`.

The server is the smallest there is and shares the machine: it is the ceiling of both together. A rate counts
as reached when all requests were answered well and the generator began 99 of 100 within `LATE` of their
time.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from bench.load.plan import Fresh, Kept, Kind, Late, Plan
from bench.load.process import LoadProcess

if TYPE_CHECKING:
    from bench.load.report import Report

LATE: Final = 0.005
"""Seconds of the generator's own lag, at its p99, up to which it keeps up."""
RATES: Final = (1000, 2000, 3000, 4000, 5000, 6000, 8000, 10000, 12000)
"""Requests per second, tried in this order until one is too much."""
MIXES: Final = ("kept", "fresh", "mixed")


class _Smallest(asyncio.Protocol):
    """Answers every request that comes whole in one piece; these clients send no other."""

    _link: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._link = transport

    def data_received(self, data: bytes) -> None:
        if b"Connection: close" in data:
            self._link.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            self._link.close()
        else:
            self._link.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Smallest, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def kinds(mix: str, rate: float) -> tuple[Kind, ...]:
    """Return the clients of a mix that come to `rate` requests per second together."""
    if mix == "mixed":
        return (Fresh(rate=rate * 0.45), Kept(rate=rate * 0.45), Late(rate=rate * 0.1))
    return (Fresh(rate=rate) if mix == "fresh" else Kept(rate=rate),)


def measure(target: str, mix: str, rate: float, seconds: float) -> Report:
    """Put that load on the target, from a process of its own."""
    with LoadProcess(target, Plan(kinds=kinds(mix, rate), seconds=seconds)) as load:
        return load.wait()


def main() -> int:
    """Print the highest rate reached for each mix of clients."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.ceiling", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each rate (3)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve())
        return 0
    command = [sys.executable, "-m", "bench.load.ceiling", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            target = f"http://127.0.0.1:{int(server.stdout.readline())}"
            for mix in MIXES:
                reached = 0
                for rate in RATES:
                    report = measure(target, mix, rate, options.seconds)
                    held = report.failed == 0 and report.lag.p99 <= LATE
                    print(
                        f"{mix:6}{rate:7,}/s  failed {report.failed}  p50 {report.total.all.p50 * 1e3:.2f} ms"
                        f"  p99 {report.total.all.p99 * 1e3:.2f} ms  lag p99 {report.lag.p99 * 1e3:.2f} ms"
                        f"  {'held' if held else 'too much'}",
                        flush=True,
                    )
                    if not held:
                        break
                    reached = rate
                print(f"{mix:6} ceiling {reached:,} requests/s in one process")
        finally:
            server.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())

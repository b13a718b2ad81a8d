"""The command line: `python -m bench.load TARGET --fresh 500 --kept 500 --late 100 --seconds 10`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import queue
import resource
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from bench.load.engine import fine_loop, run
from bench.load.marks import Marks
from bench.load.plan import (
    Drip,
    Events,
    Fresh,
    Http2,
    Kept,
    Kind,
    Late,
    Pipeline,
    Plan,
    Target,
    Upload,
    WebSocket,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.load.report import Report


class _Lines:
    """Writes lines from a thread: whoever reads them slowly must not slow the load."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="lines", daemon=True)
        self._thread.start()

    def put(self, words: dict[str, Any]) -> None:
        self._lines.put(json.dumps(words))

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Control:
    """Reads marks and the word to stop from stdin. Its end is that word too: no load outlives its master."""

    def __init__(self, marks: Marks, stop: asyncio.Event) -> None:
        self._marks = marks
        self._stop = stop
        self._rest = b""

    def readable(self) -> None:
        data = os.read(0, 65536)
        if not data:
            asyncio.get_running_loop().remove_reader(0)
            self._stop.set()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            words = json.loads(line)
            if "mark" in words:
                self._marks.add(**words["mark"])
            if words.get("stop"):
                self._stop.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.load",
        description="Open-loop load on one HTTP server; latency counts from the time each request was due.",
    )
    parser.add_argument("target", help="http(s)://HOST:PORT[/path], unix:/path or unix:@name")
    kinds = parser.add_argument_group("clients, each with its arrivals per second")
    kinds.add_argument("--fresh", type=float, metavar="RATE", help="a new connection per request")
    kinds.add_argument("--kept", type=float, metavar="RATE", help="connections that are kept alive")
    kinds.add_argument("--late", type=float, metavar="RATE", help="connect, wait, then send")
    kinds.add_argument("--drip", type=float, metavar="RATE", help="the request byte by byte")
    kinds.add_argument("--upload", type=float, metavar="RATE", help="a slow body")
    kinds.add_argument("--pipeline", type=float, metavar="RATE", help="several requests at once")
    kinds.add_argument("--websocket", type=float, metavar="RATE", help="messages that are echoed")
    kinds.add_argument("--events", type=int, metavar="N", help="so many streams of events, whatever the rate")
    kinds.add_argument("--http2", type=float, metavar="RATE", help="streams of HTTP/2")
    fine = parser.add_argument_group("what they do")
    fine.add_argument("--connections", type=int, default=50, help="kept: fill the pool to these first (50)")
    fine.add_argument(
        "--pause", default="0", metavar="S or S:S", help="kept: rest after an answer, seconds (0)"
    )
    fine.add_argument(
        "--wait", type=float, default=10.0, metavar="MS", help="late: silence, milliseconds (10)"
    )
    fine.add_argument(
        "--drip-over", type=float, default=0.5, metavar="S", help="drip: first to last byte (0.5)"
    )
    fine.add_argument("--upload-size", type=int, default=65536, metavar="BYTES", help="upload: body (65536)")
    fine.add_argument("--upload-over", type=float, default=1.0, metavar="S", help="upload: its time (1)")
    fine.add_argument("--depth", type=int, default=5, help="pipeline: requests at once (5)")
    fine.add_argument("--websocket-path", default="", metavar="PATH", help="websocket: instead of the path")
    fine.add_argument("--sockets", type=int, default=10, metavar="N", help="websocket: connections (10)")
    fine.add_argument("--events-path", default="", metavar="PATH", help="events: instead of the path")
    fine.add_argument("--silence", type=float, metavar="S", help="events: longest silence (however long)")
    fine.add_argument("--sessions", type=int, default=2, metavar="N", help="http2: connections (2)")
    fine.add_argument(
        "--streams", type=int, default=100, metavar="N", help="http2: at one time on a connection (100)"
    )
    whole = parser.add_argument_group("the run")
    whole.add_argument("--seconds", type=float, default=10.0, help="how long (10); 0: until stopped")
    whole.add_argument("--timeout", type=float, default=10.0, help="seconds for one answer (10)")
    whole.add_argument("--ca", default="", metavar="FILE", help="of https: who is trusted (as the system)")
    whole.add_argument("--path", default="", help="of every request, instead of the target's")
    whole.add_argument("--header", action="append", default=[], metavar="NAME: TEXT")
    whole.add_argument(
        "--generation-header", default="X-Generation", help="names who answered (X-Generation)"
    )
    whole.add_argument("--generation-body", metavar="REGEX", help="or one group of this does, in the body")
    whole.add_argument("--arrivals", choices=("even", "poisson"), default="even")
    whole.add_argument("--seed", type=int, default=1)
    whole.add_argument("--plan", metavar="JSON", help="a whole plan; the options above are not looked at")
    whole.add_argument("--anywhere", action="store_true", help="allow a target that is not on this machine")
    whole.add_argument("--json", action="store_true", help="events and the report as lines of JSON")
    whole.add_argument("--timeline", action="store_true", help="with --json: latency over time, every 50 ms")
    whole.add_argument(
        "--control", action="store_true", help="read marks and stop from stdin as lines of JSON"
    )
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    if options.plan:
        return Plan.from_json(json.loads(options.plan))
    least, _, most = options.pause.partition(":")
    pause = (float(least), float(most)) if most else (float(least), float(least))
    kinds: list[Kind] = []
    if options.fresh:
        kinds.append(Fresh(rate=options.fresh))
    if options.kept:
        kinds.append(Kept(rate=options.kept, connections=options.connections, pause=pause))
    if options.late:
        kinds.append(Late(rate=options.late, wait=options.wait / 1000))
    if options.drip:
        kinds.append(Drip(rate=options.drip, over=options.drip_over))
    if options.upload:
        kinds.append(Upload(rate=options.upload, size=options.upload_size, over=options.upload_over))
    if options.pipeline:
        kinds.append(Pipeline(rate=options.pipeline, depth=options.depth))
    kinds += _lasting(options)
    headers = [header.partition(":") for header in options.header]
    return Plan(
        kinds=tuple(kinds),
        seconds=options.seconds or None,
        timeout=options.timeout,
        path=options.path,
        ca=options.ca,
        headers=tuple((name.strip(), text.strip()) for name, _, text in headers),
        generation_header=options.generation_header,
        generation_body=options.generation_body,
        arrivals=options.arrivals,
        seed=options.seed,
    )


def _lasting(options: argparse.Namespace) -> list[Kind]:
    kinds: list[Kind] = []
    if options.websocket:
        kinds.append(
            WebSocket(rate=options.websocket, path=options.websocket_path, connections=options.sockets)
        )
    if options.events:
        kinds.append(Events(connections=options.events, path=options.events_path, silence=options.silence))
    if options.http2:
        kinds.append(Http2(rate=options.http2, connections=options.sessions, streams=options.streams))
    return kinds


async def _run(target: Target, plan: Plan, options: argparse.Namespace, lines: _Lines | None) -> Report:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    marks = Marks()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.control:
        loop.add_reader(0, _Control(marks, stop).readable)
    told = None if lines is None else lines.put
    return await run(target, plan, marks=marks, stop=stop, told=told, timeline=options.timeline)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load; 0 when no request failed, 1 when one did, 2 for a command that makes no sense."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        plan = _plan(options)
        target = Target.parse(options.target, anywhere=options.anywhere)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    # Every connection is a descriptor, and a server that stalls leaves many open.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A collection in the middle of a run would be measured as the server's latency; there are next to no
    # cycles.
    gc.collect()
    gc.freeze()
    gc.disable()
    lines = _Lines() if options.json else None
    with asyncio.Runner(loop_factory=fine_loop) as runner:
        report = runner.run(_run(target, plan, options, lines))
    if lines is None:
        print(report)
    else:
        lines.put({"event": "report", **report.to_json()})
        lines.close()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())

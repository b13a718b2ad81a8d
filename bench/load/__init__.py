"""A load generator for servers that restart: open loop, every outcome named, no failure tried again.

    python -m bench.load http://127.0.0.1:8000 --fresh 500 --kept 500 --late 100 --seconds 10
    python -m bench.load https://localhost:8443 --ca ca.pem --fresh 100 --http2 100
    python -m bench.load http://127.0.0.1:8000 --websocket 200 --websocket-path /ws --http2 500

Latency is counted from the time a request was due, not from when it could be sent, so a server that stalls
shows it. It is told inside and outside of restarts, and by the generation that answered.

Besides HTTP/1.1 it speaks WebSocket and HTTP/2, and reads streams of events. Their servers may tell a client
to leave: by a close frame, by GOAWAY, by the end of a stream. Then it comes back, and nothing has failed; the
classes of `plan` say what counts as that, and what does not. All of it goes over TLS 1.3, too (`shield`): a
connection that ends there without close_notify was cut.
"""

from bench.load.engine import Load, fine_loop, run
from bench.load.histogram import Histogram
from bench.load.marks import Mark, Marks
from bench.load.outcomes import Failure, Outcome
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
from bench.load.process import LoadError, LoadProcess
from bench.load.report import Generation, Moment, Report, Split, Summary, Window

__all__ = [
    "Drip",
    "Events",
    "Failure",
    "Fresh",
    "Generation",
    "Histogram",
    "Http2",
    "Kept",
    "Kind",
    "Late",
    "Load",
    "LoadError",
    "LoadProcess",
    "Mark",
    "Marks",
    "Moment",
    "Outcome",
    "Pipeline",
    "Plan",
    "Report",
    "Split",
    "Summary",
    "Target",
    "Upload",
    "WebSocket",
    "Window",
    "fine_loop",
    "run",
]

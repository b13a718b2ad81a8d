"""A load generator for servers that restart: open loop, every outcome named, nothing sent twice.

    python -m bench.load http://127.0.0.1:8000 --fresh 500 --kept 500 --late 100 --seconds 10

Latency is counted from the time a request was due, not from when it could be sent, so a server that stalls
shows it.
"""

from bench.load.engine import Load, fine_loop, run
from bench.load.histogram import Histogram
from bench.load.marks import Mark, Marks
from bench.load.outcomes import Failure, Outcome
from bench.load.plan import Drip, Fresh, Kept, Kind, Late, Pipeline, Plan, Target, Upload
from bench.load.process import LoadError, LoadProcess
from bench.load.report import Generation, Moment, Report, Split, Summary, Window

__all__ = [
    "Drip",
    "Failure",
    "Fresh",
    "Generation",
    "Histogram",
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
    "Window",
    "fine_loop",
    "run",
]

"""A status as metrics of Prometheus: what each is called, what it means, and where in the status it stands.

Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for what is only counted up.
Every metric has the label `service`, so that several services on one machine can be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from overseer.store.ledger import Ledger

PHASES = ("starting", "serving", "draining")
AILMENTS = ("source", "expired", "refused", "store", "fetcher", "updater")
"""What can be wrong with the way of releases: see `FetchError.kind` and the updater's loop."""

_TIMED = {
    "start": "How long generations took from their start until they served.",
    "drain": "How long generations took from being asked to leave until they had left.",
    "upgrade": "How long releases took from being staged until they were current, their probation included.",
}

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One look at a service: the master's status, its store, and what its processes have for themselves."""

    status: Mapping[str, Any]
    ledger: Ledger
    held: Mapping[str, str]
    memory: Mapping[str, int]
    connections: Mapping[int, int]


@dataclass(frozen=True)
class Gauge:
    """A metric by its name, what it means, its labels beside `service`, and how its samples are found."""

    name: str
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Seen], Sequence[Sample]]


def _one(value: float | None) -> list[Sample]:
    return [] if value is None else [((), value)]


def _phases(seen: Seen) -> list[Sample]:
    found = [g["phase"] for g in seen.status["generations"]]
    return [((phase,), found.count(phase)) for phase in PHASES]


def _workers(seen: Seen) -> list[Sample]:
    found = [g["phase"] for g in seen.status["generations"] for _ in g["workers"]]
    return [((phase,), found.count(phase)) for phase in PHASES]


def _connections(seen: Seen) -> list[Sample]:
    by_phase: dict[str, int] = {}
    for generation in seen.status["generations"]:
        known = [seen.connections[w["pid"]] for w in generation["workers"] if w["pid"] in seen.connections]
        if known:
            by_phase[generation["phase"]] = by_phase.get(generation["phase"], 0) + sum(known)
    return [((phase,), count) for phase, count in by_phase.items()]


def _releases(seen: Seen) -> list[Sample]:
    status, versions = seen.status, {g["release"]: g["version"] for g in seen.status["generations"]}
    pin = seen.ledger.pin
    told = [("current", status["current"], ""), ("wanted", status["wanted"], "")]
    told += [("serving", g["release"], "") for g in status["generations"] if g["phase"] == "serving"][-1:]
    told += [("pinned", pin.release, pin.version)] if pin else []
    return [
        ((role, release[:12], version or versions.get(release, "")), 1) for role, release, version in told
    ]


def _ailments(seen: Seen) -> list[Sample]:
    kind = seen.status["ailment"] if seen.status["trouble"] else ""
    kind = kind if not kind or kind in AILMENTS else "source"
    return [((each,), each == kind) for each in AILMENTS]


GAUGES = (
    Gauge(
        "overseer_master_info",
        "The version of overseer that the master runs.",
        ("overseer",),
        lambda seen: [((seen.status["overseer"],), 1)],
    ),
    Gauge(
        "overseer_release_info",
        "Which release is current, wanted, serving or pinned: the beginning of its digest, its version.",
        ("role", "release", "version"),
        _releases,
    ),
    Gauge(
        "overseer_master_start_timestamp_seconds",
        "When the service was started; its uptime is time() minus this.",
        (),
        lambda seen: _one(seen.status["began"]),
    ),
    Gauge("overseer_generations", "Generations by phase.", ("phase",), _phases),
    Gauge("overseer_workers", "Processes of generations, by the phase of these.", ("phase",), _workers),
    Gauge(
        "overseer_held_releases",
        "Releases that are not taken by themselves: they failed, or an operator wants it so.",
        (),
        lambda seen: _one(len(seen.held)),
    ),
    Gauge(
        "overseer_pinned",
        "Whether an operator has pinned a release, so that no other is taken.",
        (),
        lambda seen: _one(seen.ledger.pin is not None),
    ),
    Gauge(
        "overseer_updater_running",
        "Whether there is an updater; a service without a fetcher has none.",
        (),
        lambda seen: _one(seen.status["updater"] is not None),
    ),
    Gauge(
        "overseer_updater_trouble",
        "What keeps releases from coming: an alarm when it lasts.",
        ("kind",),
        _ailments,
    ),
    Gauge(
        "overseer_updater_last_success_timestamp_seconds",
        "When the source was last asked with success, to within a minute.",
        (),
        lambda seen: _one(seen.status["looked"] or None),
    ),
    Gauge(
        "overseer_stored_descriptors",
        "Descriptors that programs have left with the master.",
        (),
        lambda seen: _one(seen.status["stored"]),
    ),
    Gauge(
        "overseer_private_memory_bytes",
        "Memory that only these processes have, where it may be read.",
        ("role",),
        lambda seen: [((role,), size) for role, size in seen.memory.items()],
    ),
    Gauge(
        "overseer_open_connections",
        "Connections that have been accepted and are not closed, where it may be known.",
        ("phase",),
        _connections,
    ),
    Gauge(
        "overseer_last_event_timestamp_seconds",
        "When each kind of event was last seen.",
        ("event",),
        lambda seen: [((kind,), at) for kind, at in sorted(seen.status["latest"].items())],
    ),
)

COUNTERS: tuple[tuple[str, str, str, Mapping[str, str]], ...] = (
    ("overseer_generations_started", "Generations that were started.", "", {"": "generations_started"}),
    (
        "overseer_generation_starts",
        "Generations that came to serve, and that would not do, at their start or later.",
        "outcome",
        {"served": "generations_served", "failed": "generations_failed"},
    ),
    (
        "overseer_restart_requests",
        "Restarts that were asked for, by how they ended.",
        "outcome",
        {name: f"restarts_{name}" for name in ("done", "failed", "stopped")},
    ),
    (
        "overseer_releases",
        "What became of releases.",
        "outcome",
        {name: f"releases_{name}" for name in ("staged", "promoted", "held", "rolled_back")},
    ),
    (
        "overseer_kills",
        "Processes that had to be killed, by the phase of their generation.",
        "phase",
        {phase: f"kills_{phase}" for phase in PHASES},
    ),
    ("overseer_unasked_exits", "Processes that ended unasked.", "", {"": "exits_unasked"}),
    ("overseer_updater_deaths", "Ends of the updater that nobody asked for.", "", {"": "updater_deaths"}),
    ("overseer_master_renewals", "Times that the master has become another one.", "", {"": "renewals"}),
    (
        "overseer_master_renewals_failed",
        "Times that the master stays as it is, for the next one will not do.",
        "",
        {"": "renewals_failed"},
    ),
)
"""Name without `_total`, what it means, its label, and for each value of that the count in the status."""


def families(service: str, seen: Seen | None) -> Iterator[Metric]:
    """Yield every metric; of a service that does not answer, only that it does not."""
    up = GaugeMetricFamily("overseer_up", "Whether the master answers.", labels=["service"])
    up.add_metric([service], seen is not None)
    yield up
    if seen is not None:
        yield from chain(_gauges(service, seen), _counters(service, seen), _histograms(service, seen))


def _gauges(service: str, seen: Seen) -> Iterator[Metric]:
    for each in GAUGES:
        family = GaugeMetricFamily(each.name, each.help, labels=["service", *each.labels])
        for labels, value in each.samples(seen):
            family.add_metric([service, *labels], value)
        yield family


def _counters(service: str, seen: Seen) -> Iterator[Metric]:
    counts = seen.status["counts"]
    for name, told, label, values in COUNTERS:
        family = CounterMetricFamily(name, told, labels=["service", *([label] if label else [])])
        for value, count in values.items():
            family.add_metric([service, *([value] if label else [])], counts.get(count, 0))
        yield family


def _histograms(service: str, seen: Seen) -> Iterator[Metric]:
    times = seen.status["times"]
    bounds = [*(str(bound) for bound in times["bounds"]), "+Inf"]
    for name, told in _TIMED.items():
        *counts, total = times[name]
        family = HistogramMetricFamily(f"overseer_{name}_duration_seconds", told, labels=["service"])
        family.add_metric([service], list(zip(bounds, accumulate(counts), strict=True)), total)
        yield family

"""`overseer metrics`: what a service counts and is, for Prometheus."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import click

from overseer.cli import connections, kept, table
from overseer.cli.asking import NobodyError, ask, find
from overseer.cli.command import Command, of_a_service
from overseer.cli.completion import files
from overseer.errors import ConfigError, OverseerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from overseer.cli.exposition import Seen

_NEEDED = "overseer metrics needs prometheus-client: pip install 'pyoverseer[metrics]'"


class _Scraped:
    """One service as a collector of prometheus_client: each collection is a look at it."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        self.up = False

    def collect(self) -> Iterator[Metric]:
        """Look, and tell what is seen; a service that does not answer is told as such."""
        from overseer.cli.exposition import families  # noqa: PLC0415 - needs an extra

        try:
            seen = _seen(self.path)
        except NobodyError:
            seen = None
        self.up = seen is not None
        if seen is not None:
            self.name = str(seen.status["name"])
        return families(self.name, seen)


def _seen(path: str) -> Seen:
    from overseer.cli.exposition import Seen  # noqa: PLC0415 - needs an extra

    status = ask(path, "status")
    if "counts" not in status:
        raise OverseerError(f"the master is an older one, {status['overseer']}, and counts nothing")
    ledger = kept.ledger_of(status)
    return Seen(
        status=status,
        ledger=ledger,
        held=kept.held(status, ledger),
        memory=table.memory(status),
        connections=connections.count(status),
    )


@click.command(cls=Command, short_help="What a service counts, for Prometheus.")
@of_a_service
@click.option(
    "--textfile",
    default="",
    metavar="PATH",
    shell_complete=files,
    help="Write them to a file, in one rename, for the textfile collector of node_exporter.",
)
@click.option(
    "--listen",
    default="",
    metavar="HOST:PORT",
    help="Answer GET /metrics there until ended, as 127.0.0.1:9234; a process beside the service.",
)
def metrics(name: str, control: str, textfile: str, listen: str) -> None:
    """Print what a service counts, in Prometheus' text format.

    Generations by phase, restarts and releases by outcome, how long starts, drains and upgrades took, forced
    kills, held releases, what is wrong with the updater, versions, memory, the time of the last events. Where
    no master answers there is only `overseer_up 0`: in a file or over HTTP that is what an alarm waits for;
    the command itself ends with 69 then, also after it has written a file.
    """
    try:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise OverseerError(_NEEDED) from None
    if textfile and listen:
        raise ConfigError("listen", "goes with --textfile as little as a file answers; give one of them")
    path = find(name, control)
    scraped = _Scraped(path, name or os.path.splitext(os.path.basename(path))[0])
    registry = CollectorRegistry()
    registry.register(scraped)
    if listen:
        _serve(listen, registry)
    else:
        _write(textfile, registry)
        if not scraped.up:
            raise NobodyError(f"no master answers at {path}")


def _write(textfile: str, registry: CollectorRegistry) -> None:
    from prometheus_client import generate_latest, write_to_textfile  # noqa: PLC0415 - an extra

    if not textfile:
        click.echo(generate_latest(registry), nl=False)
        return
    try:
        write_to_textfile(textfile, registry)
    except OSError as error:
        raise OverseerError(f"{textfile} cannot be written: {error.strerror}") from None


def _serve(listen: str, registry: CollectorRegistry) -> None:
    from prometheus_client import start_http_server  # noqa: PLC0415 - an extra

    host, _, port = listen.rpartition(":")
    if not (port.isdecimal() and int(port) < 1 << 16 and host):
        raise ConfigError("listen", f"{listen!r} is no HOST:PORT; write 127.0.0.1:9234")
    ended = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ended)  # before there are other threads, which inherit it
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise OverseerError(f"{listen} cannot be listened on: {error.strerror}") from None
    click.echo(f"answers on http://{host}:{server.server_port}/metrics", err=True)
    signal.sigwait(ended)
    server.shutdown()
    thread.join()

"""What a program asks of overseer: one value, checked when it is made, data from then on."""

from __future__ import annotations

import inspect
import os
import signal
from dataclasses import dataclass, fields
from math import inf
from typing import TYPE_CHECKING, Any

from overseer import addresses as addressing
from overseer import places
from overseer.errors import AddressError, ConfigError
from overseer.facts import Handover, Policy, Restarts
from overseer.settings import Foreign, Settings, from_data, to_data
from overseer.trust.tuf import TUF

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from overseer.fetcher import Fetcher
    from overseer.fetcher.legacy import InitFetch
    from overseer.program.state import State


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Take releases as they come: whoever can write to the source can run code here.

    It has to be said aloud (`trust=overseer.Unsigned()`), and the log repeats it once at every start.
    """


@dataclass(frozen=True, kw_only=True)
class Config:
    """All options of `overseer.run`; every one but `program` may be left out.

    Times are seconds. Raises `ConfigError`, which names the field, for what cannot be meant.
    """

    program: Callable[[State], object] | None = None
    """The program: a function or a coroutine function of one `State`. Its return is the program's end."""
    required: bool = False
    """Do not fall back to running the program in this process when there can be no master."""
    address: str = ""
    """Where to listen: `:3000`, `127.0.0.1:3000`, `[::1]:3000`, `unix:/run/app.sock`, `udp:…`, `fd:NAME`."""
    addresses: Sequence[str] = ()
    """The same, several; set one or the other."""
    restart_signal: int = signal.SIGUSR2
    """The signal that asks the master for a graceful restart."""
    terminate_timeout: float = 30.0
    """How long a generation may drain before it is killed."""
    min_fetch_interval: float = 1.0
    """The least time between two looks at the source of releases."""
    pre_upgrade: Callable[[str], object] | None = None
    """Called with the path of a staged release, in the updater; an exception refuses the release."""
    debug: bool = False
    """Log every fact."""
    no_warn: bool = False
    """Log errors only."""
    no_restart: bool = False
    """Never restart: the restart signal stops the program, upgrades are installed for the next start."""
    no_restart_after_fetch: bool = False
    """Install upgrades, and restart into them only when asked."""
    fetcher: Fetcher | InitFetch | str | Callable[[], object] | None = None
    """Where new releases come from: one of `overseer.fetcher`, a URL or a function; needs `trust`."""
    trust: TUF | Unsigned | None = None
    """How releases are verified: `overseer.TUF(root=…)`; or `overseer.Unsigned()`, which has to be said."""
    allow_downgrade: bool = False
    """Take a release whose version is lower than the highest that was current."""
    max_boot_attempts: int = 3
    """Starts of a release on probation, the master's own death included, before it is put back."""
    version: str = ""
    """The program's own version, shown and recorded."""
    workers: int = 1
    """Processes of one generation, which share the listeners."""
    handover: str = "overlap"
    """`overlap`: the next generation is started beside the old one. `sequential`: after it has left."""
    ready_after: float | None = 1.0
    """Seconds alive that count as ready where there is no address; None: only `state.ready()` counts."""
    ready_timeout: float = 60.0
    """How long a generation may take to reach `overseer.run`, and then to be ready, before it is given up."""
    probation: float = 30.0
    """How long a new release has to serve before it is the current one; until then it can be rolled back."""
    watchdog: float = inf
    """How long one that serves may go without `state.alive()` (WATCHDOG=1) before it is killed."""
    max_draining: int = 4
    """How many generations may drain at once; beyond, the oldest is killed."""
    user: str = ""
    """Whom to become when everything is bound, for one that is started as root: a name or a number."""
    group: str = ""
    """The group to go with `user`; by default the one it has."""
    fdstore: bool = False
    """Leave the listeners with systemd, too (FileDescriptorStoreMax=): they survive even a killed master."""
    control: str = ""
    """Absolute path of the control socket; by default `$RUNTIME_DIRECTORY/overseer.sock` where it is set."""
    name: str = ""
    """The service's name for operators; it also gives the control socket a place where nothing else does."""

    def __post_init__(self) -> None:
        """Check every field; the first that is wrong is named."""
        for field in fields(self):
            self._check_kind(field.name, field.default)
        self._check_program()
        self._check_addresses()
        self._check_releases()
        if not self.min_fetch_interval >= 0:
            given = self.min_fetch_interval
            raise ConfigError("min_fetch_interval", f"{given} s is no time to wait; use 0 or more seconds")
        if self.max_boot_attempts < 1:
            raise ConfigError(
                "max_boot_attempts", f"{self.max_boot_attempts!r} is no number of starts; use 1 or more"
            )
        if self.no_restart and self.no_restart_after_fetch:
            raise ConfigError("no_restart_after_fetch", "is set, and no_restart is too, which includes it")
        if self.name:
            places.check_name(self.name)
        if self.control and not os.path.isabs(self.control):
            raise ConfigError(
                "control", f"{self.control!r} would be another path in another folder; begin it with /"
            )
        if self.group and not self.user:
            raise ConfigError("group", "is set, and user is not; set both, or neither")
        from_data(to_data(self.settings()))  # the master's own checks, made where the programmer sees them

    def _check_kind(self, field: str, default: object) -> None:
        """A field whose default is a word, a switch or a number takes nothing else."""
        given = getattr(self, field)
        number = isinstance(given, int | float) and not isinstance(given, bool)
        match default:
            case bool():
                right, kind = isinstance(given, bool), "True or False"
            case int():
                right, kind = number and isinstance(given, int), "a whole number"
            case float():
                right, kind = number or (given is None and field == "ready_after"), "a number of seconds"
            case str():
                right, kind = isinstance(given, str), "a text"
            case _:
                return
        if not right:
            raise ConfigError(field, f"{given!r} is not {kind}")

    def _check_program(self) -> None:
        if self.program is None:
            raise ConfigError("program", "is missing; give the function to run, as overseer.run(program)")
        if not callable(self.program):
            raise ConfigError("program", f"{self.program!r} cannot be called; give a function of one State")
        if inspect.isgeneratorfunction(self.program) or inspect.isasyncgenfunction(self.program):
            raise ConfigError("program", "is a generator, which would not be run; use no yield in it")

    def _check_addresses(self) -> None:
        if self.address and self.addresses:
            raise ConfigError("addresses", "is set, and address is too; set one or the other")
        if isinstance(self.addresses, str):
            raise ConfigError("addresses", f"is a list; for the one address {self.addresses!r} use address")
        if not isinstance(self.addresses, list | tuple) or not all(
            isinstance(a, str) for a in self.addresses
        ):
            raise ConfigError("addresses", f"{self.addresses!r} is not a list of texts")
        field = "addresses" if self.addresses else "address"
        for text in self.listens_on:
            try:
                addressing.parse(text)
            except AddressError as error:
                raise ConfigError(field, str(error)) from None

    def _check_releases(self) -> None:
        if self.pre_upgrade is not None and not callable(self.pre_upgrade):
            raise ConfigError(
                "pre_upgrade", f"{self.pre_upgrade!r} cannot be called; give a function of a path"
            )
        if self.fetcher is not None:
            from overseer.fetcher.registry import adapt  # noqa: PLC0415 - only where there is one

            adapt(self.fetcher)
        if self.fetcher is not None and self.trust is None:
            raise ConfigError(
                "trust",
                "is missing, and a fetcher is set: releases would be executed unverified. "
                "Write trust=overseer.TUF(root=...) to take signed ones only (overseer repo makes them), "
                "or trust=overseer.Unsigned() if whoever can write to the source may run code here",
            )
        if self.trust is not None and not isinstance(self.trust, (TUF, Unsigned)):
            raise ConfigError(
                "trust",
                f"{self.trust!r} is no way to trust; write overseer.TUF(root=...) or overseer.Unsigned()",
            )
        if isinstance(self.trust, TUF) and self.fetcher is not None:
            from overseer.fetcher.registry import adapt  # noqa: PLC0415 - only where there is one
            from overseer.trust.files import check_source  # noqa: PLC0415

            check_source(adapt(self.fetcher))

    @property
    def listens_on(self) -> tuple[str, ...]:
        """The addresses, in order, whichever way they were given."""
        return (self.address,) if self.address else tuple(self.addresses)

    def settings(self) -> Settings:
        """Return what the master has to know: this without the callables."""
        try:
            handover = Handover(self.handover)
        except ValueError:
            known = " nor ".join(member.value for member in Handover)
            raise ConfigError("handover", f"{self.handover!r} is neither {known}") from None
        restarts = Restarts.NEVER if self.no_restart else Restarts.ALWAYS
        policy = Policy(
            workers=self.workers,
            handover=handover,
            restarts=Restarts.NOT_AFTER_FETCH if self.no_restart_after_fetch else restarts,
            ready_after=inf if self.ready_after is None or self.listens_on else self.ready_after,
            ready_timeout=self.ready_timeout,
            terminate_timeout=self.terminate_timeout,
            probation=self.probation,
            max_draining=self.max_draining,
        )
        return Settings(
            addresses=self.listens_on,
            restart_signal=self.restart_signal,
            policy=policy,
            version=self.version,
            debug=self.debug,
            no_warn=self.no_warn,
            fetches=self.fetcher is not None,
            fdstore=self.fdstore,
            foreign=Foreign(watchdog=self.watchdog),
            source="" if self.fetcher is None else type(self.fetcher).__name__,
            trust="" if self.trust is None else type(self.trust).__name__,
        )

    def control_path(self, environ: Mapping[str, str]) -> str:
        """Return where operators ask, or nothing where they cannot."""
        return places.control_path(environ, control=self.control, name=self.name)


def from_options(program: Callable[[State], object] | Config | None, options: Mapping[str, Any]) -> Config:
    """Make a Config of what `overseer.run` was called with.

    Raises `ConfigError` for an option there is not, with the one that was probably meant.
    """
    if isinstance(program, Config):
        if options:
            field = next(iter(options))
            raise ConfigError(field, "is given beside a Config; put it into the Config")
        return program
    known = [field.name for field in fields(Config)]
    for name in options:
        if name not in known:
            import difflib  # noqa: PLC0415 - only in need

            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; was {near[0]} meant?" if near else f"; there are {', '.join(known)}"
            raise ConfigError(name, f"is no option{meant}")
    if program is not None and "program" in options:
        raise ConfigError("program", "is given twice")
    return Config(**{"program": program, **options})

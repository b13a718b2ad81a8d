"""`overseer.run` and its sisters: which part this process plays, and the playing of it."""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn

from overseer import role, wire
from overseer.command import this_command
from overseer.config import Config, from_options
from overseer.edition import edition
from overseer.errors import ConfigError, ListenerDrainingError, NotSupportedError, OverseerError
from overseer.launch import IN_PLACE, bind, launch, whom
from overseer.program.draining import Draining
from overseer.program.ending import end_within, is_ours
from overseer.program.link import Link, be_deaf, outlive
from overseer.program.listener import listener_of
from overseer.program.shelf import Shelf
from overseer.program.state import State, digest
from overseer.settings import to_data
from overseer.trust.tuf import TUF

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from overseer.program.listener import Listener
    from overseer.store import Store
    from overseer.updater.loop import Source

_log = logging.getLogger("overseer")

EX_CONFIG, EX_UNAVAILABLE = 78, 69
"""Exit codes for a wrong option, and for a place or a platform that cannot be had (sysexits.h)."""

_link: Link | None = None
_state: State | None = None


def run(program: Callable[[State], object] | Config | None = None, /, **options: Any) -> NoReturn:
    """Run a program under a master; never return.

    In the first process this becomes the master. In the processes that the master starts it runs `program`,
    a function or coroutine function of one `State`, and exits with status 0 when that returns. The options
    are the fields of `Config`, which may be given in their stead.

    Where there can be no master, the program runs in this process, with `state.enabled` false and one warning
    in the log, unless `required`. A wrong option ends the process with status 78 and one line that names the
    field, also one that `overseer.serve` refuses; an address that cannot be had, with 69.
    """
    try:
        config = from_options(program, options)
        try:
            play = _take_part(config)
        except NotSupportedError as error:
            if config.required:
                raise
            if not config.no_warn:
                _log.warning("%s; the program runs without a master: no restarts, no upgrades", error)
            play = _fall_back(config)
    except ConfigError as error:
        raise SystemExit(_end(error, EX_CONFIG)) from None
    except OverseerError as error:
        raise SystemExit(_end(error, EX_UNAVAILABLE)) from None
    try:
        play()  # what the program raises is its own affair, whatever it is
    except BaseException as error:
        if _state and not _state.draining:
            # Of several workers one alone may end; then the generation is no worse than before.
            tell = _state.fail if config.workers == 1 else lambda _: None
            end_within(config.terminate_timeout, error, tell)
        if isinstance(error, ConfigError) and is_ours(error):
            raise SystemExit(_end(error, EX_CONFIG)) from None
        raise
    raise SystemExit(0)


def run_err(program: Callable[[State], object] | Config | None = None, /, **options: Any) -> None:
    """Do what `run` does, but hand errors to the caller; return when the program has returned.

    Raises `ConfigError` (which names the field), `AddressError` or `NotSupportedError`; nothing has been
    started then.
    """
    _take_part(from_options(program, options))()


def _take_part(config: Config) -> Callable[[], None]:
    """Play the part of this process; if that is to run the program, return how to."""
    mine = role.spend()
    match mine.part:
        case "program":
            return lambda: _be_program(config, mine)
        case "updater":
            return _be_updater(config, mine)
        case "check":
            return _answer_check(config, mine)
        case "launcher":
            return launch(config)
        case _:
            raise NotSupportedError(
                "overseer.run was called a second time in this process (if its file was imported as well, "
                "put the call under if __name__ == '__main__')"
            )


def restart() -> None:
    """Ask the master for a graceful restart of this program, from inside it; return at once.

    If it succeeds, this generation drains; if it fails, the log says why and nothing changes. With
    `no_restart` it is a graceful shutdown. Raises `NotSupportedError` where no master runs this process.
    """
    if _link is None:
        raise NotSupportedError(
            "there is no master to ask for a restart: this process was not started by one"
        )
    _link.ask_for_restart()


def sanity_check() -> None:
    """Answer the check of a staged release now, and end the process; in all others do nothing.

    A program with a long way to `overseer.run` calls it early: whatever comes later is then not checked.
    """
    if role.mine.part == "check":
        _answer_check(None, role.spend())


def _fall_back(config: Config) -> Callable[[], None]:
    """Return how to run the program in this process, on listeners of its own. Raises `AddressError`."""
    draining = Draining()
    who = whom(config)
    bound = bind(config, who)
    if who:
        who.become(os.environ)
    for _, sock in bound.kept.others.values():
        sock.close()
    link = Link(None)
    listeners = _listeners([sock.detach() for sock in bound.sockets], config, draining, lambda: None)
    state = _state_of(config, draining, listeners=listeners)
    _heed_signals(link)
    link.listen(lambda _: None, lambda: None, lambda number: _signalled(draining, link, number))
    return lambda: _run_program(config, state)


def _be_program(config: Config, mine: role.Role) -> None:  # noqa: C901 - of short functions, each for the link
    global _link, _state  # noqa: PLW0603 - restart() is a function of the module, as in the original
    _link = link = Link(mine.channel)
    draining = Draining()
    hello = {"type": "hello", "protocol": wire.PROTOCOL, "config": to_data(config.settings())}
    let_in = link.greet({**hello, **edition()})
    if let_in is None:  # asked to leave before it began, or nobody there
        return
    welcome, fds = let_in
    said: dict[str, float] = {}  # what was said, and when

    def say(word: str, reason: str) -> None:
        now = time.monotonic()
        if word in ("ready", "starting") and "ready" in said:
            return
        if word == "alive" and (config.watchdog == inf or now < said.get(word, -inf) + config.watchdog / 4):
            return  # nobody waits for it, or not yet
        said[word] = now
        link.say({"type": word, "reason": reason} if reason else {"type": word})

    def used() -> None:
        if config.ready_after is not None and "starting" not in said:
            say("ready", "")

    def heard(word: wire.Word) -> None:
        if word["type"] == "drain":
            stops = word.get("stops") is True
            draining.begin("the service stops" if stops else "another generation serves", stops=stops)
        elif word["type"] == "stored":
            shelf.arrived(str(word["name"]), str(word["data"]), int(word["fd"]))
        elif word["type"] == "answer" and word.get("outcome") == "failed":
            _log.warning("the restart that was asked for failed: %s", word.get("detail"))

    def lost() -> None:
        _log.warning("the master is gone: the program drains")
        draining.begin("the master is gone", stops=True)
        outlive(config.terminate_timeout)

    listeners = _listeners(fds, config, draining, used)
    shelf = Shelf(link, draining)
    _state = state = _state_of(
        config,
        draining,
        enabled=True,
        listeners=listeners,
        release=str(welcome["release"]),
        generation=int(welcome["generation"]),
        worker=int(welcome["worker"]),
        say=say,
        shelf=shelf,
    )
    _heed_signals(link)
    link.listen(heard, lost, lambda number: _signalled(draining, link, number))
    _run_program(config, state)


def _run_program(config: Config, state: State) -> None:
    assert config.program is not None
    _expect_draining(state.draining)
    try:
        result = config.program(state)
        if inspect.iscoroutine(result):
            import asyncio  # noqa: PLC0415 - 23 ms that a program without it need not spend

            asyncio.run(result)
    except ListenerDrainingError:
        if not state.draining:
            raise


def _expect_draining(draining: Draining) -> None:
    """A thread whose accept loop ends because the program drains has not failed: no traceback of it."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not (draining.is_set() and args.exc_type is ListenerDrainingError):
            before(args)

    threading.excepthook = hook


def _be_updater(config: Config, mine: role.Role) -> NoReturn:
    # Only this part needs them.
    from overseer.store import Store  # noqa: PLC0415
    from overseer.updater.loop import Options  # noqa: PLC0415
    from overseer.updater.loop import run as update  # noqa: PLC0415
    from overseer.updater.stage import Terms  # noqa: PLC0415

    # A service manager sends its signals to all; ours is the end of the channel. Not SIG_IGN, which what is
    # started here would inherit.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    this = this_command()
    interpreter = () if this.kind == "frozen" else this.argv[:-1]
    terms = Terms(
        allow_downgrade=config.allow_downgrade,
        attempts=config.max_boot_attempts,
        interpreter=interpreter,
        arguments=this.args,
    )
    with Store.open(mine.binary, lock_fd=mine.lock) as store:
        status = update(
            socket.socket(fileno=mine.channel),
            fetcher=_source(config, store),
            store=store,
            pre_upgrade=config.pre_upgrade,
            options=Options(terms=terms, min_fetch_interval=config.min_fetch_interval),
        )
    raise SystemExit(status)


def _source(config: Config, store: Store) -> Source:
    """Return what the updater looks at: the fetcher itself, or what is signed of what it points to."""
    from overseer.fetcher.registry import adapt  # noqa: PLC0415 - only the updater needs them
    from overseer.fetcher.target import here  # noqa: PLC0415
    from overseer.trust.choose import Here  # noqa: PLC0415
    from overseer.trust.source import SignedReleases  # noqa: PLC0415

    source = adapt(config.fetcher)
    if not isinstance(config.trust, TUF):
        return source
    machine = here()
    platform = "-".join(word for word in (machine.os, machine.machine, machine.libc) if word)

    def runs() -> Here:
        current, highest = store.find(store.ledger.current), store.ledger.highest
        return Here(
            platform=platform,
            version=current.version if current else "",
            highest="" if config.allow_downgrade else highest,
            digest=store.ledger.current,
            pinned=(pin.release or pin.version) if (pin := store.ledger.pin) else "",
        )

    return SignedReleases(config.trust, source, os.path.join(store.layout.root, "trusted"), runs)


def _answer_check(config: Config | None, mine: role.Role) -> NoReturn:
    """Write one word to the private pipe and end: standard output belongs to the program."""
    assert mine.channel is not None
    known = {"version": config.version, "config": to_data(config.settings())} if config else {}
    word = {"type": "checked", "token": mine.token, "protocol": wire.PROTOCOL, **edition(), **known}
    os.write(mine.channel, wire.encode(word))
    raise SystemExit(0)


def _listeners(
    fds: Sequence[int], config: Config, draining: Draining, used: Callable[[], None]
) -> tuple[Listener, ...]:
    return tuple(
        listener_of(fd, text, draining, used) for fd, text in zip(fds, config.listens_on, strict=True)
    )


def _state_of(config: Config, draining: Draining, *, release: str = IN_PLACE, **known: Any) -> State:
    try:
        binary = this_command().binary
    except NotSupportedError:
        binary = ""
    return State(
        id=digest(binary) if release == IN_PLACE else release,
        bin_path=binary,
        version=config.version,
        addresses=config.listens_on,
        draining=draining,
        **known,
    )


def _heed_signals(link: Link) -> None:
    """SIGTERM and SIGINT drain, where the program has no opinion: a service manager may send them to all."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, default in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is default:
            link.heed(number)
    atexit.register(be_deaf)


def _signalled(draining: Draining, link: Link, number: int) -> None:
    if link.alone and draining.is_set() and number == signal.SIGINT:
        os._exit(128 + number)  # asked twice by hand, and nobody else would end it
    draining.begin(f"signal {signal.Signals(number).name}", stops=link.alone)


def _end(error: OverseerError, status: int) -> int:
    if sys.stderr and not sys.stderr.closed:
        sys.stderr.write(f"overseer: error: {error}\n")  # the one line for whoever started it
    return status

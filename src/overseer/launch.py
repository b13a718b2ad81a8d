"""The first process: turn the Config into data, bind the sockets, and become the master."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from overseer import addresses, places, privileges, role, settings, sockets
from overseer.command import this_command
from overseer.errors import AddressError, ConfigError, NotSupportedError, StoreError
from overseer.facts import World
from overseer.master import memory
from overseer.master.children import fill_standard_descriptors, is_terminal_job
from overseer.master.succession import command
from overseer.master.upwards import give_up
from overseer.values import replace

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from overseer.addresses import Address
    from overseer.command import Command
    from overseer.config import Config
    from overseer.privileges import Identity
    from overseer.store import Release

_log = logging.getLogger("overseer")

IN_PLACE = "in place"
"""The name of a release that is no release: the program runs where it stands."""

_PATIENCE = 10.0
"""Seconds for whoever holds the lock of the store to leave: the updater of a master that was killed."""

_SET_CHILD_SUBREAPER = 36  # prctl(2); survives execve


class Bound(NamedTuple):
    """What is listened on, in the order of the addresses, and what a service manager had kept for us."""

    sockets: list[socket.socket]
    kept: sockets.Kept


def is_supported() -> bool:
    """Tell whether this platform can have a master: Linux, macOS and the BSDs can."""
    return os.name == "posix" and hasattr(os, "fork") and sys.platform not in ("emscripten", "wasi", "cygwin")


def whom(config: Config, read: Sequence[str] = ()) -> Identity | None:
    """Return whom this process has to become; None where it stays what it is.

    `read` is what else was read to get here. Raises `ConfigError` where that cannot be, or would be no
    protection.
    """
    who = privileges.find(config.user, config.group)
    if who and getattr(sys, "frozen", False):
        raise ConfigError(
            "user",
            "is nothing for a one-file executable, which has unpacked itself as root; "
            "have the service manager change the user (User= of systemd)",
        )
    if who:
        privileges.refuse_to_trust(who, read)
    return who


def _as_whom(address: Address, who: Identity | None) -> AbstractContextManager[None]:
    """Where the user of the service may write, root makes no files: they could be made to be others."""
    in_reach = who and address.kind == "unix" and not address.abstract
    return who.acting() if who and in_reach and who.may_write(_folder(address)) else nullcontext()


def _open(
    address: Address, inherited: Mapping[str, int], who: Identity | None, kept: sockets.Kept
) -> socket.socket:
    try:
        return _open_as(address, inherited, who)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not (names := kept.clear(address)):
            raise
        give_up(os.environ, names)
        return _open_as(address, inherited, who)


def _open_as(address: Address, inherited: Mapping[str, int], who: Identity | None) -> socket.socket:
    with _as_whom(address, who):
        if who and os.geteuid() == 0 and address.kind == "unix" and not address.user:
            address = replace(address, user=str(who.uid), group=address.group or str(who.gid))
        return sockets.open_at(address, inherited)


def _folder(address: Address) -> str:
    return os.path.dirname(address.path)


def bind(config: Config, who: Identity | None = None) -> Bound:
    """Have every address of a Config bound, in order; what a master left behind is taken back.

    Socket files are made for `who`. Raises `AddressError`.
    """
    parsed = [addresses.parse(text) for text in config.listens_on]
    for warning in (warning for address in parsed for warning in sockets.warnings_for(address)):
        _log.warning(warning)
    sockets.take_inherited(role.environ)
    given = sockets.take_inherited(os.environ)
    kept = sockets.take_back(given, parsed)
    try:
        for at, sock in kept.wanted.items():
            with _as_whom(parsed[at], who):
                sockets.apply_options(sock, parsed[at])
        fresh = sockets.bind_patiently(
            [address for at, address in enumerate(parsed) if at not in kept.wanted],
            patience=config.terminate_timeout + 5,
            say=_log.warning,
            inherited=sockets.activated(given),
            opens=lambda address, inherited: _open(address, inherited, who, kept),
        )
    except BaseException:
        kept.close()
        raise
    if kept.wanted:
        _log.info("%s of %s listeners have outlived the last master", len(kept.wanted), len(parsed))
    return Bound([kept.wanted.get(at) or fresh.pop(0) for at in range(len(parsed))], kept)


def launch(config: Config, this: Command | None = None, read: Sequence[str] = ()) -> NoReturn:
    """Become the master of this program, or of the one that `this` starts; never return.

    `read` is what was read to learn the options. Raises `NotSupportedError` where there can be no master,
    `AddressError`, and `ConfigError` about the user to become.
    """
    if not is_supported():
        raise NotSupportedError(f"{sys.platform} has no fork and execve, so there can be no master here")
    this = this or this_command()
    fill_standard_descriptors()
    who = whom(config, read)
    bound = bind(config, who)
    control = _control(config, who)
    if who:
        who.become(os.environ, role.environ)
    try:
        become_master(config, this, bound, control)
    except OSError as error:
        if control:
            sockets.unlink_if_ours(control)  # nobody will answer there
            control.close()
        for sock in bound.sockets:
            sock.close()
        raise NotSupportedError(f"the master cannot be started: {error}") from error


def become_master(config: Config, this: Command, bound: Bound, control: socket.socket | None) -> NoReturn:
    """Leave a state for the master and replace this process by it."""
    listened = [*zip(config.listens_on, bound.sockets, strict=True), *bound.kept.others.values()]
    handed = [sock for _, sock in listened] + ([control] if control else [])
    state: dict[str, Any] = {
        "format": 1,
        "name": config.name or os.path.basename(this.binary or this.argv[-1]),
        "python": "" if this.kind == "frozen" else sys.executable,
        "args": list(this.args),
        "folder": role.folder,
        "job": is_terminal_job(),
        "reaper": _become_reaper(),
        "began": time.time(),
        "settings": settings.to_data(config.settings()),
        "agreed": {},
        "editions": {},
        "users": {},
        "children": [],
        "control": [control.fileno(), sockets.file_of(control)] if control else None,
        "callers": [],
        "sockets": [[text, sock.fileno(), sockets.file_of(sock)] for text, sock in listened],
        "kept": bound.kept.names,
        "unwanted": bound.kept.unfit,
        **releases(config, this),
    }
    for stream in (sys.stdout, sys.stderr):
        if stream and not stream.closed:  # not where it was closed
            stream.flush()
    if this.kind == "frozen":
        for sock in handed:
            sock.detach()  # theirs from now on who find them in the state
        _serve_here(state)
    fd = memory.write(state)
    for sock in handed:
        os.set_inheritable(sock.fileno(), True)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        package = os.path.dirname(os.path.abspath(__file__))
        argv = command(sys.executable, package, fd, str(state["name"]))
        os.execve(argv[0], argv, role.environ)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(fd)


def releases(config: Config, this: Command) -> dict[str, Any]:
    """Find out which release to start: from the store where there is a fetcher, else what stands there.

    A store that cannot be had is no reason not to serve: upgrades are off then, and that is said, in the log
    and for as long as it is so in the status.
    """
    policy = config.settings().policy
    known: dict[str, Any] = {IN_PLACE: {"argv": list(this.argv), "environ": {}}}
    world, lock, stopped, off = World(IN_PLACE, IN_PLACE, policy), None, "", ""
    if config.fetcher is not None and not this.binary:
        off = "upgrades are off: a program started with -m, -c or as a folder is no one file to replace"
        _log.warning(off)
    elif config.fetcher is not None:
        from overseer.store import Store, fallback  # noqa: PLC0415 - only where there are releases

        refuse_neighbours(this)
        try:
            store = Store.open(this.binary, wait=_PATIENCE)
            kind = {"script": "python", "archive": "zipapp"}.get(this.kind, "")
            boot = store.boot(version=config.version, kind=kind, attempts=config.max_boot_attempts)
        except StoreError as error:
            off = str(error)
            _log.warning("%s", off)
            if found := fallback(this.binary):
                known[found.release] = _executable(found, this)
                world = World(found.release, found.release, policy)
        else:
            lock, store.lock_fd, stopped = store.lock_fd, -1, store.layout.stopped
            os.set_inheritable(lock, True)
            known |= {found.release: _executable(found, this) for found in (boot.current, boot.start)}
            held = frozenset(store.ledger.held)
            world = World(boot.current.release, boot.start.release, policy, held=held)
    return {
        "releases": known,
        "world": memory.to_json(world),
        "binary": this.binary,
        "lock": lock,
        "stopped": stopped,
        "trouble": off,
        "ailment": "store" if off else "",
    }


def _executable(release: Release, this: Command) -> dict[str, Any]:
    from overseer.updater.kinds import named  # noqa: PLC0415

    kind = named(release.kind, release.path)
    try:
        kind.prepare(release.path)
    except OSError as error:
        raise StoreError(f"release {release.release[:12]} cannot be unpacked: {error}") from error
    interpreter = () if this.kind == "frozen" else this.argv[:-1]
    return {"argv": kind.argv(release.path, interpreter), "environ": kind.environment(release.caches)}


def refuse_neighbours(this: Command) -> None:
    """A release is one file: say so where the program has imported others that lie beside it.

    Raises `ConfigError`, rather than let the next release run without them.
    """
    if this.kind != "script":
        return
    folder = os.path.dirname(this.binary)
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None) or ""
        if name != "__main__" and path and os.path.dirname(os.path.abspath(path)) == folder:
            raise ConfigError(
                "fetcher",
                f"{os.path.basename(this.binary)} imports {os.path.basename(path)}, which lies beside it; "
                "a release is one file: make it a zipapp (python -m zipapp), or install what it needs",
            )


def _serve_here(state: dict[str, Any]) -> NoReturn:
    """A one-file executable has no bare interpreter: the master runs in this very process."""
    from overseer.master.estate import Estate  # noqa: PLC0415
    from overseer.master.process import serve  # noqa: PLC0415

    _clear_environment()
    raise SystemExit(serve(Estate(state)))


def _clear_environment() -> None:
    """Undo what the loader of this executable has done, or the next one would run on our unpacked files.

    The variables are PyInstaller's: https://pyinstaller.org/en/stable/common-issues-and-pitfalls.html
    """
    private = ("_PYI_", "_MEIPASS")
    environ = {name: told for name, told in role.environ.items() if not name.startswith(private)}
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LIBPATH"):
        before = environ.pop(f"{name}_ORIG", None)
        if environ.pop(name, None) and before:
            environ[name] = before
    os.environ.clear()
    os.environ.update(environ)


def _control(config: Config, who: Identity | None) -> socket.socket | None:
    path = config.control_path(os.environ)
    if config.name and path == places.control_path({**os.environ, "RUNTIME_DIRECTORY": ""}, name=config.name):
        places.make_folder(os.environ)
    if not path:
        return None
    wanted = addresses.parse(f"unix:{path}?mode=0600")
    try:
        return sockets.bind(wanted, opens=lambda address, given: _open_as(address, given, who))
    except AddressError as error:
        if not (holders := sockets.holders(wanted)):
            why = str(error).removeprefix(f"{error.address}: ")
            raise AddressError(path, f"is to be the control socket, and cannot be had: {why}") from None
        own = "name of its own (--name, or the option name)"
        if config.control or os.environ.get("RUNTIME_DIRECTORY"):
            own = "path of its own (--control, or the option control)"
        raise AddressError(
            path,
            "is the control socket of another service, of pid "
            f"{', '.join(str(holder.pid) for holder in holders)}; stop that one, or give this one a {own}",
        ) from None


def _become_reaper() -> bool:
    """Have orphans below us given to us (Linux); PID 1 is given them anyway. Return whether it is so."""
    if os.getpid() == 1:
        return True
    if sys.platform != "linux":
        return False
    try:
        import ctypes  # noqa: PLC0415 - its memory goes with this process image

        return bool(ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False

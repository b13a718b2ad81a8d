"""Judge the files: the program's own, the store's, and what releases need to come and to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overseer.doctor.facts import fail, ok, warn
from overseer.store.staging import MARGIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.doctor.facts import Facts, Finding, Place

_LOST = {"tmpfs": "is lost at the next boot", "ramfs": "is lost at the next boot"}
_FOREIGN = {
    **dict.fromkeys(("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph"), "belongs to another machine"),
    **dict.fromkeys(("vfat", "exfat", "msdos"), "knows no owners and no modes"),
    "overlay": "is a container's layer, which goes with the container",
}
_ROOM = 3
"""Releases that are on disk at the same time, at most: the current one, one to go back to, one that comes."""

_TOLD = 200


def has_upgrades(facts: Facts) -> bool:
    """Whether releases are to come here: there is a fetcher, or nobody who could say so."""
    return not facts.status or bool(facts.status.get("source", [""])[0])


def updater(facts: Facts) -> Iterator[Finding]:
    """Whether releases can come at all."""
    status = facts.status
    if not status:
        return
    if not has_upgrades(facts):
        yield ok("updater", "the program has no fetcher: it restarts, and is not upgraded")
    elif not status["store"]:
        yield fail(
            "updater",
            "upgrades are off: there was no store to be had when the service was started"
            + (f" ({status['trouble'][:_TOLD]})" if status["trouble"] else ""),
            "see the findings below and the service's log at its start; then start it anew",
        )
    elif status["trouble"]:
        kind = status["ailment"] or "source"
        yield fail("updater", f"no releases come ({kind}): {status['trouble'][:_TOLD]}", _CURES[kind])
    elif status["updater"] is None:
        yield warn("updater", "it does not run at present", "ask again; if it stays so, read the log")
    else:
        fetcher, trust = status["source"]
        yield ok("updater", f"process {status['updater']} looks for releases: {fetcher}, trust {trust}")


_CURES = {
    "source": "look whether the source answers from this machine: network, proxy, address, credentials",
    "expired": "whoever publishes has to run overseer repo renew",
    "refused": "what is shown is not signed by those we trust: ask whoever publishes before you do anything",
    "store": "look at the disk, and at the findings below",
    "fetcher": "mend the fetcher's own code; the log has its error",
    "updater": "read the log for what ended it: memory, a signal, a crash in the fetcher",
}


def extras(facts: Facts) -> Iterator[Finding]:
    """Whether what the fetcher and the trust need is installed."""
    if not facts.status or not has_upgrades(facts):
        return
    if facts.service.python != facts.python:
        where = facts.service.python or "another interpreter"
        yield ok("extras", f"cannot be told from here: the service runs with {where}")
    elif facts.missing:
        wanted = ", ".join(facts.missing)
        yield fail("extras", f"{wanted}: not installed", f"pip install {' '.join(facts.missing)}")
    else:
        yield ok("extras", "what its fetcher and its trust need is installed")


def place(facts: Facts) -> Iterator[Finding]:
    """Whether a release can take the place of the file, or has a store elsewhere to run from."""
    public, folder, store = facts.public, facts.folder, facts.store
    if public is None or folder is None or not has_upgrades(facts):
        return
    if not public.exists:
        yield fail("place", f"{public.path} is not there", "put the program back; the next start needs it")
        return
    obstacle = _obstacle(facts, public, folder)
    writable = store is not None and store.exists and facts.service.may_write(store)
    if not obstacle and store is not None and store.exists and not writable:
        who = f"user {facts.service.uid}"
        yield fail(
            "place", f"{store.path} cannot be written by {who}", f"chown -R {facts.service.uid} {store.path}"
        )
    elif not obstacle:
        link = ", itself a link" if public.is_link else ""
        yield ok("place", f"{public.path}{link} can be replaced")
    elif writable:
        yield warn(
            "place",
            f"{public.path} stays as it is, releases run from {store.path if store else ''}: {obstacle}",
            "nothing, if it is meant so: a start runs the current release from there",
        )
    else:
        yield fail(
            "place",
            f"{public.path} cannot be upgraded: {obstacle}, and there is no store elsewhere",
            f"let user {facts.service.uid} write to {folder.path}, or give the service a StateDirectory=",
        )


def _obstacle(facts: Facts, public: Place, folder: Place) -> str:
    service = facts.service
    if folder.read_only:
        return f"{folder.path} is mounted read-only, or the service's sandbox makes it so"
    if folder.immutable or public.immutable:
        return "it is immutable (chattr +i)"
    if folder.mode & 0o1000 and service.uid not in (0, public.uid, folder.uid):
        return f"{folder.path} is sticky, and it belongs to user {public.uid}"
    if not service.may_write(folder):
        return f"user {service.uid} may not write to {folder.path}"
    return ""


def rights(facts: Facts) -> Iterator[Finding]:
    """Whether anybody else could replace what is executed."""
    found = False
    for at in (facts.public, facts.folder, facts.store):
        if at is None or not at.exists or at.is_link:
            continue
        sticky = at.is_folder and at.mode & 0o1000
        if at.mode & 0o002 and not sticky:
            found = True
            yield fail(
                "rights",
                f"everybody may write to {at.path}, and thereby run code as this service",
                f"chmod o-w {at.path}",
            )
        elif at.uid not in (0, facts.service.uid):
            found = True
            yield warn(
                "rights",
                f"{at.path} belongs to user {at.uid}, who can thereby run code as user {facts.service.uid}",
                f"chown it, unless that user is meant to bring releases: chown {facts.service.uid} {at.path}",
            )
    if not found and facts.public is not None:
        yield ok("rights", "only root and the service's own user can replace what is executed")


def owner(facts: Facts) -> Iterator[Finding]:
    """Whether somebody else thinks that the file is his."""
    if facts.public is None or not has_upgrades(facts):
        return
    if facts.package:
        yield warn(
            "owner",
            f"{facts.public.path} is of the package {facts.package}: its next update replaces our release",
            "install the program outside of the package manager, or let that alone upgrade it",
        )
    if facts.capabilities:
        yield warn(
            "owner",
            f"{facts.public.path} has file capabilities: releases in the store have none",
            "give the rights to the service: AmbientCapabilities=, or bind first and drop (--user)",
        )
    if not facts.package and not facts.capabilities:
        yield ok("owner", "no package manager has it, and it needs no file capabilities")


def disk(facts: Facts) -> Iterator[Finding]:
    """Whether there is room, on a file system that keeps what it is given."""
    at = facts.store if facts.store is not None and facts.store.exists else facts.folder
    if at is None or not has_upgrades(facts):
        return
    fault = {**_LOST, **_FOREIGN}.get(at.file_system, "")
    if fault:
        yield warn(
            "disk",
            f"{at.path} is on {at.file_system}, which {fault}",
            "put the store on a disk of this machine: StateDirectory=",
        )
    if at.free is None:
        return
    need, plenty = facts.size + MARGIN, _ROOM * facts.size + MARGIN
    if at.free < need:
        yield fail(
            "disk",
            f"{_mib(at.free)} are free at {at.path}, and a release of the present size needs {_mib(need)}",
            "make room; nothing is downloaded before",
        )
    elif at.free < plenty:
        yield warn("disk", f"{_mib(at.free)} are free at {at.path}: enough for one more release", "make room")
    elif not fault:
        yield ok("disk", f"{_mib(at.free)} are free at {at.path} ({at.file_system})")


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size < 10 << 30 else f"{size / (1 << 30):.1f} GiB"


def execution(facts: Facts) -> Iterator[Finding]:
    """Whether what lies in the store can be executed there."""
    at = facts.store if facts.store is not None and facts.store.exists else facts.folder
    if at is None or not has_upgrades(facts):
        return
    if at.noexec and not facts.interpreted:
        yield fail(
            "execution",
            f"{at.path} is mounted noexec, so a release of kind {facts.kind} cannot run there",
            "mount it with exec, or put the store elsewhere: StateDirectory=",
        )
    elif at.noexec:
        yield ok(
            "execution", f"{at.path} is mounted noexec, which does not matter: the interpreter runs them"
        )
    else:
        yield ok("execution", "releases can be executed where they are stored")


def lock(facts: Facts) -> Iterator[Finding]:
    """Whether the store is this service's alone."""
    if facts.store is None or not facts.store.exists or not has_upgrades(facts):
        return
    ours = facts.status.get("pid", 0)
    if facts.holder and not ours:
        yield fail(
            "lock",
            f"the store is in use by {facts.holder}: another one that is started would have no upgrades",
            "where that is this service, ask it: overseer doctor without PROGRAM; else stop it, or give this "
            "one a copy of its own",
        )
    elif facts.holder and facts.holder_pid != ours:
        yield fail(
            "lock",
            f"the store is in use by {facts.holder}",
            "one overseer only can upgrade a binary: stop that one, or give this one a copy of its own",
        )
    elif ours and facts.status["store"] and not facts.holder:
        yield fail("lock", "nobody holds the lock of the store", "start the service anew")
    else:
        yield ok("lock", "the store is this service's alone")


def ledger(facts: Facts) -> Iterator[Finding]:
    """What the store itself says: what waits, what is held, what is pinned."""
    if facts.ledger_fault:
        cure = "update overseer, or move the file away: it is begun anew"
        if facts.ledger_shut:
            cure = f"let user {facts.service.uid} read it, and ask as that user, or as root"
        yield fail("releases", facts.ledger_fault, cure)
        return
    kept = facts.ledger
    if kept is None or not has_upgrades(facts):
        return
    found = False
    if kept.pin:
        found = True
        yield warn(
            "releases", f"{kept.pin} is pinned: no other release is taken", "overseer unpin, when it may"
        )
    if kept.trial and kept.trial.installed:
        found = True
        yield warn(
            "releases",
            f"release {kept.trial.release[:12]} is installed and waits for a restart",
            "overseer restart",
        )
    if kept.publishing and kept.published is not None:
        found = True
        yield warn(
            "releases",
            f"release {kept.publishing[:12]} is current, and the file on the path is still another one",
            "see place; it is tried again at every change and every start",
        )
    if kept.held:
        found = True
        last = list(kept.held.items())[-1]
        yield warn(
            "releases",
            f"{len(kept.held)} held, the last {last[0][:12]}: {_first_line(last[1])}",
            "publish one that works; or overseer unhold, where it was not its fault",
        )
    if not found:
        yield ok(
            "releases", f"{kept.current[:12] or 'none yet'} is current, nothing is held, pinned or waiting"
        )


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0][:_TOLD]

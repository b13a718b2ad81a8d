"""Judge an installation: one function a check, in the order in which a person would look.

Each yields what it has to say; nothing, where it does not apply. Nothing here opens a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from overseer.addresses import parse
from overseer.doctor import installed, managed
from overseer.doctor.facts import fail, ok, warn
from overseer.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.doctor.facts import Facts, Finding

_OTHERS = 0o002
_FEW_FILES = 1024
_OLDEST = (5, 4)
"""The oldest kernel that is tried: pidfd_open is of 5.3."""


def judge(facts: Facts) -> list[Finding]:
    """Return every finding about these facts."""
    return [finding for check in CHECKS for finding in check(facts)]


def platform(facts: Facts) -> Iterator[Finding]:
    """Whether this is a place for a master at all."""
    name = f"{facts.platform} {facts.kernel}".strip()
    if facts.platform != "linux":
        yield warn("platform", f"{name}: whole process trees cannot be ended here", "use Linux for services")
        return
    numbers = tuple(int(part) for part in facts.kernel.split("-")[0].split(".")[:2] if part.isdecimal())
    if len(numbers) > 1 and numbers < _OLDEST:
        yield warn("platform", f"{name}: an old kernel, with which this was never tried", "use 5.4 or newer")
    else:
        yield ok("platform", name)


def master(facts: Facts) -> Iterator[Finding]:
    """Who runs, and whether somebody serves."""
    status = facts.status
    if not status:
        yield ok("master", "none was asked: this is about an installation that does not run")
        return
    phases = [g["phase"] for g in status["generations"]]
    version = status["overseer"]
    if status["life"] != "running":
        yield warn("master", f"it is {status['life']}", "wait for its end, and start it again")
    elif "serving" not in phases:
        reason = next((e["reason"] for e in reversed(status["events"]) if e["event"] == "failed"), "")
        why = f": {reason}" if reason else ""
        yield fail("master", f"nobody serves{why}", "mend the program; overseer events tells more")
    elif facts.version and version != facts.version:
        yield warn(
            "master",
            f"it runs overseer {version}, and this command is {facts.version}",
            "use the command that is installed with the service",
        )
    else:
        yield ok("master", f"process {status['pid']} runs overseer {version}; somebody serves")


def control(facts: Facts) -> Iterator[Finding]:
    """Whether only those may ask who should."""
    at, folder = facts.control, facts.control_folder
    if at is None or folder is None:
        return
    if at.mode & 0o077:
        yield fail(
            "control",
            f"{at.path} has mode {at.mode & 0o777:04o}: others may connect, and are only kept out by what "
            "the kernel says of them",
            f"chmod 600 {at.path}",
        )
    elif folder.mode & _OTHERS and not folder.mode & 0o1000:
        yield fail(
            "control",
            f"everybody may write to {folder.path}, and put another socket in its place",
            f"chmod o-w {folder.path}, or give the service a RuntimeDirectory of its own",
        )
    else:
        yield ok("control", f"{at.path} is for its user and root only")


def limits(facts: Facts) -> Iterator[Finding]:
    """How much it may open, and what it lets others do with what it writes."""
    service = facts.service
    if service.files < _FEW_FILES:
        yield warn(
            "limits",
            f"it may open {service.files} files: sockets, connections and stored descriptors count",
            "raise it: LimitNOFILE=, ulimit -n",
        )
    elif not service.umask & _OTHERS:
        yield warn(
            "limits",
            f"its umask is {service.umask:04o}: everybody may write to the files that the program makes",
            "set UMask=0027, or umask 027 where it is started",
        )
    else:
        yield ok("limits", f"{service.files} open files, umask {service.umask:04o}")


def sockets(facts: Facts) -> Iterator[Finding]:
    """Whether clients can reach them, and a restart could lose what waits in a backlog."""
    shared = []
    for text in facts.status.get("sockets", ()):
        try:
            address = parse(text)
        except AddressError:  # of a master that knows more kinds than we do
            continue
        if address.reuse_port and facts.migrates != "1":
            shared.append(text)
    if shared:
        yield warn(
            "sockets",
            f"{', '.join(shared)}: with reuse_port the kernel drops what waits when another process closes "
            "its own socket of that port",
            "sysctl -w net.ipv4.tcp_migrate_req=1, or do without reuse_port",
        )
    if facts.gone:
        yield fail(
            "sockets",
            f"{', '.join(facts.gone)}: somebody has removed it, so nobody can connect there",
            "stop the service and start it, and keep it out of folders that are cleaned up, such as /tmp",
        )
    elif facts.status and not shared:
        yield ok("sockets", ", ".join(facts.status.get("sockets", ())) or "nothing is listened on")


CHECKS = (
    platform,
    master,
    control,
    limits,
    sockets,
    managed.systemd,
    installed.updater,
    installed.extras,
    installed.place,
    installed.rights,
    installed.owner,
    installed.disk,
    installed.execution,
    installed.lock,
    installed.ledger,
)
"""Every check, in order."""

"""`overseer unit`: the configuration of a service manager for a program under overseer."""

from __future__ import annotations

import json
import os
import shlex
import sys
from math import ceil
from typing import TYPE_CHECKING

import click

from overseer import places
from overseer.cli.completion import files, folders
from overseer.cli.run import options_in
from overseer.errors import ConfigError
from overseer.foreign.known import server_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from overseer.foreign.options import Options

_PATIENCE, _MORE, _MOST = 45, 15, 7 * 86400
"""Seconds for a stop: at least, beyond what a generation has for draining, and if that is for ever."""

_SYSTEMD = """\
[Unit]
Description={name} under overseer
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
{user}WorkingDirectory={directory}
ExecStart={command}
ExecReload={overseer} restart --control /run/{name}/overseer.sock
RuntimeDirectory={name}
RuntimeDirectoryPreserve=restart
StateDirectory={name}
FileDescriptorStoreMax=64
WatchdogSec=60
KillMode=control-group
TimeoutStopSec={patience}
OOMPolicy=continue
Restart=on-failure
RestartPreventExitStatus=78

# What it may not do. Take away what your program needs.
NoNewPrivileges=yes
CapabilityBoundingSet=
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
LockPersonality=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
UMask=0027

[Install]
WantedBy=multi-user.target
"""

_SUPERVISOR = """\
[program:{name}]
command={command}
directory={directory}
{user}environment=RUNTIME_DIRECTORY="{directory}"
autorestart=unexpected
exitcodes=0,78
stopsignal=TERM
stopwaitsecs={patience}
stopasgroup=false
killasgroup=true
stdout_logfile=/var/log/{name}.log
redirect_stderr=true
"""

_RUNIT = """\
#!/bin/sh
# The program `run` of a runit service, or of s6: it stays one process with one PID.
exec 2>&1
cd {directory} || exit 1
export RUNTIME_DIRECTORY=/run/{name}
mkdir -p "$RUNTIME_DIRECTORY"
{chown}exec {chpst}{command}
"""

_DOCKER = """\
# The program is PID 1 and overseer with it: it reaps, and docker stop drains.
WORKDIR {directory}
STOPSIGNAL SIGTERM
CMD {words}
"""


@click.command(short_help="A configuration for systemd, supervisor, runit, s6, docker.")
@click.option(
    "--for",
    "manager",
    type=click.Choice(["systemd", "supervisor", "runit", "s6", "docker"]),
    default="systemd",
    show_default=True,
    help="Which service manager.",
)
@click.option("--name", "-n", default="", metavar="NAME", help="The service's name; default: the program's.")
@click.option("--user", default="", metavar="USER", help="Whose it is; for systemd else one made for it.")
@click.option(
    "--directory", default="", metavar="FOLDER", help="Where it runs; default: here.", shell_complete=folders
)
@click.option(
    "--patience",
    type=click.IntRange(min=1),  # 0 would be endless to systemd
    metavar="SECONDS",
    help="How long a stop may take; default: 45, or 15 more than the terminate timeout of overseer run.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, shell_complete=files)
def unit(  # noqa: PLR0917 - as click calls it
    manager: str, name: str, user: str, directory: str, patience: int | None, command: tuple[str, ...]
) -> None:
    """Print the configuration of a service manager that runs COMMAND, a program that calls overseer.run.

    For a program that does not, COMMAND is `overseer run -- ...`: its options are checked, those in
    overseer.toml too, and the name and the time for a stop are taken from them. What will hardly work here
    is told on standard error. Save what is printed where the manager looks for it; for systemd that is
    /etc/systemd/system/NAME.service.
    """
    directory = os.path.abspath(directory or ".")
    try:
        options = _options(directory, command)
        if not name:
            name = options.name if options else places.name_of(_program(command))
        name = places.check_name(name)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None
    if patience is None:
        draining = min(options.terminate_timeout, _MOST) if options else 0.0
        patience = max(_PATIENCE, ceil(draining) + _MORE)
    first = command[0] if "/" not in command[0] else os.path.abspath(command[0])
    words = [_found(first), *command[1:]]
    for doubt in _doubts(manager, directory, words):
        click.echo(f"overseer: warning: {doubt}", err=True)
    overseer = os.path.join(os.path.dirname(sys.executable), "overseer")
    told = {
        "name": name,
        "directory": directory,
        "patience": str(patience),
        "overseer": _for_systemd(overseer),
    }
    match manager:
        case "systemd":
            who = f"User={user}\n" if user else "DynamicUser=yes\n"
            told["directory"] = directory.replace("%", "%%")
            text = _SYSTEMD.format(user=who, command=" ".join(map(_for_systemd, words)), **told)
        case "supervisor":
            who = f"user={user}\n" if user else ""
            told["directory"] = directory.replace("%", "%%")
            text = _SUPERVISOR.format(user=who, command=shlex.join(words).replace("%", "%%"), **told)
        case "docker":
            text = _DOCKER.format(words=json.dumps(words), **told)
        case _:
            tool = "s6-setuidgid" if manager == "s6" else "chpst -u"
            who = f"{tool} {shlex.quote(user)} " if user else ""
            own = f'chown {shlex.quote(user)} "$RUNTIME_DIRECTORY"\n' if user else ""
            told["directory"] = shlex.quote(directory)
            text = _RUNIT.format(chpst=who, chown=own, command=shlex.join(words), **told)
    click.echo(text, nl=False)


def _options(directory: str, command: tuple[str, ...]) -> Options | None:
    """Return the options of `overseer run`, if that is the command. Raises `ConfigError`."""
    if _is_run(command):
        return options_in(directory, command[2:])
    return None


def _program(command: Sequence[str]) -> str:
    """Return what a person would call the service: a script rather than its interpreter."""
    base = os.path.basename(_script(command) or command[0])
    return os.path.splitext(base)[0] or base


def _script(command: Sequence[str]) -> str:
    return next((word for word in command if word.endswith((".py", ".pyz", ".pex"))), "")


def _doubts(manager: str, directory: str, words: Sequence[str]) -> Iterator[str]:
    """Tell what will hardly be meant; it is printed all the same, for it may be for another machine."""
    if server := server_in(words):
        yield (
            f"{server} does not call overseer.run, so none of this would work: "
            f"let COMMAND be overseer run --address ADDRESS -- {shlex.join(words)}"
        )
    if manager == "docker":  # its files are in the image
        return
    if not os.path.isdir(directory):
        yield f"there is no folder {directory} here"
    elif not os.path.isabs(words[0]):
        yield f"{words[0]} is not found here; the manager needs its whole path"
    elif (script := _script(words)) and not os.path.exists(os.path.join(directory, script)):
        yield f"there is no {script} in {directory}; say where it runs by --directory"


def _is_run(words: Sequence[str]) -> bool:
    return os.path.basename(words[0]) == "overseer" and list(words[1:2]) == ["run"]


def _found(program: str) -> str:
    """Return the path of a program: a manager has another PATH."""
    import shutil  # noqa: PLC0415 - only here

    return shutil.which(program) or program


def _for_systemd(word: str) -> str:
    """Quote a word of a command line (systemd.service(5)): % and $ would be looked up."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if escaped == word and word and not set(word) & set(" \t'\";") else f'"{escaped}"'

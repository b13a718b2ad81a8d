"""Where the control socket of a service is, by one rule for whoever binds it and whoever asks there.

1. The path that was given (`control`).
2. `$RUNTIME_DIRECTORY/overseer.sock`, which a service manager sets for one service.
3. For a service with a name: NAME.sock in `/run/overseer` for root, else in `$XDG_RUNTIME_DIR/overseer`, else
   in `/tmp/overseer-UID`.

The folders of 3. are made by whoever binds, with mode 0700; one that belongs to somebody else is refused, for
its owner could put another socket in the place of ours.
"""

from __future__ import annotations

import os
import stat

from overseer.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@")
_INTERPRETERS = ("python", "pypy", "node", "ruby", "perl", "php", "sh", "bash")
_LONGEST = 60
"""Letters of a name: the path of a Unix socket has room for about a hundred, its folder included."""


def control_path(environ: Mapping[str, str], *, control: str = "", name: str = "") -> str:
    """Return where operators ask; nothing where none of the rules tells.

    Raises `ConfigError` for a name that is no file name.
    """
    if control:
        return control
    if runtime := environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return os.path.join(runtime, "overseer.sock")
    return os.path.join(folder(environ), f"{check_name(name)}.sock") if name else ""


def folder(environ: Mapping[str, str]) -> str:
    """Return the folder of the control sockets of this user's named services."""
    if os.geteuid() == 0:
        return "/run/overseer"
    if runtime := environ.get("XDG_RUNTIME_DIR", ""):
        return os.path.join(runtime, "overseer")
    return f"/tmp/overseer-{os.geteuid()}"  # noqa: S108 - its owner is looked at


def check_name(name: str) -> str:
    """Return a name that can be a file's and stand in a log. Raises `ConfigError` for any other."""
    if not name or name.startswith(".") or not set(name) <= _LETTERS:
        raise ConfigError("name", f"{name!r} is no name; use letters, digits and . _ - @, no dot in front")
    if len(name) > _LONGEST:
        raise ConfigError("name", f"{name!r} has more than {_LONGEST} letters")
    return name


def name_of_command(command: Sequence[str]) -> str:
    """Make a name for a service of the command that is run: of its script rather than of its interpreter."""
    first, second, third = (*command, "", "")[:3]
    if os.path.basename(first).rstrip(".0123456789") in _INTERPRETERS:
        if second == "-m" and third:
            return name_of(third)
        if second and not second.startswith("-"):
            return name_of(second)
    return name_of(first)


def name_of(program: str) -> str:
    """Make a name of a program: its file name, strange letters replaced."""
    base = os.path.basename(program).lstrip(".")[:_LONGEST]
    return "".join(letter if letter in _LETTERS else "-" for letter in base) or "program"


def make_folder(environ: Mapping[str, str]) -> str:
    """Make the folder of the named services' sockets, if it is not there, and return it.

    Raises `ConfigError` where it cannot be made, is no folder, or is not only ours.
    """
    path = folder(environ)
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.lstat(path)
    except OSError as error:
        raise ConfigError(
            "control", f"{path} cannot be made: {error.strerror}; give a path that can be had"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ConfigError(
            "control", f"{path} is not a folder that only we may write to; remove it or give another path"
        )
    return path

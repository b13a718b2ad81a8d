"""How this program was started, so that it can be started again, with another release in its place."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from overseer import role
from overseer.errors import NotSupportedError


@dataclass(frozen=True, slots=True)
class Command:
    """A command line in parts."""

    argv: tuple[str, ...]  # what to execute, up to the program's own arguments
    args: tuple[str, ...]  # those
    binary: str  # the one file that is the program, or nothing where it is no file
    kind: str  # "script", "archive" (zipapp, shiv, pex), "frozen" or "in place" (-m, -c, a folder)


def this_command() -> Command:
    """Read it off this process.

    The interpreter is named by its full path, as `sys.executable` has it: a virtual environment is found by
    where the name of its interpreter lies. Raises `NotSupportedError` where there is nothing to start again.
    """
    args = role.argv[1:]
    if getattr(sys, "frozen", False):
        return Command((sys.executable,), args, sys.executable, "frozen")
    name = role.argv[0] if role.argv else ""
    if not sys.executable or name in ("", "-"):
        raise NotSupportedError("this program was not started from a file, so it cannot be started again")
    head = list(sys.orig_argv[1 : len(sys.orig_argv) - len(args)])
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if name == "-c" or (spec is not None and spec.name != "__main__"):
        return Command((sys.executable, *head), args, "", "in place")
    if head[-1:] != [name]:
        raise NotSupportedError("sys.argv was changed before overseer was imported; import overseer first")
    path = os.path.abspath(os.path.join(role.folder, name))
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise NotSupportedError(f"{path} is no file that could be run again")
    head[-1] = path
    kind = "script" if spec is None else "archive" if os.path.isfile(path) else "in place"
    return Command((sys.executable, *head), args, path if os.path.isfile(path) else "", kind)

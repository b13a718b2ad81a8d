"""A server that says READY=1 before it can answer: a restart must not believe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overseer.foreign.known import server_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def is_hasty(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether the command is gunicorn, which says it before its workers have imported the application.

    Unless it imports it itself first (`--preload`). A file of its own may have it preload, too; that file is
    a program, and is not run to be read.
    """
    given = [*command, *environ.get("GUNICORN_CMD_ARGS", "").split()]
    return server_in(command) == "gunicorn" and "--preload" not in given

"""`overseer repo rotate`, `root`, `sign`, `delegate`: who signs, and how that changes."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import click

from overseer.errors import PublishError

if TYPE_CHECKING:
    from securesystemslib.signer import Key
    from tuf.api.metadata import Metadata, Root

    from overseer.publish.repository import Repository

_T = TypeVar("_T")

PAIRS = {"offline": ("root", "targets"), "online": ("snapshot", "timestamp")}
"""Which roles the two keys of `init` sign for."""


def _open(ctx: click.Context) -> Repository:
    from overseer.cli.repo import open_repository  # noqa: PLC0415 - it imports this module

    return open_repository(ctx)


@click.command()
@click.argument("which", type=click.Choice(tuple(PAIRS)))
@click.option("--new-key", metavar="URI", help="The key that comes; default: a new file beside the old one.")
@click.option("--old", metavar="KEYID", help="The key that goes, if there are several.")
@click.option("--lost", is_flag=True, help="Do without the old key of snapshot and timestamp, or of targets.")
@click.pass_context
def rotate(ctx: click.Context, which: str, new_key: str | None, old: str | None, lost: bool) -> None:  # noqa: FBT001
    """Replace a key by another, and have the root say so. The root's key signs it, whichever key it is."""
    from overseer.cli.repo import absolute_key  # noqa: PLC0415
    from overseer.publish import roots  # noqa: PLC0415 - tuf is an extra, and slow to import
    from overseer.publish.founding import made_or_known  # noqa: PLC0415

    repository = _open(ctx)
    home, present = repository.home, repository.root()
    uri = absolute_key(new_key) if new_key else f"file:keys/{which}-{present.version + 1}.key"
    key = made_or_known(home.uri_of(uri), ctx.obj["secrets"])
    _warn(uri, key)
    repository.ring.know(key, home.uri_of(uri))
    home.with_keys({key.keyid: uri}).save()
    gone = [old] if old else list(present.roles[PAIRS[which][1]].keyids)
    if len(gone) != 1:
        raise PublishError(f"there are several {which} keys; name the one that goes with --old")
    roles = [
        role for role in PAIRS[which] if any(each.startswith(gone[0]) for each in present.roles[role].keyids)
    ]
    wish = roots.Wish(add={role: [key] for role in roles}, drop=dict.fromkeys(roles, gone))
    new = _draft(repository, wish)
    roots.countersign(present, new, repository.ring)
    if wanted := roots.wanting(present, new):
        raise PublishError(f"{'; '.join(wanted)}: use overseer repo root export, and have others sign")
    repository.adopt(new, lost=lost)
    kept = {*new.signed.keys}
    replace(home.with_keys({key.keyid: uri}).without_keys({*present.keys} - kept)).save()
    _say(present, new.signed)
    click.echo(f"{which} key {key.keyid[:12]}: {home.uri_of(uri)}")


@click.group(short_help="Change the root, by several signatures.")
def root() -> None:
    """Change the root by the signatures of several people: export, sign, import."""


@root.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option(
    "--add", multiple=True, metavar="ROLE=URI", help="A key that comes; of a file only its .pub is read."
)
@click.option(
    "--remove", multiple=True, metavar="ROLE=KEYID", help="A key that goes; the beginning of its id will do."
)
@click.option(
    "--threshold", multiple=True, metavar="ROLE=N", help="How many of its keys have to sign for a role."
)
@click.pass_context
def export(
    ctx: click.Context, file: str, add: tuple[str, ...], remove: tuple[str, ...], threshold: tuple[str, ...]
) -> None:
    """Write the next root to FILE, not signed yet; without options only its date is new."""
    from overseer.publish import keys, roots  # noqa: PLC0415
    from overseer.store import durable  # noqa: PLC0415

    repository = _open(ctx)
    known: dict[str, Key] = {}
    for _, uri in map(_pair, add):
        known[uri] = keys.public(uri, ctx.obj["secrets"])
        _warn(uri, known[uri])
    wish = roots.Wish(
        add=_by_role([(role, known[uri]) for role, uri in map(_pair, add)]),
        drop=_by_role([_pair(each) for each in remove]),
        thresholds={role: _number(count) for role, count in map(_pair, threshold)},
    )
    new = _draft(repository, wish)
    durable.replace_file(os.path.abspath(file), roots.written(new))
    _say(repository.root(), new.signed)
    click.echo(f"written to {file}: have it signed with overseer repo sign {file}")


@click.command(short_help="Sign the root in a file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.pass_context
def sign(ctx: click.Context, file: str) -> None:
    """Say what the root in FILE changes, and sign it with the keys that are here."""
    from overseer.publish import roots  # noqa: PLC0415
    from overseer.store import durable  # noqa: PLC0415

    repository, new = _open(ctx), _read(file)
    present = repository.root(below=new.signed.version)
    _say(present, new.signed)
    done = roots.countersign(present, new, repository.ring)
    durable.replace_file(os.path.abspath(file), roots.written(new))
    for keyid in done:
        click.echo(f"signed with {keyid[:12]}")
    wanted = roots.wanting(present, new)
    for each in wanted:
        click.echo(f"still wanted: {each}")
    if not wanted:
        click.echo(f"complete: overseer repo root import {file} publishes it")


@root.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--lost", is_flag=True, help="Do without the old keys of the other roles.")
@click.pass_context
def import_(ctx: click.Context, file: str, lost: bool) -> None:  # noqa: FBT001
    """Publish the root in FILE, once enough people have signed it."""
    repository, new = _open(ctx), _read(file)
    done = repository.adopt(new, lost=lost)
    click.echo(f"root {new.signed.version} is {'published' if done else 'in use already'}")


root.add_command(sign)


@click.command(short_help="Leave some releases to a team.")
@click.argument("team")
@click.option(
    "--path", "paths", multiple=True, required=True, metavar="PATTERN", help="Which names, as 'web-*'."
)
@click.option(
    "--add",
    "uris",
    multiple=True,
    required=True,
    metavar="URI",
    help="Its key; of a file only its .pub is read.",
)
@click.option("--threshold", default=1, show_default=True, help="How many of its keys have to sign.")
@click.pass_context
def delegate(
    ctx: click.Context, team: str, paths: tuple[str, ...], uris: tuple[str, ...], threshold: int
) -> None:
    """Leave the releases whose names match to TEAM, which signs them with keys of its own."""
    from overseer.publish import keys  # noqa: PLC0415
    from overseer.publish.repository import Change  # noqa: PLC0415
    from overseer.publish.teams import delegated  # noqa: PLC0415

    repository = _open(ctx)
    known = [keys.public(uri, ctx.obj["secrets"]) for uri in uris]
    for uri, key in zip(uris, known, strict=True):
        _warn(uri, key)
    repository.change(
        lambda view: Change(
            files={}, targets={"targets": delegated(view.targets["targets"], team, known, paths, threshold)}
        )
    )
    click.echo(
        f"{', '.join(paths)} is left to {team}, who signs with {', '.join(k.keyid[:12] for k in known)}"
    )


COMMANDS = (rotate, root, sign, delegate)
"""What belongs to `overseer repo`."""


def _draft(repository: Repository, wish: object) -> Metadata[Root]:
    from tuf.api.metadata import Metadata as Signed  # noqa: PLC0415

    from overseer.publish import roots  # noqa: PLC0415

    assert isinstance(wish, roots.Wish)
    expires = roots.expiry(datetime.now(UTC), repository.home.days["root"])
    return Signed(roots.draft(repository.root(), wish, expires=expires))


def _warn(uri: str, key: Key) -> None:
    """Say what a key asks of every service."""
    from overseer.publish.keys import needs_cryptography  # noqa: PLC0415

    if needs_cryptography(key):
        click.echo(f"{uri} is no Ed25519 key: services need the package cryptography", err=True)


def _read(file: str) -> Metadata[Root]:
    from overseer.publish import roots  # noqa: PLC0415

    with open(file, "rb") as opened:
        return roots.read(opened.read())


def _say(old: Root, new: Root) -> None:
    from overseer.publish import roots  # noqa: PLC0415

    for line in roots.differences(old, new):
        click.echo(line)


def _pair(text: str) -> tuple[str, str]:
    role, equals, value = text.partition("=")
    if not equals or not value:
        raise PublishError(f"{text!r} is not of the form ROLE=VALUE")
    return role, value


def _by_role(pairs: list[tuple[str, _T]]) -> dict[str, list[_T]]:
    found: dict[str, list[_T]] = {}
    for role, value in pairs:
        found.setdefault(role, []).append(value)
    return found


def _number(text: str) -> int:
    if not text.isdecimal():
        raise PublishError(f"{text!r} is no number of signatures")
    return int(text)

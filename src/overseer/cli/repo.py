"""`overseer repo`: a repository of signed releases, from the side that signs."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from overseer.errors import OverseerError, PublishError

if TYPE_CHECKING:
    from overseer.publish.home import Home
    from overseer.publish.keys import Secrets
    from overseer.publish.places import Place
    from overseer.publish.repository import Repository


class _Plain(click.Group):
    """Says a mistake in one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("tuf", "securesystemslib", "cryptography"):
                raise
            said: object = f"this needs {error.name}: pip install 'pyoverseer[publish]'"
        except OverseerError as error:
            said = error
        except OSError as error:
            said = f"{error.filename}: {error.strerror}" if error.filename else error
        click.echo(f"overseer: error: {said}", err=True)
        raise SystemExit(1)


@click.group(cls=_Plain)
@click.option(
    "--home",
    "-d",
    default="overseer-repo",
    envvar="OVERSEER_REPO",
    show_default=True,
    show_envvar=True,
    metavar="FOLDER",
    help="The publisher's folder.",
)
@click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False),
    help="Read passphrases from this file's first line.",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="URI",
    help="One more key to sign with; may be given several times.",
)
@click.pass_context
def repo(ctx: click.Context, home: str, passphrase_file: str | None, keys: tuple[str, ...]) -> None:
    """Publish signed releases, and keep their repository."""
    ctx.obj = {"home": home, "secrets": _secrets(passphrase_file), "keys": keys}


def _secrets(path: str | None) -> Secrets:
    """Ask the file, the environment, then the person; never ask where nobody is."""
    known: dict[str, str] = {}

    def ask(what: str) -> str:
        if path:
            with open(path, encoding="utf-8") as file:
                return file.readline().rstrip("\r\n")
        if (given := os.environ.get("OVERSEER_PASSPHRASE")) is not None:
            return given
        if not sys.stdin.isatty():
            raise PublishError(
                f"{what}: there is nobody to ask; use --passphrase-file or the variable OVERSEER_PASSPHRASE"
            )
        key = what.replace("the new key ", "")
        if key not in known:
            said = what[:1].upper() + what[1:]
            known[key] = click.prompt(said, hide_input=True, confirmation_prompt="new key" in what)
        return known[key]

    return ask


def open_repository(ctx: click.Context) -> Repository:
    """Open the repository of the publisher's folder, with the keys named on the command line."""
    from overseer.publish.home import load  # noqa: PLC0415 - tuf is an extra, and slow to import
    from overseer.publish.repository import Repository  # noqa: PLC0415

    repository = Repository(load(ctx.obj["home"]), ctx.obj["secrets"])
    for uri in ctx.obj["keys"]:
        repository.ring.add(uri)
    return repository


# -- the beginning -----------------------------------------------------------------------------------------


@repo.command(short_help="Make a repository: two keys, a root.")
@click.argument("name")
@click.option("--to", "place", show_default="public in the publisher's folder", metavar="PLACE",
              help="Where clients read: a folder, s3://BUCKET/PREFIX or rsync:HOST:FOLDER.")  # fmt: skip
@click.option("--offline-key", show_default="file:keys/offline.key there", metavar="URI",
              help="Signs the root and the releases.")  # fmt: skip
@click.option("--online-key", show_default="file:keys/online.key there", metavar="URI",
              help="Signs snapshot and timestamp, and is what renew needs.")  # fmt: skip
@click.option("--join", type=click.Path(exists=True, dir_okay=False), metavar="ROOT",
              help="The repository is there already: this is its root. No key is made.")  # fmt: skip
@click.pass_context
def init(  # noqa: PLR0917 - click's way
    ctx: click.Context,
    name: str,
    place: str | None,
    offline_key: str | None,
    online_key: str | None,
    join: str | None,
) -> None:
    """Make a repository for the program NAME: two keys, the first root, an empty state."""
    from overseer.publish import home as homes  # noqa: PLC0415
    from overseer.publish.founding import found  # noqa: PLC0415
    from overseer.trust.terms import is_word  # noqa: PLC0415

    folder = ctx.obj["home"]
    place = _absolute(place) if place else "public"
    if not is_word(name):
        raise PublishError(f"the name {name!r} must be made of letters, digits and . _ + ! -")
    if homes.exists(folder):
        home = homes.load(folder)
        if (home.name, home.place) != (name, place):
            raise PublishError(
                f"{folder} publishes {home.name} in {home.place} already; use another --home, or change that "
                f"in {os.path.join(folder, 'repo.json')}"
            )
    elif join:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        with open(join, "rb") as file:
            _join(ctx, homes.Home(folder=folder, name=name, place=place), file.read())
        return
    else:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        home = homes.Home(folder=folder, name=name, place=place)
        offline = absolute_key(offline_key) if offline_key else "file:keys/offline.key"
        online = absolute_key(online_key) if online_key else "file:keys/online.key"
        home = found(home, offline, online, ctx.obj["secrets"], now=datetime.now(UTC))
    repository = open_repository(ctx)
    begun = repository.begin()
    _say_init(home, repository, begun=begun)


def _absolute(place: str) -> str:
    """A folder that is typed is meant from here; one that is written in repo.json, from there."""
    return place if place.startswith(("s3://", "rsync:")) else os.path.abspath(place)


def absolute_key(uri: str) -> str:
    """Return the URI of a key that is typed here as it may be written in repo.json."""
    scheme, _, path = uri.partition(":")
    return f"file:{os.path.abspath(path)}" if scheme == "file" else uri


def _join(ctx: click.Context, home: Home, root: bytes) -> None:
    """Make a publisher's folder for a repository that others made, with the keys named by --key."""
    from overseer.publish.repository import Repository  # noqa: PLC0415

    home.keep_root(root)
    repository = Repository(home, ctx.obj["secrets"])
    keys = {repository.ring.add(uri).keyid: absolute_key(uri) for uri in ctx.obj["keys"]}
    home.with_keys(keys).save()
    view = repository.look()
    click.echo(f"joined: the repository in {repository.place}, root {view.root.version}")


def _say_init(home: Home, repository: Repository, *, begun: bool) -> None:
    click.echo(f"{'made' if begun else 'there already'}: the repository of {home.name} in {repository.place}")
    for keyid, uri in home.keys.items():
        click.echo(f"key {keyid[:12]}: {home.uri_of(uri)}")
    click.echo(f"root to embed: {home.root_path}\n")
    click.echo("Copy it beside your program, and have overseer.run() take what is signed by it:\n")
    click.echo('    fetcher=fetcher.HTTP("https://releases.example.com/"),  # where clients read')
    click.echo('    trust=overseer.TUF(root="root.json"),\n')
    click.echo(
        "Move the offline key away from this machine when you have published; renew needs the online one."
    )


# -- releases ------------------------------------------------------------------------------------------------


@repo.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1)
@click.option("--version", "version", help="Its version; default: what its check says.")
@click.option(
    "--platform",
    help="What it runs on, as linux-x86_64-gnu; default: any, or this one if it is machine code.",
)
@click.option("--min-from", default="", help="The lowest version that may upgrade to it directly.")
@click.option("--notes", default="", help="A line about it, signed and shown.")
@click.option(
    "--role", default="targets", show_default=True, help="Whose release it is: a team's, if you delegate."
)
@click.option("--no-check", is_flag=True, help="Do not run its check here first.")
@click.pass_context
def publish(  # noqa: PLR0917 - click's way
    ctx: click.Context,
    file: str,
    arguments: tuple[str, ...],
    version: str | None,
    platform: str | None,
    min_from: str,
    notes: str,
    role: str,
    no_check: bool,  # noqa: FBT001 - click's way
) -> None:
    """Check FILE as a service would, sign it, and publish it. ARGUMENTS are for its check."""
    from overseer.publish.candidate import examine  # noqa: PLC0415
    from overseer.publish.platforms import foreign, platform_of  # noqa: PLC0415
    from overseer.publish.publisher import publish as do  # noqa: PLC0415
    from overseer.trust.terms import Terms  # noqa: PLC0415

    repository = open_repository(ctx)
    elsewhere = platform is not None and foreign(platform)
    candidate = examine(file, run=not (no_check or elsewhere), arguments=arguments)
    if not candidate.checked:
        why = f"it is for {platform}" if elsewhere else "you said --no-check"
        click.echo(f"not checked here: {why}", err=True)
    version = version or candidate.told
    if not version:
        raise PublishError(f"{file} does not say its version (Config.version); say it with --version")
    wanted = Terms(
        name=repository.home.name,
        version=version,
        platform=platform or platform_of(candidate.kind),
        min_from=min_from,
        notes=notes,
    )
    with _bar(candidate.length) as (progress, tell):
        outcome = do(repository, candidate, wanted, role=role, progress=progress, tell=tell)
    told = "published" if outcome.done else "published already"
    release = outcome.release
    click.echo(f"{told}: {release.target}, {release.length} bytes, {release.sha256[:12]}")
    for patch in outcome.patches:
        kept = "" if patch.worth else "; not published, it saves too little"
        part = 100 * patch.size / release.length
        click.echo(f"patch from {patch.base.terms.version}: {patch.size} bytes, {part:.1f} %{kept}")
    for line in outcome.advice:
        click.echo(f"the next patch could be smaller: {line}")


@repo.command()
@click.argument("version")
@click.option("--purge", is_flag=True, help="Remove the files as well; whoever downloads one now is cut off.")
@click.pass_context
def revoke(ctx: click.Context, version: str, purge: bool) -> None:  # noqa: FBT001
    """Take VERSION back: no client is offered it any more."""
    from overseer.publish.publisher import revoke as do  # noqa: PLC0415

    repository = open_repository(ctx)
    for each in do(repository, version):
        click.echo(f"revoked: {each.target}")
        if purge:
            repository.place.remove(each.file)
    click.echo(f"clients that run {version} keep it until a higher version is published")


@repo.command(name="list")
@click.pass_context
def list_(ctx: click.Context) -> None:
    """Show what is published, the newest first."""
    from overseer.publish.releases import released, whole  # noqa: PLC0415

    found = list(released(open_repository(ctx).look().targets))
    for each in whole(found):
        terms = each.terms
        more = [f"from {terms.min_from} on"] if terms.min_from else []
        more += [terms.notes] if terms.notes else []
        click.echo(
            "  ".join((terms.version, terms.platform, f"{each.length} bytes", each.sha256[:12], *more))
        )
    if not found:
        click.echo("nothing is published yet")


# -- keeping it ----------------------------------------------------------------------------------------------


@repo.command(short_help="Sign the timestamp anew: for cron.")
@click.option("--targets", is_flag=True, help="Sign the list of releases anew as well, with its key.")
@click.pass_context
def renew(ctx: click.Context, targets: bool) -> None:  # noqa: FBT001
    """Sign the timestamp anew (and the snapshot, if need be): for cron. Only the online key is used."""
    view = open_repository(ctx).renew(targets=targets)
    for role, each in (("timestamp", view.timestamp), ("snapshot", view.snapshot)):
        click.echo(f"{role} {each.version} is valid until {each.expires:%Y-%m-%d %H:%M} UTC")


@repo.command(short_help="Look at it as a client does.")
@click.option(
    "--within", default=7.0, show_default=True, metavar="DAYS", help="A date nearer than this is a problem."
)
@click.option("--deep", is_flag=True, help="Read every file and compare its digest.")
@click.option("--url", metavar="URL", help="Look there, where clients do: over HTTP, whatever is in between.")
@click.pass_context
def verify(ctx: click.Context, within: float, deep: bool, url: str | None) -> None:  # noqa: FBT001
    """Look at the repository as a client does, and say what expires when; status 1 if anything is wrong."""
    from overseer.publish.audit import audit, fingerprint  # noqa: PLC0415

    repository = open_repository(ctx)
    root = repository.home.root
    assert root is not None
    now = datetime.now(UTC)
    place = _site(url) if url else repository.place
    seen = audit(place, root, within=within, deep=deep, now=now)
    click.echo(f"root {fingerprint(root)[:12]} of {repository.home.name}, as a client sees {place}:")
    for each in seen.expiries:
        left = each.days(now)
        when = f"expires {each.expires:%Y-%m-%d}, in {left:.0f} days"
        if left <= 0:
            when = f"expired {each.expires:%Y-%m-%d}, {-left:.0f} days ago"
        click.echo(f"{each.role} {each.version} {when}")
    click.echo(f"{len(seen.releases)} files are signed")
    for problem in seen.problems:
        click.echo(f"problem: {problem}", err=True)
    if seen.problems:
        raise SystemExit(1)
    click.echo("all is well")


def _site(url: str) -> Place:
    from overseer.publish.site import Site  # noqa: PLC0415 - urllib3 is slow to import

    return Site(url)


def _bar(length: int) -> Any:
    """A progress bar where somebody looks, and nothing else where nobody does."""
    from overseer.cli.progress import bar  # noqa: PLC0415 - rich is slow to import

    return bar(length)


from overseer.cli import repo_keys  # noqa: E402 - its commands belong to the group above

for _command in repo_keys.COMMANDS:
    repo.add_command(_command)

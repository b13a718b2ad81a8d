"""Delegated roles: who is asked for a target, in which order, and who is not (TUF specification 5.6.7)."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from tuf.api.metadata import Delegations, Metadata, SuccinctRoles, Targets

from overseer.errors import FetchError
from overseer.fetcher import File
from overseer.trust.choose import Here, Trouble
from overseer.trust.client import ask, refresh
from overseer.trust.source import SignedReleases
from overseer.trust.terms import Terms
from overseer.trust.tuf import TUF
from tests.conformance.repository import SIGNERS, Client, Repository

if TYPE_CHECKING:
    from tuf.ngclient import Updater

GRAPHS = {
    "in the order of the list": ("t>a t>b", "a b"),
    "depth first": ("t>a t>b a>c a>d", "a c d b"),
    "deeper": ("t>a a>b b>c t>d", "a b c d"),
    "not beyond a terminating role": ("t>a! t>b a>c", "a c"),
    "nor beyond one that is deeper": ("t>a t>b a>c! a>d", "a c"),
    "only where the name matches": ("t>a:*.py t>b a>c", "b"),
    "nor through one that does not": ("t>a a>b:*.py b>c t>d", "a d"),
    "once in a circle": ("t>a a>b b>a t>c", "a b c"),
    "once where two lead to it": ("t>a t>b a>c b>c", "a c b"),
}


@pytest.mark.parametrize(("graph", "order"), GRAPHS.values(), ids=GRAPHS)
def test_roles_are_searched(client: Client, repository: Repository, graph: str, order: str) -> None:
    """Each is asked for once, and nobody else is."""
    for edge in graph.split():
        path, _, pattern = edge.partition(":")
        giver, taker = path.rstrip("!").split(">")
        above = "targets" if giver == "t" else giver
        repository.delegate(taker, pattern or "*", by=above, terminating="!" in path)
    repository.renew(*[role for role in repository.roles if role not in ("root", "snapshot", "timestamp")])
    with pytest.raises(FetchError, match="nobody we trust has signed a target"):
        client.download("nothing")
    assert client.asked[2:] == [f"1.{role}.json" for role in order.split()]


def test_a_target_is_taken_of_the_first_who_has_it(client: Client, repository: Repository) -> None:
    """The role above comes before those it delegates to."""
    repository.delegate("a", "*")
    repository.delegate("b", "*")
    repository.add("tool", b"of b", role="b")
    repository.add("tool", b"of a", role="a")
    repository.renew("targets", "a", "b")
    assert client.download("tool") == b"of a"
    repository.add("tool", b"of the owner")
    repository.renew("targets")
    assert client.download("tool") == b"of the owner"


def test_a_team_signs_its_own_names_only(client: Client, repository: Repository) -> None:
    """A slash is not matched by a star, and what is deeper needs the leave of all above (4.5)."""
    repository.delegate("team", "tools/*")
    repository.delegate("part", "tools/*.zip", by="team")
    for path in ("tools/a.zip", "tools/b.exe", "other/c.zip", "tools/deep/d.zip"):
        repository.add(path, path.encode(), role="part")
    repository.renew("targets", "team", "part")
    assert client.download("tools/a.zip") == b"tools/a.zip"
    for path in ("tools/b.exe", "other/c.zip", "tools/deep/d.zip"):
        with pytest.raises(FetchError, match="nobody we trust"):
            client.download(path)


def test_a_role_with_the_right_name_and_another_key_is_refused(
    client: Client, repository: Repository
) -> None:
    """Who delegates says whose key counts; one that is there from before does not help (5.6.7)."""
    repository.delegate("team", "team-*")
    repository.add("team-tool", b"content", role="team")
    repository.renew("targets", "team")
    assert client.download("team-tool") == b"content"
    repository.entitle("team", SIGNERS[10], by="targets")
    repository.renew("targets")
    with pytest.raises(FetchError, match="not signed by those we trust"):
        client.download("team-tool")


def test_a_role_of_two_delegators_is_verified_by_the_key_of_each(
    client: Client, repository: Repository
) -> None:
    """Also within one look: what was good on one way is not good on the other."""
    repository.delegate("a", "a/*")
    repository.delegate("b", "b/*")
    repository.delegate("c", "*/*", by="a")
    mine = repository.signers["c"]
    repository.delegate("c", "*/*", by="b")
    repository.entitle("c", SIGNERS[10], by="b")
    repository.signers["c"] = mine
    for path in ("a/tool", "b/tool"):
        repository.add(path, b"content", role="c")
    repository.renew("targets", "a", "b", "c")
    assert client.download("a/tool") == b"content"
    root = repository.metadata.files["1.root.json"]
    with pytest.raises(FetchError, match="c was signed by 0/1 keys"):
        client.download("b/tool")
    with pytest.raises(FetchError, match="c was signed by 0/1 keys"):
        ask(repository.metadata, str(client.folder), root, both)


def both(updater: Updater) -> None:
    """Look a good target up, and one that has the same role on another way."""
    assert updater.get_targetinfo("a/tool")
    updater.get_targetinfo("b/tool")


def test_names_may_be_shared_out_by_their_hashes(client: Client, repository: Repository) -> None:
    """Each bin has those whose digest begins with its prefixes."""
    first = hashlib.sha256(b"tool").hexdigest()[0]
    others = [digit for digit in "0123456789abcdef" if digit != first]
    repository.delegate("others", prefixes=others)
    repository.delegate("mine", prefixes=[first])
    repository.add("tool", b"true", role="mine")
    repository.add("tool", b"false", role="others")
    repository.renew("targets", "mine", "others")
    assert client.download("tool") == b"true"
    assert client.asked[2:] == ["1.mine.json"]


def test_names_may_be_shared_out_succinctly(client: Client, repository: Repository) -> None:
    """By the first bits of the digest, in bins that are numbered (4.5)."""
    bins = SuccinctRoles([], 1, 4, "bin")
    repository["targets"].delegations = Delegations({}, None, bins)
    repository["targets"].add_key(SIGNERS[9].public_key)
    for role in bins.get_roles():
        repository.roles[role] = Metadata(Targets(expires=repository["targets"].expires))
        repository[role].version = 0
        repository.signers[role] = [SIGNERS[9]]
    mine = bins.get_role_for_target("tool")
    repository.add("tool", b"content", role=mine)
    repository.renew("targets", *bins.get_roles())
    assert client.download("tool") == b"content"
    assert client.asked[2:] == [f"1.{mine}.json"]


@pytest.mark.parametrize(
    "role", ["?", "#", "%2F", "/team", "../team", "../../floor", "a b", "ä", "floor", "anchor", "lock"]
)
def test_a_role_may_be_called_anything(client: Client, repository: Repository, role: str) -> None:
    """It is one file, here and there; a name leads nowhere else, and spoils nothing of ours."""
    repository.delegate(role, "*")
    repository.add("tool", b"content", role=role)
    repository.renew("targets", role)
    assert client.download("tool") == b"content"
    about = repository[role].targets["tool"].unrecognized_fields
    about["custom"] = Terms(name="tool", version="1.0").custom()
    repository.renew(role)
    view = refresh(repository.metadata, str(client.folder), repository.metadata.files["1.root.json"])
    assert [each.path for each in view.targets] == ["tool"]
    assert (client.folder / f"{quote(role, safe='')}.json").exists()
    assert sorted(path.name for path in client.folder.parent.iterdir()) == ["root.json", "targets", "trusted"]
    repository.metadata.asked.clear()
    client.refresh()
    assert client.asked == []


def team_site(repository: Repository) -> None:
    """Have releases of an owner, and of teams whose names are none of their programs'."""
    repository.delegate("frontend", "web-*", terminating=True)
    repository.delegate("idle", "idle-*", terminating=True)
    for role, name in (("targets", "app"), ("frontend", "web")):
        repository.add(f"{name}-1.0-any", name.encode(), role=role)
        repository[role].targets[f"{name}-1.0-any"].unrecognized_fields["custom"] = Terms(
            name=name, version="1.0"
        ).custom()
    repository.renew("targets", "frontend")


def service(client: Client, name: str) -> SignedReleases:
    """Return what a service looks with."""
    public = client.folder.parent / "public"
    public.mkdir(exist_ok=True)
    for path in public.iterdir():
        path.unlink()
    for file, data in client.repository.metadata.files.items():
        (public / file).write_bytes(data)
    here = Here(platform="linux")
    trust = TUF(client.repository.metadata.files["1.root.json"], name=name)
    return SignedReleases(trust, File(public), str(client.folder), lambda: here)


def test_a_service_sees_the_releases_of_teams(client: Client, repository: Repository) -> None:
    """Whatever the team is called; one that has signed nothing yet is no trouble."""
    team_site(repository)
    view = refresh(repository.metadata, str(client.folder), repository.metadata.files["1.root.json"])
    assert {each.terms.name for each in view.targets} == {"app", "web"}
    assert view.troubles == ()
    offer = service(client, "web").latest(None)
    assert offer
    assert offer.name == "web-1.0-any"


def test_who_is_never_asked_is_no_trouble(client: Client, repository: Repository) -> None:
    """Another team comes before it, and has the last word on the same names."""
    team_site(repository)
    repository.delegate("late", "web-*")
    repository.expire("late")
    repository.renew("targets", "late")
    for name in ("app", "web"):
        assert service(client, name).latest(None)


@pytest.mark.parametrize("pattern", ["web-*", "web-?.?-any", "[vw]eb-*", "web-[0-9].0-*"])
def test_the_names_of_a_team_may_be_any_pattern(client: Client, repository: Repository, pattern: str) -> None:
    """A name is made up that matches, to have the team's metadata read."""
    team_site(repository)
    repository["targets"].delegations.roles["frontend"].paths = [pattern]
    repository.renew("targets")
    view = refresh(repository.metadata, str(client.folder), repository.metadata.files["1.root.json"])
    assert {each.terms.name for each in view.targets} == {"app", "web"}


@pytest.mark.parametrize("fault", ["expired", "unsigned", "missing", "nonsense"])
def test_the_trouble_of_a_team_is_that_team_s(client: Client, repository: Repository, fault: str) -> None:
    """Its own program has an alarm, and that of the owner has its releases."""
    team_site(repository)
    if fault == "expired":
        repository.expire("frontend")
        repository.renew("frontend")
    elif fault == "unsigned":
        repository.spoil("frontend", extra="field")
    elif fault == "missing":
        del repository.metadata.files["1.frontend.json"]
    else:
        repository.metadata.files["1.frontend.json"] = b"[" * 5000
    assert service(client, "app").latest(None)
    for name in ("web", ""):
        with pytest.raises(FetchError, match="what frontend has signed is refused") as said:
            service(client, name).latest(None)
        assert said.value.kind == ("expired" if fault == "expired" else "refused")


def test_a_team_that_is_sound_again_is_believed_again(client: Client, repository: Repository) -> None:
    """By the same process, and without another timestamp."""
    team_site(repository)
    sound = repository.metadata.files.pop("1.frontend.json")
    source = service(client, "web")
    with pytest.raises(FetchError, match="what frontend has signed is refused"):
        source.latest(None)
    (client.folder.parent / "public" / "1.frontend.json").write_bytes(sound)
    assert source.latest(None)


def test_a_team_that_expires_is_noticed_though_nothing_changes(
    client: Client, repository: Repository
) -> None:
    """What was verified is believed until the first signature runs out, also when that is a team's."""
    team_site(repository)
    first = repository["frontend"].expires - timedelta(days=7)
    repository["frontend"].expires = first
    repository.renew("frontend")
    view = refresh(repository.metadata, str(client.folder), repository.metadata.files["1.root.json"])
    assert view.until == first.timestamp()


@pytest.mark.parametrize(
    ("pattern", "mine"),
    [
        ("web-*", True),
        ("*", True),
        ("w*", True),
        ("web-[0-9].*", True),
        ("web-?.?-any", True),
        ("web-1.0-any", True),
        ("web-v2*", True),
        ("web-admin-*", False),
        ("webs-*", False),
        ("7zip-*", False),
        ("app-*", False),
    ],
)
def test_trouble_concerns_whoever_may_have_such_names(pattern: str, *, mine: bool) -> None:
    """A program is its name, a hyphen, and a version; in doubt there is an alarm."""
    trouble = Trouble(patterns=("other-*", pattern), why="", kind="refused")
    assert trouble.concerns("web") is mine
    assert trouble.concerns("")

"""GitHub as a source, against a fake that keeps its manners: conditions, limits, redirects to storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.contract.fake_github import FakeGitHub
from tests.contract.hostile import reply

from overseer.errors import FetchError
from overseer.fetcher import GitHub, Offer, Partial
from overseer.fetcher.target import here, names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

APP = b"the program" * 100
NAME = next(names("app-{os}-{arch}", here(), tag="v1"))


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the machine's own tokens and proxies out of it."""
    for name in (
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "GITHUB_ENTERPRISE_TOKEN",
        "GH_ENTERPRISE_TOKEN",
        "GITHUB_API_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    """Serve one release, v1.2.0, with a file for every platform."""
    with FakeGitHub() as fake:
        fake.publish("v1.2.0", {NAME: APP, "app-plan9-mips": b"no", f"{NAME}.sha256": b"no"})
        yield fake


def source(fake: FakeGitHub, **options: Any) -> GitHub:
    """Look at the fake's repository."""
    return GitHub("ann", "app", base_url=fake.url, **options)


def look(fetcher: GitHub, seen: Mapping[str, str] | None = None) -> Offer:
    """Look, and insist on news."""
    offer = fetcher.latest(seen)
    assert offer is not None
    return offer


def read(offer: Offer, partial: Partial | None = None) -> bytes:
    """Read an offer to its end."""
    return b"".join(offer.open(partial).chunks)


def test_the_latest_release_is_offered_with_all_that_is_known_of_it(github: FakeGitHub) -> None:
    """Name, version, size and digest come from the API, the bytes from the public address."""
    offer = look(source(github))
    assert (offer.name, offer.version, offer.size) == (NAME, "1.2.0", len(APP))
    assert offer.digest == github.releases[0]["assets"][0]["digest"].removeprefix("sha256:")
    assert read(offer) == APP
    assert github.asked[-1].target.startswith("/ann/app/releases/download/")


def test_a_second_look_costs_nothing_of_the_rate_limit(github: FakeGitHub) -> None:
    """It is conditional, in this process and in the next."""
    fetcher = source(github)
    seen = look(fetcher).seen
    left = github.limit
    assert fetcher.latest(seen) is None
    assert source(github).latest(seen) is None
    assert github.limit == left


def test_an_offer_that_was_not_taken_is_made_again(github: FakeGitHub) -> None:
    """A 304 means the same release as last time, which is news as long as it was not staged."""
    fetcher = source(github)
    first = look(fetcher)
    assert look(fetcher).seen == first.seen
    assert "if-none-match" in github.asked[-1].headers


def test_a_changed_answer_about_the_same_file_is_no_news(github: FakeGitHub) -> None:
    """The API counts downloads, and its ETag with them."""
    fetcher = source(github)
    seen = look(fetcher).seen
    github.releases[0]["assets"][0]["download_count"] = 1
    assert fetcher.latest(seen) is None


def test_a_file_uploaded_anew_under_the_same_name_is_news(github: FakeGitHub) -> None:
    """The asset, not the tag, is what was seen."""
    fetcher = source(github)
    seen = look(fetcher).seen
    github.releases[0]["assets"][0] = github.asset("v1.2.0", NAME, b"better", "2024-05-02T10:00:00Z")
    assert read(look(fetcher, seen)) == b"better"


def test_a_new_release_is_news(github: FakeGitHub) -> None:
    """That is what it is for."""
    fetcher = source(github)
    seen = look(fetcher).seen
    github.publish("v1.3.0", {NAME: b"new"})
    assert look(fetcher, seen).version == "1.3.0"


def test_another_choice_of_asset_is_another_question(github: FakeGitHub) -> None:
    """What was seen under the old choice does not hide what the new one chooses."""
    seen = look(source(github)).seen
    assert look(source(github, asset="app-plan9-mips"), seen).name == "app-plan9-mips"


def test_pre_releases_are_offered_only_when_asked_for(github: FakeGitHub) -> None:
    """The latest is what was published last; drafts are nobody's."""
    github.publish("v2.0.0-rc1", {NAME: b"rc"}, pre=True, at="2024-06-01T10:00:00Z")
    github.publish("v1.2.1", {NAME: b"fix"}, at="2024-05-20T10:00:00Z")
    github.publish("v9", {NAME: b"draft"}, at="2025-01-01T10:00:00Z")
    github.releases[0]["draft"] = True
    assert look(source(github)).version == "1.2.1"
    assert look(source(github, pre_releases=True)).version == "2.0.0-rc1"


def test_a_tag_is_a_pin(github: FakeGitHub) -> None:
    """Whatever is published later."""
    github.publish("v2", {NAME: b"two"})
    assert look(source(github, tag="v1.2.0")).version == "1.2.0"
    with pytest.raises(FetchError, match="no such release"):
        source(github, tag="v3").latest(None)


def test_a_repository_without_releases_is_an_error_that_says_so() -> None:
    """And it names the other reason: a private one looks the same."""
    with FakeGitHub() as fake:
        with pytest.raises(FetchError, match="needs a token"):
            source(fake).latest(None)
        with pytest.raises(FetchError, match="no release yet"):
            source(fake, pre_releases=True).latest(None)


# --- private repositories ---


def test_a_private_asset_comes_through_the_api_and_the_token_stays_there() -> None:
    """The storage, another host, refuses an Authorization."""
    with FakeGitHub(token="hush") as fake:
        fake.publish("v1", {NAME: APP})
        assert read(look(source(fake, token="hush"))) == APP
        api, storage = fake.asked[-2:]
        assert (api.headers["accept"], api.headers["authorization"]) == (
            "application/octet-stream",
            "Bearer hush",
        )
        assert storage.target.startswith("/storage/")
        assert "authorization" not in storage.headers


def test_the_token_of_the_environment_goes_to_its_own_host_only(
    github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GITHUB_TOKEN is for api.github.com, or for the API the environment names."""
    monkeypatch.setenv("GITHUB_TOKEN", "public")
    look(source(github))
    assert "authorization" not in github.asked[-1].headers
    monkeypatch.setenv("GITHUB_ENTERPRISE_TOKEN", "ours")
    look(source(github))
    assert github.asked[-1].headers["authorization"] == "Bearer ours"
    monkeypatch.setenv("GITHUB_API_URL", github.url)
    look(source(github))
    assert github.asked[-1].headers["authorization"] == "Bearer public"


# --- downloads ---


def test_a_download_is_resumed_on_the_word_of_the_digest(github: FakeGitHub) -> None:
    """The whole is compared with it in the end, whatever the storage did."""
    offer = look(source(github))
    download = offer.open(Partial(400, offer.seen))
    assert (download.start, b"".join(download.chunks)) == (400, APP[400:])


def test_without_a_digest_a_download_begins_again() -> None:
    """Old releases have none, and the storage's validator was never seen."""
    with FakeGitHub(digests=False) as fake:
        fake.publish("v1", {NAME: APP})
        offer = look(source(fake))
        assert offer.digest is None
        assert offer.open(Partial(400, offer.seen)).start == 0


def test_a_partial_of_another_asset_is_not_resumed(github: FakeGitHub) -> None:
    """Its digest is another one."""
    fetcher = source(github)
    old = look(fetcher)
    github.publish("v2", {NAME: b"two" * 400})
    assert read(look(fetcher, old.seen), Partial(400, old.seen)) == b"two" * 400


def test_an_asset_of_another_length_than_announced_is_an_error(github: FakeGitHub) -> None:
    """Be it an error page, or a half."""
    offer = look(source(github))
    github.content[1000] = APP[:-1]
    with pytest.raises(FetchError, match="another length"):
        offer.open(None)


# --- which asset ---


@pytest.mark.parametrize("template", ["app-{os}-{arch}", "{tag}", "app-{machine}", "v{version}.pyz"])
def test_a_template_is_met_letter_by_letter(github: FakeGitHub, template: str) -> None:
    """The first spelling that exists is taken, and nothing that only looks like it."""
    spelled = list(names(template, here(), tag="v2.0"))[-1]
    github.publish("v2.0", {f"{spelled}64": b"no", spelled: b"yes", f"x{spelled}": b"no"})
    assert read(look(source(github, asset=template))) == b"yes"


def test_a_function_chooses_the_first_name_it_likes(github: FakeGitHub) -> None:
    """As in the original."""
    assert look(source(github, asset=lambda name: "mips" in name)).name == "app-plan9-mips"


def test_a_release_without_a_file_for_us_is_an_error_that_names_what_there_is(github: FakeGitHub) -> None:
    """The operator sees what to write."""
    github.publish("v2", {"app-plan9-mips": b"no", "app.tar": b"no"})
    for asset in (None, "app-{os}-{arch}.zip", lambda name: name == "x"):
        with pytest.raises(FetchError, match=r"has no file .*there is app-plan9-mips, app.tar"):
            source(github, asset=asset).latest(None)


def test_two_files_that_both_fit_are_an_error(github: FakeGitHub) -> None:
    """Nothing is guessed."""
    github.publish("v2", {NAME: b"one", f"{NAME}.tar.gz": b"two"})
    with pytest.raises(FetchError, match="several files"):
        source(github).latest(None)


def test_a_file_that_is_still_uploaded_is_not_there_yet(github: FakeGitHub) -> None:
    """The API says so."""
    github.releases[0]["assets"][0]["state"] = "starter"
    with pytest.raises(FetchError, match="has no file"):
        source(github).latest(None)


# --- limits and nonsense ---


def test_a_used_up_rate_limit_says_until_when(github: FakeGitHub) -> None:
    """By x-ratelimit-reset, read against the server's clock or ours."""
    github.limit = 0
    with pytest.raises(FetchError, match=r"rate limit.*token") as caught:
        source(github).latest(None)
    assert caught.value.retry_after is not None
    assert 800 < caught.value.retry_after <= 900


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (reply(b"{}", "403 Forbidden", retry_after="30", x_ratelimit_remaining="0"), 30),
        (reply(b"{}", "429 Too Many Requests"), 60),
        (reply(b"{}", "429 Too Many", x_ratelimit_remaining="0", x_ratelimit_reset="x"), 60),
        (reply(b"{}", "429 Too Many", x_ratelimit_remaining="0", x_ratelimit_reset="1"), 1),
        (reply(b"{}", "403 Forbidden", x_ratelimit_remaining="0", x_ratelimit_reset="9" * 12), 24 * 3600),
        (reply(b"{}", "403 Forbidden"), None),
        (reply(b"{}", "502 Bad Gateway"), None),
    ],
)
def test_every_way_to_say_wait_is_understood(github: FakeGitHub, answer: bytes, wait: float | None) -> None:
    """Retry-After first, then the reset, then a minute; at most a day."""
    github.server.answer = lambda _, wire: wire.say(answer)
    with pytest.raises(FetchError) as caught:
        source(github).latest(None)
    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nonsense", b"[1, 2]", b"{}", b'{"assets": [1, {}]}', b"[" * 10**5]
)
def test_nonsense_from_the_api_is_an_error(github: FakeGitHub, body: bytes) -> None:
    """Whatever is said, it is an offer or a `FetchError`."""
    github.server.answer = lambda _, wire: wire.say(reply(body))
    with pytest.raises(FetchError):
        source(github).latest(None)

"""URLs: what is shown of them, and who a secret may go to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.errors import ConfigError
from overseer.fetcher.urls import bare, check_url, same_origin, shown


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://host/a", "https://host/b?c", True),
        ("https://host", "https://HOST:443/", True),
        ("http://host", "http://host:80/", True),
        ("http://host", "https://host/", True),
        ("https://host", "http://host/", False),
        ("http://host:8080", "https://host/", False),
        ("http://host", "https://host:8443/", False),
        ("https://host", "https://host:8443/", False),
        ("https://host", "https://sub.host/", False),
        ("https://sub.host", "https://host/", False),
        ("https://host", "https://host.evil.org/", False),
        ("https://host", "https://host@evil.org/", False),
        ("https://127.0.0.1", "https://localhost/", False),
    ],
)
def test_a_secret_goes_to_its_origin_and_to_its_https_twin(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    """And nowhere else."""
    assert same_origin(one, other) is same


SECRET = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=8)


@given(
    SECRET,
    st.sampled_from(["https://{0}:{0}@host/a", "https://host/a?{0}", "https://host/a#{0}", "s3://{0}@b/a"]),
)
def test_nothing_secret_is_shown(secret: str, form: str) -> None:
    """Not the user, not the password, not the query, not the fragment."""
    assert secret not in shown(form.format(secret))
    assert shown(form.format(secret)).endswith("/a")


def test_only_the_query_stays_for_the_request() -> None:
    """The rest is sent in other ways, or not at all."""
    assert bare("https://me:word@host:1/a?b=c#d") == "https://host:1/a?b=c"


@given(st.text(max_size=40))
def test_whatever_is_written_is_a_url_or_a_mistake_of_the_configuration(text: str) -> None:
    """Nothing else is raised, and what passes has a host."""
    for url in (text, f"https://{text}"):
        try:
            check_url("url", url)
        except ConfigError:
            continue
        assert "://" in url

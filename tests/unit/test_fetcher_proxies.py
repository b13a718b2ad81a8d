"""Which proxy the environment names."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.fetcher.proxies import authorization, proxy_for


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "http://p:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://q:1"}, ""),
        ({"https_proxy": "p:1"}, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, ""),
        ({"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, ""),
    ],
)
def test_the_proxy_is_that_of_the_scheme(environ: dict[str, str], proxy: str) -> None:
    """Lower case first, then upper case, then that for all."""
    assert proxy_for("https://host.example.org/app", environ) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("example.org", "http://example.org", True),
        ("example.org", "http://a.example.org", True),
        (".example.org", "http://a.example.org", True),
        ("*.example.org", "http://a.example.org", True),
        ("example.org", "http://notexample.org", False),
        ("EXAMPLE.org", "http://Example.ORG", True),
        ("example.org:8080", "http://example.org:8080", True),
        ("example.org:8080", "http://example.org", False),
        ("a, example.org", "http://example.org", True),
        ("a example.org", "http://example.org", True),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.1.2.3", "http://10.1.2.3:80", True),
        ("[::1]", "http://[::1]/", True),
        ("::1", "http://[::1]/", True),
        ("", "http://example.org", False),
        (",.,*x", "http://example.org", False),
    ],
)
def test_no_proxy_names_who_is_asked_directly(no_proxy: str, url: str, direct: bool) -> None:  # noqa: FBT001
    """By name and all below it, by port, by address, by network."""
    assert (proxy_for(url, {"http_proxy": "http://p:1", "NO_PROXY": no_proxy}) == "") is direct


def test_under_cgi_a_header_is_no_proxy() -> None:
    """HTTP_PROXY there is what a client sent as `Proxy:`."""
    environ = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://evil:1"}
    assert proxy_for("http://host", environ) == ""
    assert proxy_for("http://host", environ | {"http_proxy": "http://p:1"}) == "http://p:1"


def test_the_password_of_a_proxy_is_sent_to_it() -> None:
    """Decoded as in any URL."""
    assert authorization(urlsplit("http://p:1")) is None
    told = authorization(urlsplit("http://me:a%40b@p:1"))
    assert told == {"proxy-authorization": "Basic bWU6YUBi"}


@given(st.text(max_size=50))
def test_nothing_that_the_environment_says_is_raised(text: str) -> None:
    """Whatever NO_PROXY is, a proxy is chosen or not."""
    assert proxy_for("http://10.0.0.1:80/", {"http_proxy": "http://p:1", "NO_PROXY": text}) in (
        "",
        "http://p:1",
    )

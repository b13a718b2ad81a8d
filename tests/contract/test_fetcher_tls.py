"""HTTPS as a source: who is trusted, what a redirect may not do, and proxies on the way."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme
from tests.contract.hostile import Asked, Hostile, Wire, reply

from overseer.errors import FetchError
from overseer.fetcher import HTTP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RELEASE = b"a release" * 100


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a private certificate authority."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write its certificate, and forget what the environment trusts and asks through."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    path = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def serve(authority: trustme.CA) -> Iterator[Callable[..., Hostile]]:
    """Serve over TLS as 127.0.0.1, or with the certificate of another name."""
    servers = []

    def start(answer: Callable[[Asked, Wire], object], name: str = "127.0.0.1") -> Hostile:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(context)
        servers.append(Hostile(answer, tls=context).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


def take(fetcher: HTTP) -> bytes:
    """Look, open, and read to the end."""
    offer = fetcher.latest(None)
    assert offer is not None
    return b"".join(offer.open(None).chunks)


def release(_: Asked, wire: Wire) -> None:
    """Answer with the release."""
    wire.say(reply(RELEASE))


def test_a_private_authority_is_not_trusted_by_itself(serve: Callable[..., Hostile], ca_file: str) -> None:
    """And the error says how to name it."""
    assert os.path.exists(ca_file)
    with pytest.raises(FetchError, match=r"trusted.*SSL_CERT_FILE"):
        take(HTTP(serve(release).url))


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_authority_named_by_the_environment_is_trusted(
    serve: Callable[..., Hostile], ca_file: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each of the variables in use."""
    monkeypatch.setenv(variable, ca_file)
    assert take(HTTP(serve(release).url)) == RELEASE


def test_an_authority_named_as_an_option_is_trusted(serve: Callable[..., Hostile], ca_file: str) -> None:
    """It goes before the environment's."""
    assert take(HTTP(serve(release).url, ca=ca_file)) == RELEASE


def test_authorities_that_cannot_be_read_are_an_error(ca_file: str) -> None:
    """A typing mistake must not mean that the system's are trusted."""
    with pytest.raises(FetchError, match="cannot be read"):
        take(HTTP("https://127.0.0.1:1", ca=ca_file + "x"))


def test_a_certificate_of_another_name_is_refused(serve: Callable[..., Hostile], ca_file: str) -> None:
    """It is somebody else."""
    with pytest.raises(FetchError, match=r"trusted.*IP address mismatch"):
        take(HTTP(serve(release, "example.org").url, ca=ca_file))


def test_a_redirect_never_leads_from_https_to_http(serve: Callable[..., Hostile], ca_file: str) -> None:
    """The plain server is not even asked."""
    with Hostile(release) as plain:
        server = serve(lambda _, wire: wire.say(reply(b"", "302 Found", location=plain.url)))
        with pytest.raises(FetchError, match="plain http"):
            take(HTTP(server.url, ca=ca_file))
        assert plain.asked == []


def test_a_release_is_asked_for_through_a_tunnel_of_the_proxy(
    serve: Callable[..., Hostile], ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees the host's name, and neither path nor secrets."""
    server = serve(release, "releases.invalid")
    with Hostile(lambda _, wire: wire.tunnel(server.port)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:word@{proxy.host}")
        fetcher = HTTP("https://releases.invalid/app?key=1", ca=ca_file, headers={"X-Key": "hush"})
        assert take(fetcher) == RELEASE
        assert [(asked.method, asked.target) for asked in proxy.asked] == [
            ("CONNECT", "releases.invalid:443")
        ]
        assert proxy.asked[0].headers["proxy-authorization"] == "Basic bWU6d29yZA=="
        assert "x-key" not in proxy.asked[0].headers
        assert server.asked[0].headers["x-key"] == "hush"
        assert "proxy-authorization" not in server.asked[0].headers


def test_a_tls_connection_cut_without_a_goodbye_is_an_error(
    serve: Callable[..., Hostile], ca_file: str
) -> None:
    """Also where the length is not told: only TLS's own end is an end."""

    def answer(_: Asked, wire: Wire) -> None:
        wire.say(reply(RELEASE, content_length=""))
        wire.reset()

    with pytest.raises(FetchError):
        take(HTTP(serve(answer).url, ca=ca_file, require_length=False))

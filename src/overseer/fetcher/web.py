"""Asking servers on the web: one request at a time, streamed, distrustful, never in a hurry.

What holds here for every source that speaks HTTP: redirects are followed by us, bounded, never from https to
http, and whatever could be a secret goes to the origin it was meant for and nowhere else; there is a time
limit for connecting and for silence, and none for a whole transfer; proxies and certificate authorities are
those of the environment.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import urllib3

from overseer.errors import FetchError
from overseer.fetcher import proxies
from overseer.fetcher.answer import Answer, Manners, explained
from overseer.fetcher.framing import strict
from overseer.fetcher.urls import PORTS, bare, port_of, same_origin, shown
from overseer.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

_REDIRECTS = (301, 302, 303, 307, 308)


class Web:
    """Asks servers, for the length of one look and the download that follows from it."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self._pools: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._tls: ssl.SSLContext | None = None

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask for `url`, follow redirects, and return the answer, whatever its status.

        `secrets` are header fields for the origin of `url` alone: they are dropped for good at the first
        redirect that leaves it. Raises `FetchError` when there is no answer or a redirect is refused.
        """
        usual = {"User-Agent": f"overseer/{VERSION}", "Accept": "*/*", "Accept-Encoding": "identity"}
        kept = dict(secrets or {})
        timeout = urllib3.Timeout(connect=self.manners.connect_timeout, read=self.manners.read_timeout)
        for _ in range(self.manners.max_redirects + 1):
            with explained(shown(url)):
                response = self._pool(url).request(
                    method,
                    url,
                    headers=_merged(usual, headers or {}, kept),
                    preload_content=False,
                    decode_content=False,
                    redirect=False,
                    retries=False,
                    timeout=timeout,
                )
            answer = Answer(url, response.status, response.headers, self.manners, response)
            if answer.status not in _REDIRECTS:
                return answer
            target = _target(answer)
            if not same_origin(url, target):
                kept = {}
            url = target
        raise FetchError(f"more than {self.manners.max_redirects} redirects, the last one to {shown(url)}")

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxies.proxy_for(url, os.environ)
        # Loading the authorities takes longer than a request at home: only for those who need them.
        secure = "https:" in (url[:6].lower(), proxy[:6].lower())
        if secure and self._tls is None:
            self._tls = trusted(self.manners.ca, os.environ)
        if (proxy, secure) not in self._pools:
            self._pools[proxy, secure] = strict(_through(proxy, self._tls))
        return self._pools[proxy, secure]


def trusted(ca: str | None, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Make the TLS context: `ca`, or the authorities the environment names, or the system's, in this order.

    REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE name a file or a folder; SSL_CERT_FILE and SSL_CERT_DIR are obeyed
    by OpenSSL itself. Raises `FetchError` when what is named cannot be read.
    """
    named = ca or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    try:
        if named and os.path.isdir(named):
            return ssl.create_default_context(capath=named)
        return ssl.create_default_context(cafile=named)
    except OSError as error:
        raise FetchError(f"the certificate authorities in {named!r} cannot be read: {error}") from error


def _through(proxy: str, tls: ssl.SSLContext | None) -> urllib3.PoolManager:
    if not proxy:
        return urllib3.PoolManager(ssl_context=tls)
    parts = urlsplit(proxy)
    if parts.scheme not in PORTS or not parts.hostname:
        raise FetchError(f"the proxy {shown(proxy)} cannot be used; only http and https ones are supported")
    return urllib3.ProxyManager(
        bare(proxy), proxy_headers=proxies.authorization(parts), ssl_context=tls, proxy_ssl_context=tls
    )


def _target(answer: Answer) -> str:
    location = answer.headers.get("location", "")
    answer.close()
    where = shown(answer.url)
    try:
        target = bare(urljoin(answer.url, location))
        parts = urlsplit(target)
        port_of(parts)
    except ValueError as error:
        raise FetchError(f"{where} redirects to something that is no URL") from error
    if not location or parts.scheme not in PORTS or not parts.hostname:
        raise FetchError(f"{where} redirects to nowhere on the web")
    if urlsplit(answer.url).scheme == "https" and parts.scheme != "https":
        raise FetchError(f"{where} redirects from https to plain http, which anybody could answer; refused")
    return target


def _merged(*some: Mapping[str, str]) -> dict[str, str]:
    # Names of header fields are the same in any case; a later one replaces an earlier one.
    merged: dict[str, tuple[str, str]] = {}
    for fields in some:
        merged |= {name.lower(): (name, value) for name, value in fields.items()}
    return dict(merged.values())

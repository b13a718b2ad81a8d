"""Which proxy the environment names for a URL: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY.

Lower case goes before upper case, as everywhere; NO_PROXY takes `*`, host names with all that is below them,
`host:port`, addresses and networks (10.0.0.0/8).
"""

from __future__ import annotations

import base64
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


def proxy_for(url: str, environ: Mapping[str, str]) -> str:
    """Say through which proxy (a URL) to ask for `url`; "" is none."""
    parts = urlsplit(url)
    if _bypassed(parts, _variable("no_proxy", environ)):
        return ""
    if parts.scheme == "http" and "REQUEST_METHOD" in environ:
        # Under CGI, HTTP_PROXY is a header that any client may send ("httpoxy"); only the lower case is ours.
        proxy = environ.get("http_proxy", "")
    else:
        proxy = _variable(f"{parts.scheme}_proxy", environ)
    proxy = proxy or _variable("all_proxy", environ)
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def authorization(proxy: SplitResult) -> dict[str, str] | None:
    """Say the header field that opens a proxy whose URL has a user and a password."""
    if proxy.username is None:
        return None
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"proxy-authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    return (environ.get(name.upper(), "") if value is None else value).strip()


def _bypassed(parts: SplitResult, no_proxy: str) -> bool:
    host, port = (parts.hostname or "").lower(), parts.port
    for entry in no_proxy.replace(" ", ",").lower().split(","):
        if entry == "*" or (entry and _matches(entry, host, port)):
            return True
    return False


def _matches(entry: str, host: str, port: int | None) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdecimal():
        return int(wanted) == port and _matches(name, host, None)
    entry = entry.lstrip("*").lstrip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))

"""HTTP as a source, against nginx: real ETags, conditions, ranges, TLS with a private authority."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import trustme

from overseer.errors import FetchError
from overseer.fetcher import HTTP, Offer, Partial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

RELEASE = bytes(range(256)) * 4000

CONFIG = """
daemon off; pid {root}/pid; error_log stderr; worker_processes 1; master_process off;
events {{ worker_connections 64; }}
http {{
    log_format asked '$request_method $uri $status "$http_range" "$http_if_none_match"';
    access_log {root}/access asked;
    client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c;
    uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port}; listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/cert.pem;
        root {root}/files;
        location /old/ {{ return 301 /app.pyz; }}
        location /packed/ {{ alias {root}/files/; gzip on; gzip_types *; gzip_min_length 1; }}
        location /private/ {{
            alias {root}/files/;
            if ($http_authorization != "Basic YW5uOmh1c2g=") {{ return 401; }}
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder that nginx serves from."""
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "files").mkdir()
    return folder


@pytest.fixture(scope="module")
def nginx(root: Path) -> Iterator[dict[str, str]]:
    """Run nginx on two free ports, and say its two URLs and its authority."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not program:
        pytest.skip("nginx is not installed, so HTTP is not proven against it: apt-get install nginx-light")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(root / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(root / "cert.pem"))
    port, tls_port = free_ports(2)
    (root / "conf").write_text(CONFIG.format(root=root, port=port, tls_port=tls_port))
    argv = [program, "-c", str(root / "conf"), "-p", str(root), "-e", "stderr"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            answers(port, process)
            yield {
                "http": f"http://127.0.0.1:{port}",
                "https": f"https://127.0.0.1:{tls_port}",
                "ca": str(root / "ca.pem"),
            }
        finally:
            process.terminate()


def free_ports(count: int) -> list[int]:
    """Find ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def answers(port: int, process: subprocess.Popen[str]) -> None:
    """Wait until somebody listens on the port; what nginx complains of is told."""
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    process.kill()
    assert process.stderr is not None
    pytest.fail(f"nginx did not start: {process.stderr.read()}")


@pytest.fixture(autouse=True)
def release(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the release in place, and leave the machine's proxies out of it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    path = root / "files" / "app.pyz"
    replace(path, RELEASE, 1_700_000_000)
    return path


def replace(path: Path, content: bytes, mtime: int) -> None:
    """Put a file in place as one should, with a time of its own: nginx's ETag is made of time and length."""
    path.with_suffix(".new").write_bytes(content)
    os.utime(path.with_suffix(".new"), (mtime, mtime))
    path.with_suffix(".new").rename(path)


def look(fetcher: HTTP, seen: Mapping[str, str] | None = None) -> Offer:
    """Look, and insist on news."""
    offer = fetcher.latest(seen)
    assert offer is not None
    return offer


def read(offer: Offer, partial: Partial | None = None) -> bytes:
    """Read an offer to its end."""
    return b"".join(offer.open(partial).chunks)


def logs(root: Path, *wanted: str) -> bool:
    """Wait until the last lines that nginx wrote of its requests begin so: it answers before it writes."""
    deadline, last = time.monotonic() + 10, [""]
    while time.monotonic() < deadline:
        last = (root / "access").read_text().splitlines()[-len(wanted) :]
        if len(last) == len(wanted) and all(map(str.startswith, last, wanted)):
            return True
    pytest.fail(f"nginx wrote {last}")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_release_is_taken_once(nginx: dict[str, str], root: Path, release: Path, scheme: str) -> None:
    """One GET, then a 304 for each look, until the file changes."""
    fetcher = HTTP(f"{nginx[scheme]}/app.pyz", ca=nginx["ca"])
    offer = look(fetcher)
    assert (offer.name, offer.size, read(offer)) == ("app.pyz", len(RELEASE), RELEASE)
    assert fetcher.latest(offer.seen) is None
    assert logs(root, 'GET /app.pyz 304 "-" "')
    replace(release, b"new", 1_700_000_100)
    assert read(look(fetcher, offer.seen)) == b"new"


def test_head_mode_asks_with_head(nginx: dict[str, str], root: Path) -> None:
    """As the original does."""
    fetcher = HTTP(f"{nginx['http']}/app.pyz", head=True)
    assert fetcher.latest(look(fetcher).seen) is None
    assert logs(root, "HEAD /app.pyz 200", "HEAD /app.pyz 200")


def test_a_cut_download_goes_on(nginx: dict[str, str], root: Path) -> None:
    """Nginx's ETag of a file is strong."""
    offer = look(HTTP(f"{nginx['http']}/app.pyz"))
    download = offer.open(Partial(100_000, offer.seen))
    assert download.start == 100_000
    assert b"".join(download.chunks) == RELEASE[100_000:]
    assert logs(root, 'GET /app.pyz 206 "bytes=100000-"')


def test_a_release_that_changes_before_it_goes_on_is_refused(nginx: dict[str, str], release: Path) -> None:
    """If-Range makes nginx send the whole of the new one, which is not what was offered."""
    fetcher = HTTP(f"{nginx['http']}/app.pyz")
    offer = look(fetcher)
    replace(release, RELEASE[::-1], 1_700_000_200)
    with pytest.raises(FetchError, match="changed between"):
        offer.open(Partial(100_000, offer.seen))
    assert read(look(fetcher), Partial(100_000, offer.seen)) == RELEASE[::-1]


def test_nginx_does_not_pack_what_is_asked_for_as_it_is(nginx: dict[str, str]) -> None:
    """Accept-Encoding: identity is obeyed, so the ETag stays strong."""
    offer = look(HTTP(f"{nginx['http']}/packed/app.pyz"))
    assert not offer.seen["etag"].startswith("W/")
    assert read(offer) == RELEASE


def test_a_redirect_is_followed(nginx: dict[str, str]) -> None:
    """And the name is that of the URL that was asked for."""
    offer = look(HTTP(f"{nginx['http']}/old/app-1.pyz"))
    assert (offer.name, read(offer)) == ("app-1.pyz", RELEASE)


def test_credentials_open_what_is_private(nginx: dict[str, str]) -> None:
    """Given as an option or in the URL."""
    assert read(look(HTTP(f"{nginx['http']}/private/app.pyz", auth=("ann", "hush")))) == RELEASE
    url = nginx["http"].replace("//", "//ann:hush@")
    assert read(look(HTTP(f"{url}/private/app.pyz"))) == RELEASE
    with pytest.raises(FetchError, match=r"401.*credentials"):
        HTTP(f"{nginx['http']}/private/app.pyz").latest(None)


def test_what_is_missing_is_an_error(nginx: dict[str, str]) -> None:
    """And no release."""
    with pytest.raises(FetchError, match="404"):
        HTTP(f"{nginx['http']}/none").latest(None)

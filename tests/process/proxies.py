"""Reverse proxies, nginx and haproxy, that keep their connections to a server and try nothing twice."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 1
"""Seconds for which a proxy keeps an idle connection to its server: less than the server's linger."""

NGINX = """
daemon off; pid {root}/pid; error_log stderr; worker_processes 1; master_process off;
events {{ worker_connections 512; }}
http {{
    log_format asked '$upstream_status';
    access_log {root}/access asked;
    client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c;
    uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;
    upstream program {{ server 127.0.0.1:{server}; keepalive 32; keepalive_timeout {patience}s; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://program;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;
            proxy_request_buffering off;
        }}
    }}
}}
"""

HAPROXY = """
global
    maxconn 500
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    timeout http-keep-alive 20s
    retries 0
frontend callers
    bind 127.0.0.1:{port}
    default_backend program
backend program
    http-reuse always
    server one 127.0.0.1:{server} pool-purge-delay {patience}s
"""


@contextlib.contextmanager
def proxy(kind: str, server: int, root: Path) -> Iterator[int]:
    """Run a proxy before a server's port; give the port of its own."""
    program = shutil.which(kind) or shutil.which(kind, path="/usr/sbin")
    if not program:
        pytest.skip(f"{kind} is not installed, so nothing is proven behind it: make machine")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    config = root / f"{kind}.conf"
    text = {"nginx": NGINX, "haproxy": HAPROXY}[kind]
    config.write_text(text.format(root=root, port=port, server=server, patience=PATIENCE))
    nginx = [program, "-c", str(config), "-p", str(root), "-e", "stderr"]
    argv = nginx if kind == "nginx" else [program, "-db", "-f", str(config)]
    said = root / f"{kind}.log"
    with said.open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            until(lambda: process.poll() is not None or _listens(port), f"{kind} listens")
            assert process.poll() is None, said.read_text()
            yield port
        finally:
            process.send_signal(signal.SIGTERM)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def kept(port: int) -> int:
    """Count the connections that are open to a server on this port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == "01" for line in lines)

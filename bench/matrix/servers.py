"""The servers of the matrix: what each needs, how it is started, and what it is held to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HERE: Final = Path(__file__).parent
BIN: Final = os.path.dirname(sys.executable)
PROBED: Final = ("--ready-url", "http://127.0.0.1:PORT/")
EVERYTHING: Final = frozenset({"fresh", "kept", "late", "upload"})
NOT_KEPT: Final = EVERYTHING - {"kept"}
BEGUN: Final = frozenset({"upload"})
NOTHING: Final = frozenset[str]()


@dataclass(frozen=True)
class Server:
    """A server, and how it is started below `overseer run`."""

    name: str
    needs: str
    """the program that has to be installed"""
    command: Callable[[Path, int], list[str]]
    """given a folder of its own and the port"""
    options: tuple[str, ...] = ()
    least: tuple[int, ...] = ()
    """the oldest version that can do it"""
    asked: str = "--version"
    """what makes it tell its version"""
    binds: bool = False
    """it binds the port itself: it takes no descriptor, but shares the port with others by SO_REUSEPORT"""
    answers: frozenset[str] = EVERYTHING
    """kinds of clients of which no request fails; of the others it closes some that it has accepted"""


def program(name: str) -> str:
    """Return the path of a program that is installed, ours before the system's; empty where it is not."""
    return shutil.which(name, path=f"{BIN}:{os.environ['PATH']}") or ""


def _python(name: str, app: str, *words: str) -> Callable[[Path, int], list[str]]:
    return lambda _folder, _port: [program(name), *words, f"bench.matrix.app:{app}"]


def _built(compiler: str, *words: str) -> Callable[[Path, int], list[str]]:
    def build(folder: Path, _port: int) -> list[str]:
        made = str(folder / "server")
        local = {**os.environ, "GOTOOLCHAIN": "local"}
        subprocess.run([compiler, *words[:-1], "-o", made, str(HERE / words[-1])], check=True, env=local)
        return [made]

    return build


def _written(name: str, text: str, *command: str) -> Callable[[Path, int], list[str]]:
    """Write a file of configuration; in it and in the command FILE, FOLDER and PORT are put in."""

    def write(folder: Path, port: int) -> list[str]:
        told = {"FILE": str(folder / name), "FOLDER": str(folder), "PORT": str(port)}

        def fill(given: str) -> str:
            for word, meant in told.items():
                given = given.replace(word, meant)
            return given

        (folder / name).write_text(fill(text))
        return [program(command[0]) or command[0], *map(fill, command[1:])]

    return write


_NGINX: Final = """
pid FOLDER/nginx.pid; error_log FOLDER/error.log; worker_processes 1; daemon off;
events {}
http { access_log off; client_body_temp_path FOLDER; proxy_temp_path FOLDER;
fastcgi_temp_path FOLDER; uwsgi_temp_path FOLDER; scgi_temp_path FOLDER;
server { listen 127.0.0.1:PORT; location / { return 200 "hello\\n"; } } }
"""
_CADDY: Final = """
{
    admin off
    auto_https off
    persist_config off
}
http:// {
    bind fd/3
    respond "hello"
}
"""
_HAPROXY: Final = """
global
    tune.bufsize 32768
defaults
    mode http
    timeout client 60s
frontend web
    bind fd@3
    option http-buffer-request
    http-request return status 200 content-type text/plain string "hello"
"""
_PUMA: Final = "run ->(env) { env['rack.input'].read; [200, {}, ['hello']] }\n"

_GTHREAD: Final = ("-k", "gthread", "--threads", "16")
_UWSGI: Final = (
    "--plugin",
    "python3",
    "--master",
    "--need-app",
    "--threads",
    "16",
    "--socket-protocol",
    "http",
    "--module",
)
_UWSGI_ENDS: Final = ("--hook-master-start", "unix_signal:15 gracefully_kill_them_all")
_GRANIAN: Final = ("--interface", "asgi", "--port", "PORT", "bench.matrix.app:asgi")

SERVERS: Final = (
    Server("gunicorn gthread", "gunicorn", _python("gunicorn", "wsgi", *_GTHREAD)),
    Server("gunicorn sync", "gunicorn", _python("gunicorn", "wsgi", "-w", "4")),
    Server("uWSGI", "uwsgi", _python("uwsgi", "wsgi", *_UWSGI_ENDS, *_UWSGI)),
    Server("hypercorn", "hypercorn", _python("hypercorn", "asgi", "-b", "fd://{fd}"), answers=NOTHING),
    Server(
        "uvicorn",
        "uvicorn",
        _python("uvicorn", "asgi", "--log-level", "warning", "--fd", "{fd}"),
        answers=NOTHING,
    ),
    Server("daphne", "daphne", _python("daphne", "asgi", "--fd", "{fd}"), answers=NOTHING),
    Server(
        "granian",
        "granian",
        _written("unused", "", "granian", *_GRANIAN),
        PROBED,
        binds=True,
        answers=NOTHING,
    ),
    Server(
        "Puma",
        "puma",
        _written("app.ru", _PUMA, "puma", "-t", "32:32", "-b", "tcp://127.0.0.1:PORT", "FILE"),
        answers=BEGUN,
    ),
    Server("Node", "node", lambda _folder, _port: ["node", str(HERE / "server.js")], answers=NOT_KEPT),
    Server("Go, net/http", "go", _built("go", "build", "server.go"), asked="version", answers=NOT_KEPT),
    Server("Rust, threads", "rustc", _built("rustc", "-O", "server.rs")),
    Server("C, threads", "gcc", _built("gcc", "-O2", "-pthread", "server.c")),
    Server(
        "Caddy",
        "caddy",
        _written("Caddyfile", _CADDY, "caddy", "run", "--config", "FILE", "--adapter", "caddyfile"),
        least=(2, 9),
        asked="version",
        answers=BEGUN,
    ),
    Server(
        "HAProxy",
        "haproxy",
        _written("haproxy.cfg", _HAPROXY, "haproxy", "-db", "-f", "FILE"),
        ("--drain-signal", "USR1"),
        asked="-v",
        answers=NOT_KEPT,
    ),
    Server(  # with NGINX= it takes descriptors that it inherits, as it does in an upgrade of its own
        "nginx",
        "nginx",
        _written("nginx.conf", _NGINX, "env", "NGINX=3;", "nginx", "-c", "FILE"),
        ("--drain-signal", "QUIT"),
        asked="-v",
        answers=NOT_KEPT,
    ),
)


def missing(server: Server) -> str:
    """Say what is not installed; empty when all is there."""
    if not program(server.needs):
        return f"{server.needs} is not installed"
    version = version_of(server)
    if server.least and tuple(map(int, version.split("."))) < server.least:
        return f"{server.needs} {version} takes no descriptor; {'.'.join(map(str, server.least))} does"
    return ""


def version_of(server: Server) -> str:
    """Return the version of what is installed; empty where it does not tell."""
    try:
        return metadata.version(server.needs)
    except metadata.PackageNotFoundError:
        command = [program(server.needs), server.asked]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        return found[0] if found else ""

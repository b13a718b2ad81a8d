"""Whom the bench compares: how each server is started, and how its operator restarts it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.master.running import until
from overseer.serve import _ASGI

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.serve.running import Running

    Restart = Callable[[Running, Callable[[], object]], None]

ROOT: Final = Path(__file__).resolve().parents[2]
BIN: Final = os.path.dirname(sys.executable)
UPLOADS: Final = "/upload"
"""The path of uploads: nginx reads a body only where it hands it on."""
LINGER: Final = 0.5
"""Seconds that a silent connection may stay with ours while its generation drains."""
_UWSGI_PYTHON: Final = "/usr/lib/uwsgi/plugins/python3_plugin.so"


_CHAIN_ENDS: Final = "chain reloading complete"


def _by_hup(running: Running, _heard: Callable[[], object]) -> None:
    """As most of them want it."""
    running.signal(signal.SIGHUP)


def _by_signal(running: Running, _heard: Callable[[], object]) -> None:
    """As ours want it: a command would cost the machine the start of another interpreter."""
    running.signal(signal.SIGUSR2)


def _by_usr2(running: Running, heard: Callable[[], object]) -> None:
    """As gunicorn's manual has it: another master beside this one, and when it serves, TERM for this one."""
    name, beside = running.folder / "pid", running.folder / "pid.2"
    running.signal(signal.SIGUSR2)
    until(beside.exists, "gunicorn starts another master", every=0.02)
    heard()
    old, running.pid = running.pid, int(beside.read_text())
    os.kill(old, signal.SIGTERM)
    until(lambda: name.exists() and name.read_text() == f"{running.pid}\n", "it takes the name", every=0.02)


def _by_chain(running: Running, _heard: Callable[[], object]) -> None:
    """As uWSGI's manual has it: one worker after the other, each when the one before serves."""
    before = running.said(_CHAIN_ENDS)
    (running.folder / "fifo").write_text("c")
    until(lambda: running.said(_CHAIN_ENDS) > before, "the chain reaches its end", every=0.02)


@dataclass(frozen=True)
class Subject:
    """A server: how it is started, and how its operator restarts it."""

    name: str
    needs: str
    """a program or file that has to be there"""
    command: Callable[[Path, int], list[str]]
    """given a folder of its own and the port"""
    restart: Restart | None = _by_hup
    """given what waits until somebody new has answered; it may return before that. None: nobody restarts it,
    and what it does in the time that a restart would take says what a ratio is worth on this machine"""
    ours: bool = False
    without: tuple[str, ...] = ()
    """clients that it answers not even when nobody restarts it; they are not sent"""
    software: str = ""
    """whose version is told; empty: of what it needs"""

    @property
    def missing(self) -> str:
        """What is not installed of it; empty when all is there."""
        found = shutil.which(self.needs, path=f"{BIN}:{os.environ['PATH']}") or os.path.exists(self.needs)
        return "" if found else f"{self.needs} is not installed"


def _ours(name: str, adapter: str, software: str, needs: str = "", *, alone: bool = False) -> Subject:
    words = [sys.executable, str(ROOT / "bench" / "serve" / "program.py"), adapter]
    return Subject(
        name,
        needs or software,
        lambda _, port: [*words, str(port), str(LINGER)],
        None if alone else _by_signal,
        ours=True,
        software=software,
    )


def _gunicorn(folder: Path, port: int) -> list[str]:
    words = ["-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "16", "-p", str(folder / "pid")]
    return [f"{BIN}/gunicorn", *words, "bench.matrix.app:wsgi"]


def _uvicorn(_folder: Path, port: int) -> list[str]:
    words = ["--workers", "2", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    return [f"{BIN}/uvicorn", *words, "bench.matrix.app:asgi"]


def _hypercorn(_folder: Path, port: int) -> list[str]:
    return [f"{BIN}/hypercorn", "-w", "2", "-b", f"127.0.0.1:{port}", "bench.matrix.app:asgi"]


def _granian(_folder: Path, port: int) -> list[str]:
    words = ["--interface", "asgi", "--workers", "2", "--port", str(port), "--log-level", "warning"]
    return [f"{BIN}/granian", *words, "bench.matrix.app:asgi"]


def _starter(_folder: Path, port: int) -> list[str]:
    """Its worker finds the listener's descriptor as PORT=FD; it is told to leave 2 s after the next began."""
    words = ["--port", f"127.0.0.1:{port}", "--kill-old-delay", "2"]
    serve = (
        f'exec {BIN}/uvicorn --fd "${{SERVER_STARTER_PORT##*=}}" --log-level warning bench.matrix.app:asgi'
    )
    return [shutil.which("start_server") or "start_server", *words, "--", "sh", "-c", serve]


def _uwsgi(folder: Path, port: int) -> list[str]:
    words = [
        "--master",
        "--die-on-term",
        "--master-fifo",
        str(folder / "fifo"),
        "--lazy-apps",
        "--disable-logging",
    ]
    words += ["--http", f"127.0.0.1:{port}", "--http-keepalive", "--processes", "2", "--threads", "8"]
    return ["uwsgi", "--plugin", "http,python3", *words, "--wsgi", "bench.matrix.app:wsgi"]


def _uwsgi_by(name: str, restart: Restart) -> Subject:
    """Of requests that are sent at once its HTTP router answers the first."""
    return Subject(
        f"uWSGI, 2 workers, {name}", _UWSGI_PYTHON, _uwsgi, restart, without=("pipeline",), software="uwsgi"
    )


def _nginx(folder: Path, port: int) -> list[str]:
    """Without a program behind it. An upload is read to its end and handed on, to itself."""
    temp = "".join(
        f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    inner = f"unix:{folder}/inner"
    answer = 'add_header X-Generation $pid; return 200 "hello\\n";'
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; daemon off; events {{}}\n"
        f"http {{ access_log off; {temp}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ {answer} }}\n"
        f"location {UPLOADS} {{ proxy_pass http://{inner}:/; }} }}\n"
        f"server {{ listen {inner}; location / {{ {answer} }} }} }}\n"
    )
    return [shutil.which("nginx") or "nginx", "-c", str(folder / "nginx.conf")]


_BESIDE: Final = [
    _ours(f"overseer.serve.asgi, {server}", server, server)
    for server in ("hypercorn", "granian")
    if server in _ASGI
]

SUBJECTS: Final = (
    _ours("overseer.serve.asgi", "uvicorn", "uvicorn"),
    *_BESIDE,
    _ours("overseer.serve.wsgi", "wsgi", "cheroot"),
    _ours("overseer.serve.aiohttp", "aiohttp", "aiohttp", needs="overseer"),
    _ours("overseer.serve.asgi, left alone", "uvicorn", "uvicorn", alone=True),
    _ours("overseer.serve.wsgi, left alone", "wsgi", "cheroot", alone=True),
    Subject("gunicorn gthread, USR2 and TERM", "gunicorn", _gunicorn, _by_usr2),
    Subject("gunicorn gthread, HUP", "gunicorn", _gunicorn),
    Subject("uvicorn --workers 2, HUP", "uvicorn", _uvicorn),
    Subject("Server::Starter, uvicorn, HUP", "start_server", _starter),
    Subject("hypercorn -w 2, HUP", "hypercorn", _hypercorn),
    Subject("granian, 2 workers, HUP", "granian", _granian),
    _uwsgi_by("chain reload", _by_chain),
    _uwsgi_by("HUP", _by_hup),
    Subject("nginx reload", "nginx", _nginx),
)


def chosen(names: list[str]) -> list[Subject]:
    """Return those that are named, whole or by a part of their name; all when nobody is.

    Raises:
        ValueError: for a name that nobody has.

    """
    if not names:
        return list(SUBJECTS)
    found: set[str] = set()
    for name in names:
        known = [subject.name for subject in SUBJECTS]
        of_it = [name] if name in known else [each for each in known if name in each]
        if not of_it:
            raise ValueError(f"nobody is called {name!r}: there are {'; '.join(known)}")
        found.update(of_it)
    return [subject for subject in SUBJECTS if subject.name in found]

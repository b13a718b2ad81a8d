"""Programs of the pages, run as what they are: real processes that serve, restart and upgrade themselves."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from overseer.updater.check import check
from tests.docs.places import Places, listened_on
from tests.docs.source import Source
from tests.process.service import Service, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.docs.blocks import Block

DEADLINE = 60.0
"""Seconds a snippet may take."""

_SHIM = """
import os, socket, sys
sock = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": sys.argv[2]}
os.execv(sys.argv[3], sys.argv[3:])
"""
"""A service manager of five lines: it gives one listening socket, by the protocol of sd_listen_fds(3)."""


def is_program(text: str) -> bool:
    """Whether a block is a whole program, not a snippet."""
    return "overseer.run(" in text


def run_snippet(text: str, folder: Path) -> None:
    """Run some Python to its end, which has to be a good one."""
    command = [sys.executable, "-W", "error", "-c", Places(folder).program(text)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr


def nature(text: str) -> dict[str, str]:
    """Say what a program has to do when its author has said nothing about it."""
    listens = bool(re.search(r"\baddress(es)?=", text))
    fetches, stays = "fetcher=" in text, "no_restart=True" in text
    wants = {
        "serves": listens,
        "prints": not listens and "print(" in text,
        "restarts": not stays,
        "upgrades": fetches and not stays,
        "installs": fetches and stays,
        "workers": bool(re.search(r"\bworkers=", text)),
        "alone": "sequential" in text,
    }
    return {word: "" for word, wanted in wants.items() if wanted}


def run_program(block: Block, folder: Path) -> None:
    """Run a program and verify what its page wants, or its nature, one wish after the other."""
    wants: Mapping[str, str] = {w: v for w, v in block.wants.items() if w not in ("file", "page")}
    wants = wants or nature(block.text)
    with Source() as source:
        text = Places(folder, source.port).program(block.text)
        if "checks" in wants:
            _check(text, folder)
            return
        with _start(text, folder) as app:
            _verify(app, text, wants, source)


@contextlib.contextmanager
def _start(text: str, folder: Path) -> Iterator[Service]:
    activated = re.search(r"""["']fd:([\w.-]+)["']""", text)
    prefix: list[str] = []
    if activated:
        prefix = [sys.executable, "-c", _SHIM, str(Places(folder).port("0")), activated[1]]
    with Service(folder, text, address="", prefix=prefix) as app:
        yield app


def _check(text: str, folder: Path) -> None:
    """Have it answer the check of a staged release: every option is looked at, and nothing is started."""
    (folder / "app.py").write_text(text)
    check([sys.executable, str(folder / "app.py")], environ={"PYTHONDONTWRITEBYTECODE": "1"})


def _verify(app: Service, text: str, wants: Mapping[str, str], source: Source) -> None:
    if "exits" in wants:
        assert app.wait() == int(wants["exits"]), app.log
        return
    app.serves(1)
    served = 1
    if "serves" in wants:
        _answered(app, text)
    if "says" in wants:
        app.logged(re.escape(wants["says"])) if wants["says"] not in app.out else None
    if "prints" in wants:
        until(lambda: app.out, "it prints something")
    if "workers" in wants:
        asked = int(re.findall(r"workers=(\d+)", text)[0])
        assert len(app.pids(1)) == asked
    if "restarts" in wants:
        before = app.pids(1)
        app.signal(signal.SIGUSR2)
        app.serves(2)
        served = 2
        assert not set(before) & set(app.pids(2))
        if "serves" in wants:
            _answered(app, text)
    if "alone" in wants:
        left, starts = app.log.find("generation 1 (pid"), app.log.find("generation 2 starts")
        assert 0 <= left < starts, f"generation 1 has to leave before generation 2 starts\n{app.log}"
    if "upgrades" in wants:
        _offer(app, text, source)
        released = app.app.read_text() + "\n# the next release\n"
        digest = hashlib.sha256(released.encode()).hexdigest()
        app.serves(served + 1)
        found = app.status()["generations"][-1]["release"]
        assert found == digest, app.log
        if "serves" in wants:
            _answered(app, text)
    if "installs" in wants:
        _installs(app, text, source)
        return
    app.signal(signal.SIGTERM)
    assert app.wait() == 0, app.log


def _offer(app: Service, text: str, source: Source) -> str:
    """Put the next release where the program looks for it; return its digest."""
    release = (app.app.read_text() + "\n# the next release\n").encode()
    watched = re.search(r"""fetcher\.File\(["']([^"']+)["']""", text)
    if watched:
        fresh = app.folder / "next.tmp"
        fresh.write_bytes(release)
        fresh.replace(app.folder / watched[1])
    elif "fetcher.HTTP(" in text:
        source.release = release
        until(lambda: source.asked, "it asks for a release")
        assert not [path for path in source.asked if "{" in path], source.asked
    else:
        raise AssertionError("this source cannot be given a release here; verify the program with: checks")
    return hashlib.sha256(release).hexdigest()


def _installs(app: Service, text: str, source: Source) -> None:
    """A release is taken at the next start, and not before."""
    digest = _offer(app, text, source)
    until(lambda: hashlib.sha256(app.app.read_bytes()).hexdigest() == digest, "the release is installed")
    assert len(app.status()["generations"]) == 1
    app.signal(signal.SIGTERM)
    assert app.wait() == 0, app.log
    command = [sys.executable, str(app.app)]
    before = app.out
    with (app.folder / "stdout").open("ab") as out, (app.folder / "stderr").open("ab") as err:
        environ = {**os.environ, "RUNTIME_DIRECTORY": str(app.run_folder)}
        app.process = subprocess.Popen(
            command, cwd=app.folder, env=environ, stdout=out, stderr=err, start_new_session=True
        )
    app.serves(1)
    assert app.status()["generations"][0]["release"] == digest, app.log
    until(lambda: digest[:12] in app.out[len(before) :] or "id[:12]" not in text, "it says so")


def _answered(app: Service, text: str) -> None:
    """Knock at every address of the program; each has to answer something."""
    places = listened_on(text) or [("tcp", "127.0.0.1", port) for port in app.ports()]
    assert places, "it listens nowhere"
    for kind, where, port in places:
        assert _ask(kind, where, port), (kind, where, port, app.log)


def _ask(kind: str, where: str, port: int) -> bytes:
    if kind == "udp":
        family = socket.AF_INET6 if ":" in where else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as caller:
            caller.settimeout(DEADLINE)
            caller.sendto(b"hello", (where, port))
            return caller.recv(1000)
    caller = socket.socket(socket.AF_UNIX) if kind == "unix" else socket.create_connection((where, port))
    with caller:
        caller.settimeout(DEADLINE)
        if kind == "unix":
            caller.connect(where)
        caller.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return caller.recv(1000)

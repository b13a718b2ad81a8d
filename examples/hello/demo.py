"""The story of the original's example, live: three builds, one PID, a load that never notices.

    python -m examples.hello.demo

BUILT and RUNNING come from here, all else from the builds themselves and from overseer. A slow request is
begun with build 1 and build 2; each of them stays until its own is answered.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.load import Fresh, Late, LoadProcess, Plan

from examples.hello.app import say

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
BUILDS = ("1", "2", "3", "4")
RATE = 200.0  # requests a second
SLOW = 4.0  # seconds that a slow request takes
PATIENCE = 30.0  # seconds until a fact that does not come is a failure


def build(number: str, target: Path) -> None:
    """Make a build: the same program with another number in it."""
    text = (HERE / "app.py").read_text().replace('BUILD_ID = "0"', f'BUILD_ID = "{number}"')
    fresh = target.with_suffix(".tmp")
    fresh.write_text(text)
    fresh.replace(target)
    say(f"BUILT APP ({number})")


def ask(port: int, seconds: float = 0) -> str:
    """Ask once and return the answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?d={seconds}", timeout=PATIENCE) as answer:
        text: str = answer.read().decode().strip()
        return text


def until(fact: Callable[[], bool], what: str) -> None:
    """Wait until `fact()`, and fail with `what` after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not fact():
        if time.monotonic() > deadline:
            raise SystemExit(f"demo: not within {PATIENCE:g} s: {what}")
        time.sleep(0.02)


def answers(port: int, number: str) -> bool:
    """Tell whether this build answers already."""
    try:
        return ask(port).startswith(f"app#{number} ")
    except OSError:
        return False


def is_published(app: Path, number: str) -> bool:
    """Tell whether the public file is this build."""
    return f'BUILD_ID = "{number}"\n' in app.read_text()


def free_port() -> int:
    """Find a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main() -> int:
    """Tell the story; return 0 when no request failed and every build did its part."""
    folder = Path(tempfile.mkdtemp(prefix="overseer-demo-"))
    port = free_port()
    build(BUILDS[0], folder / "app.py")
    say("RUNNING APP")
    command = [sys.executable, "app.py", f"127.0.0.1:{port}"]
    app = subprocess.Popen(command, cwd=folder)
    slow: list[threading.Thread] = []
    try:
        return tell(folder, port, app, slow)
    finally:
        if app.poll() is None:
            app.kill()
        app.wait()
        shutil.rmtree(folder)


def tell(folder: Path, port: int, app: subprocess.Popen[bytes], slow: list[threading.Thread]) -> int:
    """Upgrade three times under load, with a slow request open each time."""

    def ask_slowly() -> None:
        say(ask(port, SLOW))

    until(partial(answers, port, BUILDS[0]), "the first build serves")
    plan = Plan(kinds=(Fresh(rate=RATE), Late(rate=RATE / 10)), seconds=None)
    with LoadProcess(f"http://127.0.0.1:{port}", plan) as load:
        load.wait_started()
        for number in BUILDS[1:]:
            slow.append(threading.Thread(target=ask_slowly))
            slow[-1].start()
            say(ask(port))
            build(number, folder / "app_next.py")
            until(partial(answers, port, number), f"build {number} serves")
            until(partial(is_published, folder / "app.py", number), f"build {number} is current")
        say(ask(port))
        for request in slow:
            request.join()
        report = load.stop()
    app.send_signal(signal.SIGTERM)
    status = app.wait(PATIENCE)
    generations = ", ".join(f"{g.answers} by app#{name}" for name, g in sorted(report.generations.items()))
    print(f"{report.sent} requests under load: {generations}; {report.failed} failed; one PID, {app.pid}")
    for failure in report.failures:
        print(f"  {failure}")
    return 1 if report.failed or status else 0


if __name__ == "__main__":
    sys.exit(main())

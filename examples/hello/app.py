"""A program that says hello, restarts without being noticed, and upgrades itself from a file beside it.

    app.py ADDRESS

Every request is answered with the build that took it, after as long as it asks for: /?d=5 takes 5 seconds.
"""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import overseer
from overseer import fetcher

BUILD_ID = "0"


def say(line: str) -> None:
    """Print a line in one write: generations share the terminal, and may tell at the same time."""
    print(f"{line}\n", end="", flush=True)


def program(state: overseer.State) -> None:
    """Serve until it is time to leave, then finish what is open."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wait = float(parse_qs(urlsplit(self.path).query).get("d", ["0"])[0])
            threading.Event().wait(wait)
            answer = f"app#{BUILD_ID} ({state.id[:12]}) says hello\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.send_header("X-Generation", BUILD_ID)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Leave the terminal to the story."""

    server = ThreadingHTTPServer(("", 0), Hello, bind_and_activate=False)
    server.daemon_threads = False
    server.socket = state.listener
    state.on_drain(server.shutdown)
    say(f"app#{BUILD_ID} ({state.id[:12]}) listening...")
    server.serve_forever(poll_interval=0.05)
    server.server_close()  # waits for the requests that are open
    say(f"app#{BUILD_ID} ({state.id[:12]}) exiting...")


if __name__ == "__main__":
    overseer.run(
        program,
        address=sys.argv[1] if len(sys.argv) > 1 else ":5001",
        fetcher=fetcher.File("app_next.py"),
        trust=overseer.Unsigned(),
        probation=1.0,
        version=BUILD_ID,
    )

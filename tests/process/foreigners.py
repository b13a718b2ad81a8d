"""A program that has never heard of overseer: it takes its sockets and talks as under systemd."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

SERVER = """
import os, signal, socket, sys, threading

generation, worker, *words = sys.argv[1:]
assert os.environ["LISTEN_PID"] == str(os.getpid())
assert len(os.environ["LISTEN_FDNAMES"].split(":")) == int(os.environ["LISTEN_FDS"])
assert not [name for name in os.environ if name.startswith("OVERSEER")]

def notify(text, *fds):
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mail:
        mail.connect(address.replace("@", chr(0), 1))
        socket.send_fds(mail, [text.encode()], fds) if fds else mail.send(text.encode())

def serve(connection):
    with connection:
        connection.settimeout(60)
        asked = connection.recv(1000).split()
        if asked[:1] == [b"hold"]:
            connection.sendall(b"held\\n")
            connection.recv(1000)
        if asked[:1] == [b"notify"]:
            notify(asked[1].decode())
        connection.sendall(f"{generation} {worker} {os.getpid()}\\n".encode())

left = threading.Event()
reader, writer = socket.socketpair()

def leave(number, frame):
    print(f"leaves {generation} {number}", flush=True)
    left.set()
    writer.send(b"!")

for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGQUIT):
    signal.signal(number, leave)

def program():
    import selectors
    with selectors.DefaultSelector() as wait:
        listener = socket.socket(fileno=3)
        wait.register(listener, selectors.EVENT_READ)
        wait.register(reader, selectors.EVENT_READ)
        threads = []
        while not left.is_set():
            for key, _ in wait.select():
                if key.fileobj is listener:
                    try:
                        connection, _ = listener.accept()
                    except BlockingIOError:
                        continue
                    threads.append(threading.Thread(target=serve, args=(connection,)))
                    threads[-1].start()
    for thread in threads:
        thread.join()

BODY
"""
"""Answers each connection with its generation, worker and pid, as `service.ECHO` does."""

QUIET = "program()"
NOTIFYING = "notify('READY=1')\nprogram()"


def foreign(
    service: Callable[..., Service],
    *options: str,
    body: str = QUIET,
    address: str = "127.0.0.1:0",
    **rest: Any,
) -> Service:
    """Start SERVER below `overseer run` with these options; BODY is what it does."""
    end = options.index("--") if "--" in options else len(options)
    words = options[end + 1 :]
    command = ["-m", "overseer", "run", "--address", address, *options[:end], "--"]
    command += [sys.executable, "app.py", "{generation}", "{worker}", *words]
    return service(SERVER.replace("BODY", body), command=command, **rest)


def written(body: str) -> str:
    """Return the source of SERVER with another BODY, for the next generation."""
    return SERVER.replace("BODY", body)

"""Descriptors in the master's store: kept, handed over, given back, and not kept for ever."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tests.process.foreigners import foreign
from tests.process.service import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

CHAT = Path(__file__).parents[2] / "examples" / "chat" / "app.py"

KEEPER = """
import os, socket, threading
import overseer

def tell(line):
    print(line + "\\n", end="", flush=True)  # in one write: two threads tell

def program(state):
    state.on_stored(lambda s: tell(f"has {state.generation} {s.name} {s.data.decode()}"))
    if state.generation == 1:
        near, far = socket.socketpair()
        assert state.store(near, "pair", b"first")
        assert state.store(near, "pair", b"again")
        near.close()
        program.far = far
    tell(f"begun {state.generation} {state.worker} {os.getpid()}")
    state.ready()
    BODY

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""


def keeper(body: str = "state.draining.wait()") -> str:
    """Return a program whose first generation stores one end of a pair."""
    return KEEPER.replace("BODY", body)


def remembering(body: str = "state.draining.wait()") -> str:
    """Return a program whose first generation stores memory, which has no other side."""
    memory = keeper(body).replace("socket.socketpair()", "os.memfd_create('memory'), 0")
    return memory.replace("near.close()", "os.close(near)")


def test_a_chat_lives_across_ten_upgrades(service: Callable[..., Service]) -> None:
    """Every line of everybody reaches everybody, half a line included, over one connection each."""
    app = service(CHAT.read_text(), args=["127.0.0.1:0"]).serves()
    people = [socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) for _ in range(5)]
    files = [person.makefile() for person in people]
    names = [file.readline().split()[3].rstrip(";") for file in files]
    for at in range(10):
        people[0].sendall(b"half a line ")
        for speaker in people[1:]:
            speaker.sendall(f"before {at}\n".encode())
        app.write(CHAT.read_text().replace("{len(self.members)} are here", f"build {at}"))
        assert app.restart() == at + 2
        people[0].sendall(f"and the rest {at}\n".encode())
        wanted = {f"{name}: before {at}\n" for name in names[1:]} | {
            f"{names[0]}: half a line and the rest {at}\n"
        }
        for file in files:
            assert {file.readline() for _ in wanted} == wanted
        if at == 4:
            assert app.ask("reexec")["outcome"] == "done"
    until(lambda: app.status()["stored"] == 0, "nobody is left in the store")
    people.append(socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE))
    assert people[-1].makefile().readline().endswith("build 9\n"), "each was another build"
    for person in people:
        person.close()
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


def test_what_is_stored_goes_to_the_next_when_its_owner_drains(service: Callable[..., Service]) -> None:
    """With its name and the last data, through a new master; and to the one after, until it is taken back."""
    app = service(remembering(), handover="sequential").serves()
    until(lambda: app.status()["stored"] == 1, "it is stored once")
    assert app.ask("reexec")["outcome"] == "done"
    assert app.restart() == 2
    assert "has 1" not in app.out
    app.said("has 2 pair again")
    app.write(remembering("state.unstore('pair'); state.draining.wait()"))
    assert app.restart() == 3
    app.said("has 3 pair again")
    until(lambda: app.status()["stored"] == 0, "it was taken back")


def test_what_the_other_side_has_left_is_not_kept(service: Callable[..., Service]) -> None:
    """A connection whose client has gone is of no use to anybody."""
    app = service(keeper("program.far.close(); state.draining.wait()")).serves()
    app.said("begun 1")
    until(lambda: app.status()["stored"] == 0, "it is closed")


def test_a_crash_does_not_lose_what_is_stored(service: Callable[..., Service]) -> None:
    """What a worker that was killed had stored goes to one of the others."""
    app = service(remembering().replace("state.generation == 1", "state.worker == 1"), workers=2).serves()
    until(lambda: app.status()["stored"] == 1, "it is stored")
    (owner,) = app.said(r"begun 1 1 (\d+)")
    app.said("begun 1 2")
    os.kill(int(owner), signal.SIGKILL)
    app.said("has 1 pair again")


FOREIGN = """
import socket
names = os.environ["LISTEN_FDNAMES"].split(":")
print("names", generation, *names[1:], flush=True)
if generation == "1":
    fd = os.memfd_create("state")
    os.write(fd, b"remembered")
    notify("FDSTORE=1\\nFDNAME=memory", fd)
    notify("FDSTORE=1\\nFDNAME=memory", fd)
    near, far = socket.socketpair()
    notify("FDSTORE=1\\nFDNAME=gone", near.fileno())
    near.close()
    far.close()
else:
    print("reads", os.pread(4, 100, 0).decode(), flush=True)
if generation == "2":
    notify("FDSTOREREMOVE=1\\nFDNAME=memory")
notify("READY=1")
program()
"""


def test_a_foreign_program_gets_its_descriptors_back(service: Callable[..., Service]) -> None:
    """After its listeners, by their names, through a new master; what hung up and what it removed is gone."""
    app = foreign(service, "--ready", "notify", body=FOREIGN).serves()
    until(lambda: app.status()["stored"] == 1, "the memory is kept once, the socket that hung up is not")
    assert app.ask("reexec")["outcome"] == "done"
    app.restart()
    app.said("names 2 memory\nreads remembered")
    until(lambda: app.status()["stored"] == 0, "it was removed")
    app.write((app.folder / "app.py").read_text().replace("else:", "elif generation == '2':"))
    app.restart()
    app.said("names 3\n")


def test_more_than_the_store_holds_is_refused_and_said(service: Callable[..., Service]) -> None:
    """The master keeps within its limits, and the program goes on."""
    body = """
for at in range(120):
    fd = os.memfd_create("state")
    notify(f"FDSTORE=1\\nFDNAME=m{at}", fd)
    os.close(fd)
notify("READY=1")
program()
"""
    prefix = ["prlimit", "--nofile=200", "--"]
    app = foreign(service, "--ready", "notify", body=body, prefix=prefix).serves()
    app.logged(r"stored 'm100', which is not kept: the store is full, with 100 descriptors")
    assert app.status()["stored"] == 100
    assert app.knock()[0] == 1

"""Servers whose next generation does not start, under load: no client notices, and the log has the reason."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from bench.load import Fresh, Kept, LoadProcess, Plan

from tests.process.service import until
from tests.process.test_serve_grpc import GRPC, Caller
from tests.process.test_serve_handing import SERVERS, made
from tests.process.test_serve_starting import has_lived

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.process.service import Service

SOURCES = {**SERVERS, "grpc": GRPC}
BEGINS = "    program.generation = state.generation\n"
"""Where a program has begun, and has not called its server yet."""
WAITS = "    import os, time\n    while not os.path.exists('go'): time.sleep(0.01)\n"


@dataclass(frozen=True)
class Fault:
    """A way not to start: where it is put, what the log says of it, and the status of the process.

    What it says and its status are regular expressions. Whether there is a traceback may be left open.
    """

    old: str
    new: str
    told: str
    status: str = "1"
    traceback: bool | None = True


NO_MODULE = Fault("import overseer\n", "import overseer, no_such_module\n", "ModuleNotFoundError: No module")
NO_DATABASE = Fault(BEGINS, f"{BEGINS}    raise RuntimeError('no database')\n", "RuntimeError: no database")
LATE = Fault(BEGINS, f"{BEGINS}{WAITS}    raise RuntimeError('no database')\n", "RuntimeError: no database")


def refused(option: str, told: str) -> Fault:
    """Return a mistake in the call of a server, which is told in one line."""
    call = "linger=1"
    return Fault(call, f"{call}, {option}", rf"overseer: error: {told}", status="78", traceback=False)


def without_a_start(status: str, *, traceback: bool | None) -> Fault:
    """Return an application of ASGI that says in its lifespan that it does not start."""
    failed = (
        "            await send({'type': told + '.failed', 'message': 'no database'})\n            return\n"
    )
    return Fault(
        '            await send({"type": told + ".complete"})\n', failed, "no database", status, traceback
    )


def unreadable(name: str) -> Fault:
    """Return a certificate that is not there."""
    return refused(f"{name}certfile='none.pem', {name}keyfile='x'", f"{name}certfile: cannot .*none.pem")


def broken(name: str) -> Fault:
    """Return a certificate that is none."""
    wrong = f"{name}certfile=__file__, {name}keyfile=__file__"
    return refused(wrong, f"{name}certfile: .*app.py cannot be used with the key in .*app.py: ")


NO_APP = Fault(
    "(app, state", "('app:app', state", "error: app: is no application, but 'app:app'", "78", traceback=False
)
UVICORN = (
    without_a_start("3", traceback=False),
    Fault("(app, state", "('no_such:app', state", "Could not import module", "[13]", traceback=False),
    refused("port=80", "port: is overseer's"),
    refused("prot='h11'", "prot: is no option of uvicorn.Config"),
    unreadable("ssl_"),
    broken("ssl_"),
)
FAULTS = {
    "asgi": UVICORN,
    "uvloop": UVICORN,
    "hypercorn": (
        without_a_start("3", traceback=False),
        NO_APP,
        refused("bind='127.0.0.1:80'", "bind: is overseer's"),
        unreadable(""),
        broken(""),
    ),
    "granian": (
        without_a_start("3", traceback=False),
        NO_APP,
        refused("port=80", "port: is overseer's"),
        refused("ssl_cert='none.pem', ssl_key='x'", "ssl_cert: cannot .*none.pem"),
        refused("ssl_cert=__file__", "ssl_cert: .*app.py cannot be used with the key in .*app.py: "),
    ),
    "wsgi": (NO_APP, refused("bind_addr=0", "bind_addr: is no option"), unreadable("ssl_"), broken("ssl_")),
    "aiohttp": (
        Fault(
            '    print("started", flush=True)\n', "    raise ValueError('no cache')\n", "ValueError: no cache"
        ),
        Fault(
            "(app, state", "(app.router, state", "app: is no aiohttp.web.Application", "78", traceback=False
        ),
        refused("port=80", "port: is overseer's"),
        refused("keepalive=3", "keepalive: is no option of aiohttp.web.AppRunner"),
    ),
    "http.server": (
        Fault("linger=1", "linger=1, port=80", "TypeError: socketserver.. got an unexpected keyword"),
    ),
    "grpc": (Fault("linger=1", "linger=1, port=80", "TypeError: grpc.. got an unexpected keyword"),),
}


@contextlib.contextmanager
def clients(app: Service, source: str) -> Iterator[Callable[[], int]]:
    """Have clients ask anew and on connections that they keep; hand out how many were answered last."""
    if source is GRPC:
        caller = Caller(app.port, [0.005, 0.02, 0.1])
        try:
            yield lambda: caller.newest
        finally:
            caller.end()
        assert caller.failures == []
        return
    kinds = (Fresh(rate=60), Kept(rate=60, connections=20, pause=(0.0, 1.0)))
    plan = Plan(kinds=kinds, seconds=None, timeout=30, generation_body=r"^(\d+) ")
    with LoadProcess(f"http://127.0.0.1:{app.port}", plan) as load:
        load.wait_started()
        yield lambda: max((int(each) for each in load.generations), default=0)
        report = load.stop()
    assert report.failed == 0, report


@pytest.mark.long
@pytest.mark.parametrize("name", SOURCES)
def test_no_client_notices_a_start_that_fails(service: Callable[..., Service], name: str) -> None:
    """However it does; where it is a mistake in the call of the server, one line says which."""
    source = SOURCES[name]
    good = made(source, 1)
    app = service(good, ready_after=0.05).serves()
    with clients(app, source) as newest:
        until(lambda: newest() == 1, "they are answered")
        for fault in (NO_MODULE, NO_DATABASE, *FAULTS[name]):
            assert fault.old in good, fault
            app.write(good.replace(fault.old, fault.new))
            before = len(app.log)
            answer = app.ask("restart")
            told = app.log[before:]
            ended = rf"ended before it was ready \(exit status {fault.status}\)"
            assert re.fullmatch(ended, answer["detail"]), told
            assert re.search(fault.told, told), told
            assert fault.traceback in (None, "Traceback" in told), told
        assert newest() == 1
        app.write(good)
        number = app.restart()
        until(lambda: newest() == number, "the next good one answers")


@pytest.mark.long
@pytest.mark.parametrize("name", SOURCES)
def test_no_client_notices_a_start_that_takes_long(service: Callable[..., Service], name: str) -> None:
    """The program takes its time before it calls the server; whether it fails then or not."""
    source = SOURCES[name]
    good = made(source, 1)
    app = service(good, ready_after=0.05).serves()
    go = app.folder / "go"
    with clients(app, source) as newest:
        for late, outcome in ((LATE.new, "failed"), (BEGINS + WAITS, "done")):
            go.unlink(missing_ok=True)
            app.write(good.replace(BEGINS, late))
            with app.call() as caller:
                caller.sendall(b'{"type": "restart"}\n')
                until(lambda: has_lived(app, 3), "the next one has begun and lives")
                assert [g["phase"] for g in app.status()["generations"]] == ["serving", "starting"]
                assert newest() == 1
                go.touch()
                assert json.loads(caller.makefile().readline())["outcome"] == outcome
        until(lambda: newest() == 3, "the next good one answers")

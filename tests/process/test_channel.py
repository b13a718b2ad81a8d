"""Whatever is written to the master, by its children or its callers: it goes on, and says little."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.programs import raw
from tests.process.service import DEADLINE, ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

SERVED = """
hello(policy={"ready_after": 0})
heard("welcome")
"""
FLOODS = {
    "random bytes": "chance = random.Random(1)\nflood = lambda: chance.randbytes(65536)",
    "empty objects": "flood = lambda: b'{}\\n' * 20000",
    "known words": (
        """flood = lambda: b'{"type":"ready"}\\n{"type":"hello","protocol":1,"config":{}}\\n' * 1000"""
    ),
    "failures": """flood = lambda: b'{"type":"fail","reason":"%s"}\\n' % (b"x" * 5000) * 10""",
    "half words": """flood = lambda: b'{"type":"ready"'""",
    "one line without an end": "flood = lambda: b'x' * 65536",
    "lines that are too long": "flood = lambda: b'x' * 300_000 + b'\\n'",
    "deep ones": "flood = lambda: b'[' * 100_000 + b'\\n'",
    "long numbers": "flood = lambda: b'{\"type\":' + b'9' * 5000 + b'}\\n'",
}
HELLOS: list[dict[str, Any]] = [
    {"protocol": 99},
    {"config": {"addresses": "127.0.0.1:1"}},
    {"config": {"addresses": ["nonsense"]}},
    {"config": {"addresses": ["\ud800:80", "unix:/\0"]}},
    {"config": {"addresses": ["fd:none"]}},
    {"config": {"restart_signal": 9}},
    {"config": {"restart_signal": 10**6}},
    {"config": {"restart_signal": -1}},
    {"config": {"restart_signal": 10**300}},
    {"config": {"version": ["a list"]}},
    {"config": {"policy": []}},
    {"config": {"policy": {"workers": 10**9}}},
    {"config": {"policy": {"workers": 0}}},
    {"config": {"policy": {"workers": 1.5}}},
    {"config": {"policy": {"handover": "maybe"}}},
    {"config": {"policy": {"ready_timeout": -1}}},
    {"config": {"policy": {"ready_timeout": "soon"}}},
    {"config": {"policy": {"max_draining": 0}}},
]


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_neither_ends_nor_stops_the_master(service: Callable[..., Service], flood: str) -> None:
    """A program sends without end: operators are answered, the next restart works, the log stays short."""
    app = service().serves()
    app.write(raw(f"{flood}\n{SERVED}\nopen('flooding', 'w')\nwhile True:\n    channel.sendall(flood())"))
    app.ask("restart")
    until((app.folder / "flooding").exists, "the flood began")
    for _ in range(3):
        assert app.status()["pid"] == app.pid
    app.write(ECHO, terminate_timeout=1)
    app.ask("restart")
    until(lambda: app.knock()[0] > 1, "the next one answers")
    until(lambda: app.status()["generations"][0]["number"] > 2 or app.knock(), "it goes on")
    assert len(app.log.splitlines()) < 40, app.log
    assert max(map(len, app.log.splitlines())) < 4096


def test_a_hello_that_cannot_be_meant_is_a_failed_start(service: Callable[..., Service]) -> None:
    """Whoever may have written it: the reason is told, the old generation serves on."""
    app = service().serves()
    for number, hello in enumerate(HELLOS, 2):
        word = {"type": "hello", "protocol": 1, "config": {}} | hello
        app.write(raw(f"say(**json.loads({json.dumps(word)!r}))\nheard('drain')"))
        assert app.ask("restart")["outcome"] == "failed", hello
        app.logged(rf"generation {number} \(pid \d+\) cannot be let in: .+")
    assert app.knock()[0] == 1
    assert "Traceback" not in app.log


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.long) for s in range(1, 40))])
def test_words_bent_by_chance_do_no_harm(service: Callable[..., Service], seed: int) -> None:
    """Real words with bytes changed, cut out and doubled, in any order, before and after the hello."""
    app = service().serves()
    app.write(raw(f"chance = random.Random({seed})\n{_BENT}"), ready_timeout=2, terminate_timeout=1)
    app.ask("restart")
    app.write(ECHO)
    try:
        until(lambda: app.ask("restart")["outcome"] == "done", "a good program is taken")
    except (OSError, AssertionError):
        raise AssertionError(app.log) from None
    assert app.knock()[0] > 1
    assert "Traceback" not in app.log


_BENT = """
words = [
    b'{"type":"hello","protocol":1,"config":{"addresses":["127.0.0.1:0"],"policy":{"ready_after":0}}}',
    b'{"type":"hello","protocol":1,"config":{"policy":{"workers":2}}}',
    b'{"type":"ready"}', b'{"type":"fail","reason":"so"}', b'{"type":"restart","id":1}', b'{"type":"staged"}',
    b'{"type":"welcome","fds":9}', b'{"type":"drain"}', b'{"type":"answer","outcome":"done"}', b'null', b'',
]
for _ in range(300):
    word = bytearray(chance.choice(words))
    for _ in range(chance.choice([0, 0, 1, 3])):
        at = chance.randrange(len(word) + 1)
        word[at:at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    channel.sendall(word + chance.choice([b"\\n", b"\\n", b"\\n", b"", b"\\n\\n"]))
channel.sendall(b"\\n" + words[0] + b"\\n")
heard("drain")
"""


def test_late_words_of_an_old_generation_mean_nothing(service: Callable[..., Service]) -> None:
    """While it drains it says ready, fail and hello: the new one is not touched."""
    app = service().serves()
    app.write(
        raw(
            """
            hello(policy={"ready_after": 0})
            heard("drain")
            for _ in range(5):
                say(type="ready")
                say(type="fail", reason="late")
                hello(policy={"workers": 5})
            print("all said", flush=True)
            allowed("go")
            """
        )
    )
    assert app.restart() == 2
    app.write(ECHO)
    assert app.restart() == 3
    app.said("all said")
    app.write("import os, time\nwhile not os.path.exists('begin'): time.sleep(0.01)\n" + ECHO)
    with app.call() as caller:
        caller.sendall(b'{"type":"restart"}\n')
        app.logged("generation 4 starts")
        phases = {g["number"]: g["phase"] for g in app.status()["generations"]}
        assert phases == {2: "draining", 3: "serving", 4: "starting"}
        (app.folder / "begin").touch()
        caller.settimeout(DEADLINE)
        assert b"generation 4 serves" in caller.recv(1000)
    (app.folder / "go").touch()
    app.logged(r"generation 2 \(pid \d+\) left")
    assert len(app.pids(4)) == 1


def test_last_words_are_heard_before_the_end(service: Callable[..., Service]) -> None:
    """A program that says why and exits at once is understood, however long its words are."""
    app = service().serves()
    app.write(raw("hello()\nheard('welcome')\nsay(type='fail', reason='r' * 100_000)\nos._exit(3)"))
    answer = app.ask("restart")
    assert answer["outcome"] == "failed"
    app.logged(r"generation 2 \(pid \d+\) says that it will not do: r{1000}\n")
    app.logged(r"generation 2 \(pid \d+\) (?:left|ended)")


def test_a_caller_may_send_anything(service: Callable[..., Service]) -> None:
    """Nonsense is answered with an error; the connection and everybody else's go on."""
    app = service().serves()
    chance = random.Random(1)
    with app.call() as caller:
        caller.settimeout(DEADLINE)
        caller.sendall(chance.randbytes(5000).replace(b"\n", b"") + b"\n")
        caller.sendall(b'{"type":"dance"}\n[]\n{"type":"status"}\n')
        with caller.makefile() as lines:
            answers = [json.loads(lines.readline())["type"] for _ in range(4)]
    assert answers == ["error", "error", "error", "status"]


def test_a_line_without_end_is_one_error(service: Callable[..., Service]) -> None:
    """Others are answered while it comes, and so is what comes behind it."""
    app = service().serves()
    with app.call() as caller:
        caller.settimeout(DEADLINE)
        for _ in range(100):
            caller.sendall(bytes(1 << 16))
        assert app.status()["pid"] == app.pid
        caller.sendall(b'\n{"type":"status"}\n')
        with caller.makefile() as lines:
            answers = [json.loads(lines.readline()) for _ in range(2)]
    assert [answer["type"] for answer in answers] == ["error", "status"]
    assert "a word of more than 262144 bytes" in answers[0]["reason"]


WISHES = [
    *(b'{"type":"%s"}' % kind for kind in (b"restart", b"status", b"fetch", b"unpin", b"reexec", b"pin")),
    b'{"type":"events","after":3,"follow":true}',
    b'{"type":"hold","release":"3fb2"}',
    b'{"type":"rollback","release":["3fb2"]}',
    b'{"type":"ready"}',
    b'{"type":"staged","release":"3fb2","argv":["/bin/sh"]}',
    b"null",
    b"",
]


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.long) for s in range(1, 40))])
def test_wishes_bent_by_chance_do_no_harm(service: Callable[..., Service], seed: int) -> None:
    """Real requests with bytes changed, cut out and doubled, descriptors with them, and no end of them."""
    app = service().serves()
    chance = random.Random(seed)
    for _ in range(20):
        with app.call() as caller, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(30):
                word = bytearray(chance.choice(WISHES))
                for _ in range(chance.choice([0, 0, 1, 3])):
                    at = chance.randrange(len(word) + 1)
                    word[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
                word += chance.choice([b"\n", b"\n", b"\n", b"", b"\n\n"])
                if word and chance.random() < 0.2:
                    socket.send_fds(caller, [word], [caller.fileno()] * chance.randrange(1, 9))
                else:
                    caller.sendall(word)
    until(lambda: app.ask("restart")["outcome"] == "done", "an honest operator is heard")
    assert app.status()["pid"] == app.pid
    assert app.knock()[0] > 1
    assert "Traceback" not in app.log


def test_a_caller_that_never_listens_is_dropped(service: Callable[..., Service]) -> None:
    """What it does not read is not kept without end."""
    app = service().serves()
    with app.call() as caller:
        caller.settimeout(DEADLINE)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:  # only being dropped ends this
                caller.sendall(b'{"type":"status"}\n' * 1000)
    assert app.status()["pid"] == app.pid


def test_callers_that_go_away_are_forgotten(service: Callable[..., Service]) -> None:
    """They asked and left before the answer; nobody else has to wait for that."""
    app = service().serves()
    for number in range(2, 5):
        for _ in range(40):
            with app.call() as caller:
                caller.sendall(b'{"type":"restart"}\n{"type":"sta')
        app.serves(number)
    assert app.ask("restart")["outcome"] == "done"
    assert "Traceback" not in app.log


def test_an_idle_caller_makes_room(service: Callable[..., Service]) -> None:
    """Connections that only sit there do not lock operators out."""
    app = service().serves()
    callers: list[socket.socket] = []
    try:
        for _ in range(60):
            callers.append(app.call())
            assert app.status()["pid"] == app.pid
    finally:
        for caller in callers:
            caller.close()
    assert not re.findall("Traceback", app.log)

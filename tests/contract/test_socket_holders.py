"""Who holds an address, and the patience with what a killed master left behind."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.contract.other_processes import Holding

from overseer.addresses import parse
from overseer.errors import AddressError
from overseer.sockets import bind, bind_patiently, describe, holders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.addresses import Address

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="holders are found through Linux' /proc")

# What the command line of a master has in it.
MASTER = "/usr/lib/python3/site-packages/overseer/master/__main__.py"


@pytest.fixture(
    params=["127.0.0.1:0", "[::1]:0", ":0", "udp:127.0.0.1:0", "unix:PATH", "unix:@overseer-test-held"]
)
def taken(request: pytest.FixtureRequest) -> Iterator[tuple[Address, socket.socket]]:
    """Bind an address of each kind, and say which it has become."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        sock = bind(parse(request.param.replace("PATH", f"{folder}/app.sock")))
        yield parse(describe(sock)), sock
        sock.close()


@pytest.fixture
def port() -> tuple[Address, socket.socket]:
    """Bind a port that is handed to another process."""
    sock = bind(parse("127.0.0.1:0"))
    return parse(describe(sock)), sock


def _refuse_to_hear(words: str) -> None:
    pytest.fail(f"said without need: {words}")


def test_the_holder_of_every_kind_of_address_is_found(taken: tuple[Address, socket.socket]) -> None:
    """Process and command line, for TCP, UDP, Unix and abstract names."""
    address, sock = taken
    with Holding(sock) as other:
        found = holders(address)
        assert [holder.pid for holder in found] == [other.pid]
        assert sys.executable in found[0].command
        assert not found[0].orphan_of_overseer


def test_a_free_address_has_no_holders() -> None:
    """Nothing is invented."""
    with closing(bind(parse("127.0.0.1:0"))) as sock:
        address = parse(describe(sock))
    assert holders(address) == []


def test_who_is_on_another_interface_is_not_a_holder(port: tuple[Address, socket.socket]) -> None:
    """The same port on 127.0.0.1 and 127.0.0.2 are two addresses."""
    address, sock = port
    with sock:
        assert holders(parse(f"127.0.0.2:{address.port}")) == []
        assert [holder.pid for holder in holders(parse(f"0.0.0.0:{address.port}"))] == [os.getpid()]


@pytest.mark.parametrize("text", ["127.0.0.1:0", "unix:@overseer-test-connected"])
def test_who_only_has_a_connection_is_not_a_holder(text: str) -> None:
    """A connection bears the address of its listener, too, but is not in anybody's way."""
    sock = bind(parse(text))
    address = parse(describe(sock))
    with closing(socket.socket(sock.family)) as client:
        client.connect(sock.getsockname())
        connection, _ = sock.accept()
        with connection, Holding(sock) as other:
            assert [holder.pid for holder in holders(address)] == [other.pid]


def test_a_generation_whose_master_lives_is_no_orphan(port: tuple[Address, socket.socket]) -> None:
    """It bears the mark, and its parent is a master."""
    address, sock = port
    with Holding(sock, generation=True, master=MASTER) as other:
        found = {holder.pid: holder.orphan_of_overseer for holder in holders(address)}
        assert found == {other.process.pid: False, other.pid: False}


def test_a_forked_worker_of_a_generation_is_no_orphan_either(port: tuple[Address, socket.socket]) -> None:
    """Its parent is the generation, whose parent is a master."""
    address, sock = port
    with Holding(sock, generation=True, master=MASTER, fork=True) as other:
        orphans = {holder.pid: holder.orphan_of_overseer for holder in holders(address)}
        assert orphans[other.pid] is False


@pytest.mark.parametrize("fork", [False, True])
def test_a_generation_whose_master_was_killed_is_an_orphan(
    port: tuple[Address, socket.socket],
    fork: bool,  # noqa: FBT001 - a table's column
) -> None:
    """The mark stays, the master is gone: it finishes its connections and will leave."""
    address, sock = port
    with Holding(sock, generation=True, master=MASTER, fork=fork) as other:
        other.kill_master()
        assert [(holder.pid, holder.orphan_of_overseer) for holder in holders(address)] == [(other.pid, True)]


def test_the_end_of_an_orphan_is_awaited_and_said_once(taken: tuple[Address, socket.socket]) -> None:
    """The next master takes over the address as soon as the last of the old generation has left."""
    address, sock = taken
    with Holding(sock, generation=True) as other:
        said: list[str] = []

        def hear(words: str) -> None:
            said.append(words)
            other.let_go()

        (after,) = bind_patiently([address], patience=60, say=hear)
        with after:
            assert parse(describe(after)).key == address.key
        assert len(said) == 1
        assert f"still held by pid {other.pid}, left by a master that was killed" in said[0]


def test_an_orphan_that_closes_the_address_need_not_end(port: tuple[Address, socket.socket]) -> None:
    """It may finish its connections for an hour; its listener is all that is waited for."""
    address, sock = port
    with Holding(sock, generation=True) as other:
        (after,) = bind_patiently([address], patience=60, say=lambda _: other.close())
        after.close()
        assert other.process.poll() is None


def test_waiting_is_said_once_for_the_whole_list(port: tuple[Address, socket.socket]) -> None:
    """The first address becomes free and the second does not: one line, and the error names the second."""
    first, sock = port
    second_sock = bind(parse("127.0.0.1:0"))
    second = parse(describe(second_sock))
    said: list[str] = []
    with Holding(sock, generation=True) as one, Holding(second_sock, generation=True):

        def hear(words: str) -> None:
            said.append(words)
            one.let_go()

        with pytest.raises(AddressError, match=f"^{second.text}: .* still, "):
            bind_patiently([first, second], patience=0.5, say=hear)
    assert len(said) == 1


def test_patience_ends(port: tuple[Address, socket.socket]) -> None:
    """An orphan that stays is named, with what it is and how long was waited."""
    address, sock = port
    said: list[str] = []
    with Holding(sock, generation=True) as other:
        with pytest.raises(AddressError, match=rf"still, .*pid {other.pid} .*master that was killed"):
            bind_patiently([address], patience=0.2, say=said.append)
        assert len(said) == 1
    assert holders(address) == []


def test_a_stranger_s_address_is_refused_at_once(taken: tuple[Address, socket.socket]) -> None:
    """No waiting, however patient: nothing says that it will ever leave."""
    address, sock = taken
    with Holding(sock) as other, pytest.raises(AddressError, match=f"in use by pid {other.pid} "):
        bind_patiently([address], patience=3600, say=_refuse_to_hear)


def test_the_address_of_another_overseer_is_refused_at_once(port: tuple[Address, socket.socket]) -> None:
    """A generation with a living master is a service that runs: starting twice is a mistake."""
    address, sock = port
    with Holding(sock, generation=True, master=MASTER), pytest.raises(AddressError, match="in use by pid"):
        bind_patiently([address], patience=3600, say=_refuse_to_hear)


def test_nothing_stays_bound_when_one_address_fails(port: tuple[Address, socket.socket]) -> None:
    """What was bound before the failure is free again, and its path is gone."""
    address, sock = port
    with sock, tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        with closing(bind(parse("127.0.0.1:0"))) as probe:
            free = parse(describe(probe))
        before = len(os.listdir("/dev/fd"))
        with pytest.raises(AddressError, match="in use"):
            bind_patiently([free, parse(f"unix:{folder}/app.sock"), address], patience=0, say=_refuse_to_hear)
        assert len(os.listdir("/dev/fd")) == before
        assert os.listdir(folder) == []
        bind(free).close()

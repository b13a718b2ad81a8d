"""Listeners that a service manager has kept: known by name, believed only for what they are."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer import notify
from overseer.addresses import identities, parse
from overseer.sockets import activated, bind, describe, name_kept, take_back
from overseer.sockets.kept import _quoted, _unquoted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = (
    "127.0.0.1:0",
    "[::1]:0",
    ":0",
    ":0?v6only=yes",
    "localhost:0",
    "udp:127.0.0.1:0",
    "unix:{folder}/a b:ü.sock?mode=0600",
    "unix:@overseer-kept-{pid}",
)


def kept(text: str, sock: socket.socket) -> tuple[str, int]:
    """Return what a manager would pass to the next master: a name, and a descriptor of its own."""
    (identity,) = identities([parse(text)])
    return name_kept(identity, sock), os.dup(sock.fileno())


@pytest.mark.parametrize("kind", KINDS)
def test_a_listener_comes_back_to_its_address(tmp_path: Path, kind: str) -> None:
    """Whatever its kind, under a name that a manager takes, with the file that is its own."""
    text = kind.format(folder=tmp_path, pid=os.getpid())
    with bind(parse(text)) as before:
        given = kept(text, before)
        assert notify.is_name(given[0])
        found = take_back([given], [parse("127.0.0.1:1"), parse(text)])
        assert (found.names, found.unfit, found.others) == ([given[0]], [], {})
        with found.wanted[1] as after:
            assert describe(after) == describe(before)
            assert not after.get_inheritable()
            assert name_kept(identities([parse(text)])[0], after) == given[0]


def test_what_is_not_asked_for_is_there_for_a_release_that_does(tmp_path: Path) -> None:
    """Under its address, whatever that is."""
    texts = [kind.format(folder=tmp_path, pid=os.getpid()) for kind in KINDS if "localhost" not in kind]
    bound = [bind(parse(text)) for text in texts]
    found = take_back([kept(text, sock) for text, sock in zip(texts, bound, strict=True)], [])
    assert (found.wanted, found.unfit) == ({}, [])
    there = [(parse(text).key, describe(sock)) for text, sock in found.others.values()]
    assert there == [(parse(text).key, describe(sock)) for text, sock in zip(texts, bound, strict=True)]
    found.close()
    for sock in bound:
        sock.close()


def test_two_ports_of_the_kernels_choice_are_two_listeners() -> None:
    """Each is the one it was, in its place."""
    addresses = [parse("127.0.0.1:0"), parse("127.0.0.1:0")]
    bound = [bind(address) for address in addresses]
    names = map(name_kept, identities(addresses), bound)
    given = [(name, os.dup(sock.fileno())) for name, sock in zip(names, bound, strict=True)]
    found = take_back(given[::-1], addresses)
    assert [found.wanted[at].getsockname() for at in (0, 1)] == [sock.getsockname() for sock in bound]
    found.close()
    for sock in bound:
        sock.close()


def test_a_name_that_comes_twice_is_believed_once() -> None:
    """The other is closed, and the name is told to the manager, which then closes both of its own."""
    with bind(parse("127.0.0.1:0")) as before:
        for wanted in ([parse("127.0.0.1:0")], []):
            name, fd = kept("127.0.0.1:0", before)
            found = take_back([(name, fd), (name, second := os.dup(fd))], wanted)
            assert (found.names, found.unfit) == ([name], [name])
            assert len(found.wanted) + len(found.others) == 1
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(second)
            found.close()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n")))
def test_every_address_can_be_told_in_a_name(place: str) -> None:
    """And read from it again; a manager takes it if it is short enough."""
    quoted = _quoted(place)
    assert _unquoted(quoted) == place
    assert notify.is_name(f"overseer={quoted}"[:255])


@given(st.text())
def test_no_name_is_an_error(place: str) -> None:
    """Whoever has made it: it leads to an address or it does not."""
    _unquoted(place)


def _a_file(folder: Path) -> int:
    return os.open(folder / "file", os.O_RDWR | os.O_CREAT)


def _silent(_: Path) -> int:
    with socket.socket() as sock:  # bound, and not listening
        sock.bind(("127.0.0.1", 0))
        return os.dup(sock.fileno())


def _elsewhere(_: Path) -> int:
    return socket.create_server(("127.0.0.2", 0)).detach()


def _another_port(_: Path) -> int:
    return socket.create_server(("127.0.0.1", 0)).detach()


def _datagrams(_: Path) -> int:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock.detach()


def _connected(_: Path) -> int:
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours.detach()


@pytest.mark.parametrize("other", [_a_file, _elsewhere, _another_port, _datagrams, _connected, _silent])
def test_what_is_not_what_its_name_says_is_closed(tmp_path: Path, other: Callable[[Path], int]) -> None:
    """And named, so that the manager can be told."""
    fd = other(tmp_path)
    name = "overseer=tcp%3A127.0.0.1%3A9"
    for wanted in ([parse("127.0.0.1:9")], []):
        copy = os.dup(fd)
        found = take_back([(name, copy)], wanted)
        assert (found.wanted, found.others, found.names, found.unfit) == ({}, {}, [], [name])
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(copy)
    os.close(fd)


@pytest.mark.parametrize("place", ["", "%", "fd%3Aweb", "%ZZ", "a", "tcp%3A[%3A%3A1]%3A9?file=x.y"])
def test_a_name_that_is_no_address_is_closed(tmp_path: Path, place: str) -> None:
    """It is no error: somebody else has made it."""
    name, fd = f"overseer={place}", _another_port(tmp_path)
    found = take_back([(name, fd)], [parse("fd:web")])
    assert (found.wanted, found.others, found.unfit) == ({}, {}, [name])


def test_a_socket_without_its_file_is_of_no_use(tmp_path: Path) -> None:
    """Whoever knocks at the path would not reach it: somebody else listens there, or nobody."""
    text = f"unix:{tmp_path}/app.sock"
    with bind(parse(text)) as before:
        given = kept(text, before)
        os.unlink(f"{tmp_path}/app.sock")
        with bind(parse(text)) as other:
            assert take_back([given], [parse(text)]).unfit == [given[0]]
            assert os.path.exists(f"{tmp_path}/app.sock")
            assert other.getsockname() == before.getsockname()


def test_none_of_them_is_taken_for_socket_activation() -> None:
    """Neither by name nor as one of several."""
    assert activated([("web", 3), ("overseer=tcp%3A127.0.0.1%3A1", 4), ("web", 5)]) == {"web": 3, "web-2": 5}

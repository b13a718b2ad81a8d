"""Sockets from a service manager: taken by the letter of sd_listen_fds(3), in processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from contextlib import ExitStack, closing

import pytest

from overseer.addresses import parse
from overseer.errors import AddressError
from overseer.sockets import bind, bind_patiently, describe, take_inherited

# Puts the descriptors in its arguments at 3, 4, ... and becomes the program: what a service manager does.
_MANAGER = """
    import os, sys
    names, code, *given = sys.argv[1:]
    given = [os.dup2(int(fd), 100 + n) for n, fd in enumerate(given)]
    for n, fd in enumerate(given):
        os.dup2(fd, 3 + n)
        os.close(fd)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)), LISTEN_FDNAMES=names)
    os.execv(sys.executable, [sys.executable, "-c", code])
"""

_TAKE = """
    import os
    from overseer import addresses, errors, sockets
    taken = sockets.activated(sockets.take_inherited(os.environ))
"""


def _run_under_manager(code: str, *given: int, names: str = "") -> str:
    """Return what `code` prints in a process that was given these descriptors."""
    # A descriptor in the way of 3, 4, ... would be overwritten before it is moved.
    with ExitStack() as stack:
        passed = [os.dup(fd) for fd in given]
        for fd in passed:
            stack.callback(os.close, fd)
        program = textwrap.dedent(_TAKE) + textwrap.dedent(code)
        command = [sys.executable, "-c", textwrap.dedent(_MANAGER), names, program, *map(str, passed)]
        done = subprocess.run(command, pass_fds=passed, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.stdout.strip()


@pytest.fixture
def listener() -> socket.socket:
    """Listen as a service manager does."""
    return socket.create_server(("127.0.0.1", 0))


def test_a_socket_of_the_service_manager_is_served_by_name(listener: socket.socket) -> None:
    """`fd:web` is the manager's own socket: a client that connected to it before is answered."""
    with listener, closing(socket.create_connection(listener.getsockname())) as client:
        code = """
            sock = sockets.bind(addresses.parse("fd:web"), inherited=taken)
            connection, _ = sock.accept()
            connection.sendall(b"served")
            print(sockets.describe(sock), sock.getblocking(), sock.get_inheritable())
        """
        said = _run_under_manager(code, listener.fileno(), names="web")
        assert said == f"{describe(listener)} False False"
        assert client.recv(6) == b"served"


def test_names_belong_to_descriptors_in_their_order(listener: socket.socket) -> None:
    """The first name is descriptor 3; names that occur again are numbered, missing ones are `unknown`."""
    with listener:
        fds = [listener.fileno()] * 5
        assert _run_under_manager("print(taken)", *fds, names="web:admin:web::web") == str(
            {"web": 3, "admin": 4, "web-2": 5, "unknown": 6, "web-3": 7}
        )


def test_a_manager_that_gives_no_names_can_be_served_by_number(listener: socket.socket) -> None:
    """`fd:3` is the first descriptor, whatever it is called."""
    with listener:
        code = 'print(sockets.describe(sockets.bind(addresses.parse("fd:3"), inherited=taken)))'
        assert _run_under_manager(code, listener.fileno()) == describe(listener)


def test_the_variables_are_gone_afterwards_and_descriptors_close_at_exec(listener: socket.socket) -> None:
    """No child takes the sockets for its own."""
    with listener:
        code = """
            print([name for name in os.environ if name.startswith("LISTEN_")], os.get_inheritable(3))
        """
        assert _run_under_manager(code, listener.fileno(), names="web") == "[] False"


@pytest.mark.parametrize("pid", ["", "1", "x", str(os.getppid())])
def test_what_was_meant_for_another_process_is_not_taken(pid: str) -> None:
    """Variables that a wrapper forgot to remove name another process; they are removed here."""
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": pid, "LISTEN_FDNAMES": "web", "PATH": "/bin"}
    assert take_inherited(environ) == []
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("count", ["", "x", "-1", "9" * 5000])
def test_a_count_that_is_no_number_means_nothing(count: str) -> None:
    """As sd_listen_fds(3) would, nothing is taken."""
    assert take_inherited({"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid())}) == []


def test_a_promise_that_is_not_kept_is_an_error(listener: socket.socket) -> None:
    """A wrapper that closes descriptors is found out at once, not at the first missing name."""
    with listener:
        code = """
            environ = {"LISTEN_FDS": "9", "LISTEN_PID": str(os.getpid())}
            try:
                sockets.take_inherited(environ)
            except errors.AddressError as refused:
                print(refused)
        """
        assert "promises 9 descriptors" in _run_under_manager(code, listener.fileno())


def test_a_name_that_was_not_given_is_refused_with_those_that_were(listener: socket.socket) -> None:
    """The message shows what could be written instead."""
    with listener, pytest.raises(AddressError, match=r"no socket of this name \(given: fd:http, fd:admin\)"):
        bind(parse("fd:web"), inherited={"http": listener.fileno(), "admin": listener.fileno()})


def test_only_descriptors_of_the_service_manager_are_taken(listener: socket.socket) -> None:
    """A number does not reach the program's other descriptors."""
    with listener, pytest.raises(AddressError, match=r"no socket of this name \(given: none\)"):
        bind(parse(f"fd:{listener.fileno()}"))


def test_a_descriptor_that_is_no_socket_is_refused_and_stays_open() -> None:
    """A pipe under the name of a socket is the unit's mistake."""
    reader, writer = os.pipe()
    with pytest.raises(AddressError, match=f"descriptor {reader} is no socket that can listen"):
        bind(parse("fd:web"), inherited={"web": reader})
    os.close(reader)
    os.close(writer)


def test_a_single_connection_is_refused_and_stays_open(listener: socket.socket) -> None:
    """`Accept=yes` in the unit gives connections, not listeners."""
    with listener, closing(socket.create_connection(listener.getsockname())) as client:
        with pytest.raises(AddressError, match="Accept=yes"):
            bind(parse("fd:web"), inherited={"web": client.fileno()})
        assert client.getpeername() == listener.getsockname()


def test_a_socket_that_does_not_listen_yet_does_so(listener: socket.socket) -> None:
    """A manager that only binds (circus, a wrapper) is served, too."""
    listener.close()
    given = socket.socket()
    given.bind(("127.0.0.1", 0))
    with closing(bind(parse("fd:web"), inherited={"web": given.detach()})) as sock:
        socket.create_connection(sock.getsockname()).close()


def test_a_socket_for_datagrams_is_taken_as_it_is() -> None:
    """UDP does not listen."""
    given = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    given.bind(("127.0.0.1", 0))
    with closing(bind(parse("fd:dns"), inherited={"dns": given.detach()})) as sock:
        assert describe(sock).startswith("udp:127.0.0.1:")


@pytest.mark.parametrize("last", ["fd:web", "fd:none"])
def test_inherited_descriptors_outlive_a_list_that_fails(listener: socket.socket, last: str) -> None:
    """They cannot be had again: neither a name given twice nor a wrong one closes them."""
    with listener:
        addresses = [parse("fd:web"), parse(last)]
        with pytest.raises(AddressError, match=f"{last}: "):
            bind_patiently(addresses, patience=0, say=pytest.fail, inherited={"web": listener.fileno()})
        assert os.fstat(listener.fileno())

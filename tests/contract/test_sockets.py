"""Real sockets on TCP and UDP: what they are once bound, and what is said when they cannot be had."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.contract.other_processes import Holding, as_ordinary_user, in_a_fork

# Imported by whoever has an error to explain; here at once, for forks that may not read our files any more.
import overseer.sockets.refusals
from overseer.addresses import parse
from overseer.errors import AddressError
from overseer.sockets import adopt, apply_options, bind, bind_patiently, describe, warnings_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Bind = Callable[[str], socket.socket]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user: run as root")


@pytest.fixture
def listen() -> Iterator[Bind]:
    """Bind addresses that are closed after the test."""
    bound: list[socket.socket] = []

    def bind_one(text: str) -> socket.socket:
        bound.append(bind(parse(text)))
        return bound[-1]

    yield bind_one
    for sock in bound:
        sock.close()


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_connections_queue_from_the_first_moment(listen: Bind) -> None:
    """A client is connected and its words wait before anybody calls accept."""
    sock = listen("127.0.0.1:0")
    with closing(socket.create_connection(sock.getsockname())) as client:
        client.sendall(b"early")
        connection, _ = sock.accept()
        with connection:
            connection.settimeout(60)
            assert connection.recv(5) == b"early"


@pytest.mark.parametrize("text", [":0", "127.0.0.1:0", "udp:127.0.0.1:0", "unix:@overseer-test-flags"])
def test_a_bound_socket_never_blocks_and_is_closed_at_exec(listen: Bind, text: str) -> None:
    """The flags are those that every generation relies on."""
    sock = listen(text)
    assert not sock.getblocking()
    assert not os.get_blocking(sock.fileno())
    assert not sock.get_inheritable()


@needs_ipv6
def test_every_interface_means_both_families(listen: Bind) -> None:
    """`:PORT` is reached over IPv4 and over IPv6."""
    port = listen(":0").getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port)).close()


@needs_ipv6
def test_ipv6_alone_leaves_ipv4_to_others(listen: Bind) -> None:
    """With `v6only` a port can be had that somebody has on IPv4."""
    port = listen("0.0.0.0:0").getsockname()[1]
    assert describe(listen(f":{port}?v6only=yes")) == f"[::]:{port}"


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here to take IPv6 away")
@pytest.mark.parametrize(
    "fault", ["socket:error=EAFNOSUPPORT", "setsockopt:error=EINVAL:when=2", "bind:error=EADDRNOTAVAIL"]
)
def test_where_there_is_no_ipv6_every_interface_means_ipv4(fault: str) -> None:
    """However IPv6 is refused (not built in, no mapping, switched off), IPv4 is listened on."""
    code = "from overseer import addresses as a, sockets as s; print(s.describe(s.bind(a.parse(':0'))))"
    inject = fault if "when" in fault else f"{fault}:when=1"
    traced = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={inject}", sys.executable, "-c", code]
    done = subprocess.run(traced, capture_output=True, text=True, check=False, timeout=60)
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.stdout.startswith("0.0.0.0:"), done.stderr


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("127.0.0.1:0", "127.0.0.1:"),
        ("localhost:0", "127.0.0.1:"),
        pytest.param("[::1]:0", "[::1]:", marks=needs_ipv6),
        pytest.param(":0", "[::]:", marks=needs_ipv6),
        ("udp:127.0.0.1:0", "udp:127.0.0.1:"),
    ],
)
def test_a_description_is_the_address_with_its_real_port(listen: Bind, text: str, start: str) -> None:
    """What people are shown can be given as an address again, and then means this very socket."""
    sock = listen(text)
    shown = describe(sock)
    assert shown.startswith(start)
    assert parse(shown).port == sock.getsockname()[1] != 0


def test_as_many_connections_wait_as_were_asked_for(listen: Bind) -> None:
    """The backlog is 4096 unless the address says otherwise; the kernel caps it."""
    if sys.platform != "linux":
        pytest.skip("TCP_INFO tells the backlog on Linux only")
    with open("/proc/sys/net/core/somaxconn", encoding="ascii") as setting:
        cap = int(setting.read())
    plain, small = listen("127.0.0.1:0"), listen("127.0.0.1:0?backlog=7")
    assert (_backlog(plain), _backlog(small)) == (min(4096, cap), 7)


def _backlog(sock: socket.socket) -> int:
    # For a listener, tcpi_sacked is the length its queue may have.
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    backlog: int = struct.unpack_from("=I", info, 28)[0]
    return backlog


@needs_linux
def test_the_next_generation_may_change_the_backlog(listen: Bind) -> None:
    """The socket stays; its queue gets the length that the new spelling asks for."""
    sock = listen("127.0.0.1:0")
    apply_options(sock, parse("127.0.0.1:0?backlog=9"))
    assert _backlog(sock) == 9


def test_datagrams_arrive(listen: Bind) -> None:
    """A UDP address is bound and does not listen."""
    sock = listen("udp:127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", sock.getsockname())
        sock.settimeout(60)
        assert sock.recv(5) == b"hello"


@pytest.mark.parametrize("kind", ["", "udp:"])
def test_a_port_is_not_shared_unless_it_is_asked_for(listen: Bind, kind: str) -> None:
    """A second bind is refused, UDP included, where one wrong option would let it take half the datagrams."""
    taken = describe(listen(f"{kind}127.0.0.1:0"))
    with pytest.raises(AddressError, match="in use"):
        listen(taken)


@pytest.mark.parametrize("kind", ["", "udp:"])
def test_a_port_is_shared_when_both_sides_wish(listen: Bind, kind: str) -> None:
    """`reuse_port=yes` binds a second time."""
    taken = describe(listen(f"{kind}127.0.0.1:0?reuse_port=yes"))
    assert describe(listen(f"{taken}?reuse_port=yes")) == taken


@needs_linux
def test_sharing_a_port_is_warned_about_where_the_kernel_drops_connections() -> None:
    """The warning names the setting, and depends on it."""
    with open("/proc/sys/net/ipv4/tcp_migrate_req", encoding="ascii") as setting:
        risky = setting.read().strip() == "0"
    warnings = warnings_for(parse(":80?reuse_port=yes"))
    assert [("tcp_migrate_req" in warning) for warning in warnings] == ([True] if risky else [])


@pytest.mark.parametrize("text", [":80", "udp::80?reuse_port=yes", "unix:@app"])
def test_other_addresses_are_not_warned_about(text: str) -> None:
    """Only a shared TCP port can lose waiting connections."""
    assert warnings_for(parse(text)) == []


@needs_linux
def test_the_error_says_who_holds_the_port(listen: Bind) -> None:
    """Pid and command line stand in the message, also when the address is spelled in another way."""
    sock = listen("127.0.0.1:0")
    port = sock.getsockname()[1]
    with Holding(sock) as other:
        for text in (f"127.0.0.1:{port}", f"0.0.0.0:{port}", f":{port}", f"localhost:{port}"):
            with pytest.raises(
                AddressError, match=rf"TCP port {port} is in use by pid {other.pid} \("
            ) as refused:
                listen(text)
            assert sys.executable in str(refused.value)


@needs_linux
def test_an_address_that_is_given_twice_is_said_to_be(listen: Bind) -> None:
    """The holder is ourselves: the list is wrong, not the machine."""
    taken = describe(listen("127.0.0.1:0"))
    with pytest.raises(AddressError, match="this very process"):
        listen(taken)


@needs_linux
@needs_root
def test_who_may_not_look_into_the_holder_gets_less_detail(listen: Bind) -> None:
    """An ordinary user is still told that the port is taken, and how root finds out more."""
    sock = listen("127.0.0.1:0")

    def bind_again() -> object:
        address = parse(describe(sock))
        sock.close()  # the fork's own copy: the holder is the test
        return bind(address)

    assert "a process that this user cannot see (ss -lntup" in as_ordinary_user(bind_again)


@needs_linux
def test_a_privileged_port_is_refused_with_the_ways_to_get_it() -> None:
    """An ordinary user learns about the capability and the socket unit."""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as setting:
        if int(setting.read()) <= 81:
            pytest.skip("no port is privileged here")
    said = as_ordinary_user(lambda: bind(parse("127.0.0.1:81")))
    assert said.startswith("AddressError: 127.0.0.1:81: port 81 is below")
    assert "CAP_NET_BIND_SERVICE" in said
    assert "fd:NAME" in said


def test_an_address_of_another_machine_is_refused() -> None:
    """192.0.2.1 is reserved for documentation: nobody has it."""
    with pytest.raises(AddressError, match=r"no interface of this machine has the address 192\.0\.2\.1"):
        bind(parse("192.0.2.1:0"))


def test_a_name_that_cannot_be_resolved_is_refused() -> None:
    """A zone that no interface has fails in the resolver, without asking the network."""
    with pytest.raises(AddressError, match="cannot be resolved"):
        bind(parse("[fe80::1%no-such-if]:80"))


def test_the_limit_of_open_files_is_named() -> None:
    """Too many open files: the message says how many are allowed and where to raise it."""

    def exhaust() -> object:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        bound: list[socket.socket] = []
        while len(bound) < 64:
            bound.append(bind(parse("127.0.0.1:0")))
        return "no error"

    said = in_a_fork(exhaust)
    assert "the limit of open files of this process (64) is reached" in said
    assert "LimitNOFILE=" in said


def test_the_system_s_own_error_is_the_cause() -> None:
    """Whoever needs the number finds it behind the sentence."""
    with pytest.raises(AddressError) as refused:
        bind(parse("192.0.2.1:0"))
    assert isinstance(refused.value.__cause__, OSError)
    assert refused.value.__cause__.errno == errno.EADDRNOTAVAIL


def test_a_failed_bind_leaves_no_descriptor_open(listen: Bind) -> None:
    """Who tries for ever does not run out of descriptors."""
    taken = parse(describe(listen("127.0.0.1:0")))
    before = len(os.listdir("/dev/fd"))
    for _ in range(10):
        with pytest.raises(AddressError):
            bind(taken)
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize(
    ("text", "family", "kind"),
    [
        ("127.0.0.1:0", socket.AF_INET, socket.SOCK_STREAM),
        pytest.param("[::1]:0", socket.AF_INET6, socket.SOCK_STREAM, marks=needs_ipv6),
        ("udp:127.0.0.1:0", socket.AF_INET, socket.SOCK_DGRAM),
        ("unix:@overseer-test-adopt", socket.AF_UNIX, socket.SOCK_STREAM),
    ],
)
def test_a_socket_is_adopted_after_an_exec(listen: Bind, text: str, family: int, kind: int) -> None:
    """Another program image finds the same socket behind the number, of the right family and type."""
    sock = listen(text)
    code = """
        import sys
        from overseer import sockets
        sock = sockets.adopt(int(sys.argv[1]))
        flags = sock.getblocking(), sock.get_inheritable()
        print(sockets.describe(sock), int(sock.family), int(sock.type), *flags)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(sock.fileno())]
    done = subprocess.run(command, pass_fds=[sock.fileno()], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [describe(sock), str(int(family)), str(int(kind)), "False", "False"]


def test_what_is_no_socket_is_not_adopted_and_stays_open() -> None:
    """The descriptor is still the caller's to close."""
    reader, writer = os.pipe()
    with pytest.raises(OSError, match="non-socket"):
        adopt(reader)
    os.close(reader)
    os.close(writer)


def test_a_thousand_listeners_are_bound_in_order() -> None:
    """Each of the list answers, at its own place in the list."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, enough), hard))
    try:
        names = [f"n{number}" for number in range(1000)]
        addresses = [parse(f"{name}=127.0.0.1:0") for name in names]
        bound = bind_patiently(addresses, patience=0, say=pytest.fail)
        try:
            assert len({describe(sock) for sock in bound}) == 1000
            for sock in bound:
                with closing(socket.create_connection(sock.getsockname())) as client:
                    connection, peer = sock.accept()
                    connection.close()
                    assert peer == client.getsockname()
        finally:
            for sock in bound:
                sock.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_errors_are_explained_by_a_module_that_is_loaded_only_then() -> None:
    """A process whose addresses are all right does not carry the sentences, nor the search through /proc."""
    assert overseer.sockets.refusals
    code = (
        "import sys; from overseer import addresses, sockets; sockets.bind(addresses.parse(':0'));"
        "print([m for m in sys.modules if m.startswith('overseer.sockets.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "refusals" not in done.stdout
    assert "proc" not in done.stdout

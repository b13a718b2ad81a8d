"""Real Unix sockets: what is done to the path, to a stale file, to a live one and to anything else."""

from __future__ import annotations

import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.contract.other_processes import NOBODY, Holding, as_ordinary_user

# Imported by whoever has an error to explain; here at once, for forks that may not read our files any more.
import overseer.sockets.refusals  # noqa: F401
from overseer.addresses import LONGEST_PATH, parse
from overseer.errors import AddressError
from overseer.sockets import adopt, apply_options, bind, describe, file_of, files, unlink_if_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")


@pytest.fixture
def folder() -> Iterator[str]:
    """Make a folder with a path short enough for sockets, open to every user."""
    made = tempfile.mkdtemp(prefix="o-", dir="/tmp")
    os.chmod(made, 0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def path(folder: str) -> str:
    """Name a socket file that is not there yet."""
    return f"{folder}/app.sock"


def _leave_stale(path: str) -> None:
    """Do what a killed server does: leave the file of a socket that nobody holds."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()


def _is_reachable(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError:
            return False
    return True


def _seen_during(act: Callable[[], object], path: str) -> set[str]:
    """Return what a process sees at `path` that looks while `act` is done over and over.

    It looks 20,000 times at least, until `act` was done 100 times, and once more after the last.
    """
    code = """
        import os, select, sys
        seen = set()
        def look():
            try:
                seen.add(oct(os.lstat(sys.argv[1]).st_mode & 0o777))
            except FileNotFoundError:
                seen.add("nothing")
        print(flush=True)
        for _ in range(20_000):
            look()
        print(flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            look()
        look()
        print(*seen)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout
        watcher.stdout.readline()
        done = 0
        while done < 100 or not select.select([watcher.stdout], [], [], 0)[0]:
            act()
            done += 1
        return set(watcher.communicate()[0].split())


def test_a_socket_file_is_reachable_as_soon_as_it_is_bound(path: str) -> None:
    """The path is there, answers, and nothing else is left in the folder."""
    with closing(bind(parse(f"unix:{path}"))) as sock:
        assert _is_reachable(path)
        assert describe(sock) == f"unix:{path}"
        assert os.listdir(os.path.dirname(path)) == ["app.sock"]


def test_a_stale_file_is_replaced(path: str) -> None:
    """What a killed server left is no obstacle."""
    _leave_stale(path)
    with closing(bind(parse(f"unix:{path}"))):
        assert _is_reachable(path)


def test_the_path_never_vanishes_while_stale_files_are_replaced(path: str) -> None:
    """Whoever looks during many replacements always finds a socket there."""
    _leave_stale(path)
    seen = _seen_during(lambda: bind(parse(f"unix:{path}?mode=0600")).close(), path)
    assert "nothing" not in seen


def test_nobody_finds_the_path_with_other_rights_than_were_asked_for(path: str) -> None:
    """Mode 0600 is in force before the path is there, not a moment later."""
    address = parse(f"unix:{path}?mode=0600")
    held = [bind(address)]

    def go_and_come() -> None:
        sock = held.pop()
        unlink_if_ours(sock)
        sock.close()
        held.append(bind(address))

    seen = _seen_during(go_and_come, path)
    held.pop().close()
    assert seen - {"nothing"} == {"0o600"}


def test_mode_and_owner_are_as_asked_for(path: str) -> None:
    """Root gives the socket to any user and group; others to themselves."""
    user, group = (NOBODY, 4242) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    with closing(bind(parse(f"unix:{path}?mode=0620&user={user}&group={group}"))):
        found = os.stat(path)
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o620, user, group)


def test_owners_have_names(path: str) -> None:
    """A name is looked up in the machine's accounts."""
    import pwd  # noqa: PLC0415 - only here

    me = pwd.getpwuid(os.getuid()).pw_name
    with closing(bind(parse(f"unix:{path}?user={me}"))):
        assert os.stat(path).st_uid == os.getuid()


def test_an_owner_that_does_not_exist_is_refused_and_nothing_is_left(path: str) -> None:
    """A misspelled group does not leave a socket with the wrong one."""
    with pytest.raises(AddressError, match="there is no group 'no-such-group'"):
        bind(parse(f"unix:{path}?group=no-such-group"))
    assert os.listdir(os.path.dirname(path)) == []


def test_an_ordinary_user_cannot_give_the_socket_away(folder: str) -> None:
    """The message says who tried what, and nothing is left."""
    os.chmod(folder, 0o777)
    said = as_ordinary_user(lambda: bind(parse(f"unix:{folder}/app.sock?user=0")))
    assert "may not give the socket to user 0" in said
    assert os.listdir(folder) == []


def test_the_next_generation_may_change_the_rights(path: str) -> None:
    """The socket stays and its file gets the mode of the new spelling."""
    with closing(bind(parse(f"unix:{path}?mode=0600"))) as sock:
        apply_options(sock, parse(f"unix:{path}?mode=0666"))
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o666


def test_a_live_socket_is_refused_and_serves_on(path: str) -> None:
    """The message says who listens, and that one notices nothing but a connection that says nothing."""
    with Holding(bind(parse(f"unix:{path}"))) as other:
        who = f"pid {other.pid}" if sys.platform == "linux" else "by"
        with pytest.raises(AddressError, match=f"this socket is in use .*{who}"):
            bind(parse(f"unix:{path}"))
        assert _is_reachable(path)


def test_a_busy_socket_is_not_taken_for_stale(path: str) -> None:
    """A listener whose queue is full is alive."""
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(path)
        sock.listen(0)
        client.connect(path)
        with pytest.raises(AddressError, match="in use"):
            bind(parse(f"unix:{path}"))


def test_a_socket_for_datagrams_is_not_taken_for_stale(path: str) -> None:
    """The system's log socket is of this type: it refuses a stream, and is alive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        with pytest.raises(AddressError, match="in use"):
            bind(parse(f"unix:{path}"))


@pytest.mark.parametrize("kind", ["a regular file", "a folder", "a symbolic link"])
def test_anything_else_in_the_way_is_left_alone(path: str, kind: str) -> None:
    """A path that was mistyped does not cost anybody a file."""
    if kind == "a regular file":
        open(path, "x", encoding="utf-8").close()
    elif kind == "a folder":
        os.mkdir(path)
    else:
        os.symlink("/nowhere", path)
    before = os.lstat(path)
    with pytest.raises(AddressError, match=f"{kind} is in the way at {path}, and is left alone"):
        bind(parse(f"unix:{path}"))
    assert os.path.samestat(before, os.lstat(path))


def test_a_missing_folder_is_named(folder: str) -> None:
    """The message says which folder, and who makes it for services."""
    with pytest.raises(AddressError, match=f"no folder {folder}/none; .*RuntimeDirectory="):
        bind(parse(f"unix:{folder}/none/app.sock"))


def test_a_folder_that_may_not_be_written_is_named(folder: str) -> None:
    """The message says which folder and which user."""
    if os.geteuid() != 0:
        os.chmod(folder, 0o555)
    said = as_ordinary_user(lambda: bind(parse(f"unix:{folder}/app.sock")))
    assert f"may not make a socket in {folder}" in said


def test_the_longest_path_can_be_bound(folder: str) -> None:
    """What `parse` accepts fits into the kernel's structure, the path in preparation too."""
    path = f"{folder}/".ljust(LONGEST_PATH, "x")
    with closing(bind(parse(f"unix:{path}"))):
        assert _is_reachable(path)


def test_what_a_crashed_start_left_is_no_obstacle(path: str) -> None:
    """Its unfinished socket and its lock are taken over and removed."""
    _leave_stale(f"{path}~")
    open(f"{path}~lock", "x", encoding="utf-8").close()
    with closing(bind(parse(f"unix:{path}"))):
        assert _is_reachable(path)
        assert os.listdir(os.path.dirname(path)) == ["app.sock"]


def test_a_start_that_hangs_is_not_awaited_for_ever(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds the lock taken for too long says so."""
    monkeypatch.setattr(files, "_LOCK_PATIENCE", 0.05)
    holder = ["flock", f"{path}~lock", "sh", "-c", "echo; read line"]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(AddressError, match="another start on this path has held"):
            bind(parse(f"unix:{path}"))
        other.communicate("\n")


_STARTER = """
    import sys
    from overseer import addresses, errors, sockets
    sock = None
    for line in sys.stdin:
        if line == "start\\n":
            try:
                sock = sockets.bind(addresses.parse(sys.argv[1]))
                print("won", flush=True)
            except errors.AddressError as refused:
                print("in use" if "in use" in str(refused) else refused, flush=True)
        else:
            if sock:
                sock.close()
            print("gone", flush=True)
"""


def test_of_several_starters_exactly_one_wins(path: str) -> None:
    """Four processes find the same stale file at the same moment, twenty times."""
    _leave_stale(path)
    command = [sys.executable, "-c", textwrap.dedent(_STARTER), f"unix:{path}"]
    starters = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]

    def all_hear(word: str) -> list[str]:
        for starter in starters:
            assert starter.stdin
            starter.stdin.write(f"{word}\n")
            starter.stdin.flush()
        return sorted(starter.stdout.readline().strip() for starter in starters if starter.stdout)

    try:
        for _ in range(20):
            assert all_hear("start") == ["in use", "in use", "in use", "won"]
            assert _is_reachable(path)
            all_hear("leave")
    finally:
        for starter in starters:
            starter.communicate()


def test_the_path_is_removed_at_the_final_stop(path: str) -> None:
    """While the socket is open, its own path can be taken away."""
    with closing(bind(parse(f"unix:{path}"))) as sock:
        assert unlink_if_ours(sock)
        assert not os.path.lexists(path)
        assert not unlink_if_ours(sock)


def test_the_path_of_somebody_else_is_not_removed(path: str) -> None:
    """Who has taken over the path keeps it."""
    with closing(bind(parse(f"unix:{path}"))) as ours:
        os.unlink(path)
        with closing(bind(parse(f"unix:{path}"))):
            assert not unlink_if_ours(ours)
            assert _is_reachable(path)


def test_the_path_stays_when_the_socket_is_closed_already(path: str) -> None:
    """After closing nobody can tell whose the file is."""
    sock = bind(parse(f"unix:{path}"))
    sock.close()
    assert not unlink_if_ours(sock)
    assert os.path.lexists(path)


@pytest.mark.parametrize("told", [True, False])
def test_an_adopted_socket_still_knows_its_path(path: str, told: bool) -> None:  # noqa: FBT001 - a table's column
    """After an exec the master describes and finally removes the path, whether or not it noted the file."""
    with closing(bind(parse(f"unix:{path}"))) as before:
        noted = file_of(before)
        after = adopt(before.detach(), file=noted if told else None)
    with closing(after):
        assert describe(after) == f"unix:{path}"
        assert file_of(after) == noted
        assert unlink_if_ours(after)


def test_an_adopted_socket_does_not_claim_the_file_of_somebody_else(path: str) -> None:
    """What was noted before the exec decides, not what is at the path by now."""
    with closing(bind(parse(f"unix:{path}"))) as before:
        noted = file_of(before)
        os.unlink(path)
        other = bind(parse(f"unix:{path}"))
        with closing(other), closing(adopt(os.dup(before.fileno()), file=noted)) as after:
            assert not unlink_if_ours(after)
            assert _is_reachable(path)


def test_a_socket_file_that_others_made_is_never_ours_to_remove(path: str) -> None:
    """A socket of the service manager is adopted with its path, which stays."""
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(path)
        given.listen()
        with closing(adopt(os.dup(given.fileno()))) as sock:
            assert describe(sock) == f"unix:{path}"
            assert not unlink_if_ours(sock)


def test_who_unlinks_the_name_of_the_socket_misses_the_path(path: str) -> None:
    """Servers that clean up after themselves (asyncio) do not take the path away from the next generation."""
    with closing(bind(parse(f"unix:{path}"))) as sock:
        assert not os.path.lexists(sock.getsockname())


@needs_linux
def test_an_abstract_name_needs_no_file() -> None:
    """It is reached by its name, and who has it is said."""
    with closing(bind(parse("unix:@overseer-test"))) as sock:
        assert _is_reachable("\0overseer-test")
        assert describe(sock) == "unix:@overseer-test"
        assert not unlink_if_ours(sock)
        with pytest.raises(AddressError, match="this name is in use by this very process"):
            bind(parse("unix:@overseer-test"))

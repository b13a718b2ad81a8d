"""Connections are counted from the kernel's tables, whatever stands in these."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overseer.cli.connections import accepted_by

TCP = "   0: 0100007F:{port} 0100007F:C000 {state} 00000000:00000000 00:00000000 00000000  0  0 {inode} 1"
UNIX = "0000000000000000: 00000002 00000000 {flags} 0001 {state} {inode} {path}"


def tcp(port: str, state: str, inode: str) -> str:
    """Return a line of /proc/net/tcp."""
    return TCP.format(port=port, state=state, inode=inode)


def unix(path: str, inode: str, *, listens: bool = False) -> str:
    """Return a line of /proc/net/unix."""
    return UNIX.format(flags="00010000" if listens else "00000000", state="03", inode=inode, path=path)


def test_what_a_listener_of_ours_has_accepted_is_found() -> None:
    """Established, or half closed; not what has ended, and not the connections of others or to others."""
    lines = [
        tcp("1F90", "0A", "10"),
        tcp("1F90", "01", "11"),
        tcp("1F90", "08", "12"),
        tcp("1F90", "06", "0"),
        tcp("1F91", "0A", "20"),
        tcp("1F91", "01", "21"),
        tcp("C000", "01", "30"),
    ]
    assert accepted_by(lines, [], {"10"}) == {"11", "12"}
    assert accepted_by(lines, [], {"30"}) == set()


def test_unix_listeners_are_known_by_their_paths() -> None:
    """Also with a blank in them."""
    lines = [unix("/run/a b", "1", listens=True), unix("/run/a b", "2"), unix("/run/c", "3"), unix("", "4")]
    assert accepted_by([], lines, {"1"}) == {"2"}


@given(st.lists(st.text()), st.lists(st.text()), st.sets(st.text()))
def test_lines_that_make_no_sense_count_nothing(lines: list[str], more: list[str], ours: set[str]) -> None:
    """And stop nobody: the tables are the kernel's, and it may add to them."""
    assert accepted_by(lines, more, ours) <= {word for line in (*lines, *more) for word in line.split()}

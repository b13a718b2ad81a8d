"""Datagrams of sd_notify(3): read as systemd reads them, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.notify import MOST, Notice, is_name, parse, write

SAID = [
    (b"READY=1", Notice(ready=True)),
    (b"READY=0", Notice()),
    (b"READY=1\nSTATUS=Gunicorn arbiter booted\n", Notice(ready=True, status="Gunicorn arbiter booted")),
    (b"RELOADING=1\nMONOTONIC_USEC=123", Notice(reloading=True)),
    (b"STOPPING=1\nSTATUS=", Notice(stopping=True, status="")),
    (b"ERRNO=2\nEXIT_STATUS=3", Notice(errno=2, exit_status=3)),
    (b"MAINPID=4711", Notice(main_pid=4711)),
    (b"WATCHDOG=1", Notice(fed=True)),
    (b"WATCHDOG=trigger", Notice(triggered=True)),
    (b"WATCHDOG_USEC=1500000", Notice(watchdog=1.5)),
    (b"EXTEND_TIMEOUT_USEC=20000000", Notice(extend=20.0)),
    (b"FDSTORE=1\nFDNAME=memory\nFDPOLL=0", Notice(store=True, name="memory", poll=False)),
    (b"FDSTOREREMOVE=1\nFDNAME=memory", Notice(remove=True, name="memory")),
    (b"FDSTORE=1\nFDNAME=a:b", Notice(store=True)),
    (b"BARRIER=1", Notice(barrier=True)),
    (b"EXTEND_TIMEOUT_USEC=-1\nMAINPID=0x10\nERRNO=\nWATCHDOG_USEC=1e9", Notice()),
    (b"EXTEND_TIMEOUT_USEC=18446744073709551615", Notice()),
    (b"STATUS=\x1b[31mred\xff", Notice(status="?[31mred\N{REPLACEMENT CHARACTER}")),
    (b"", Notice()),
    (b"READY", Notice()),
    (b"READY=1\n" + b"x" * MOST, Notice()),
]  # fmt: skip
"""What programs say, and what it means."""


@pytest.mark.parametrize(("datagram", "notice"), SAID)
def test_what_programs_say_is_understood(datagram: bytes, notice: Notice) -> None:
    """And what means nothing is left out."""
    assert parse(datagram) == notice


@given(st.binary(max_size=2 * MOST))
def test_nothing_a_stranger_writes_is_an_error(datagram: bytes) -> None:
    """Every text can be logged, every name can stand in LISTEN_FDNAMES, every time can be added."""
    notice = parse(datagram)
    assert notice.status is None or notice.status.isprintable()
    assert is_name(notice.name)
    for seconds in (notice.watchdog, notice.extend):
        assert seconds is None or 0 <= seconds <= 10**9


@given(st.dictionaries(st.sampled_from(["READY", "WATCHDOG", "STOPPING"]), st.just("1")))
def test_what_is_written_is_read(words: dict[str, str]) -> None:
    """The two sides agree."""
    notice = parse(write(words))
    said = {"READY": notice.ready, "WATCHDOG": notice.fed, "STOPPING": notice.stopping}
    assert {key for key, true in said.items() if true} == set(words)

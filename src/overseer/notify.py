"""The words of sd_notify(3): one datagram of lines `KEY=VALUE`, read and written. Does no I/O.

What cannot be understood is left out, as systemd does; nothing a stranger writes here is an error.
"""

from __future__ import annotations

from overseer.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 4096
"""Bytes of one datagram (NOTIFY_BUFFER_MAX of systemd); longer ones are left out as a whole."""

PROBE = "X_OVERSEER_PROBE"
"""Marks a word of our own probe, so that it is told from the program's."""

_LONGEST = 10.0**9
"""Seconds (31 years); a longer time is no time."""

_LONGEST_NAME = 255
"""Letters of a FDNAME, as in sd_pid_notify_with_fds(3)."""


@value
class Notice:
    """What one datagram says. `None` and False: not said."""

    ready: bool = False
    reloading: bool = False
    stopping: bool = False
    status: str | None = None
    errno: int | None = None
    exit_status: int | None = None
    main_pid: int | None = None
    fed: bool = False  # WATCHDOG=1
    triggered: bool = False  # WATCHDOG=trigger: it says itself that it is ill
    watchdog: float | None = None  # seconds: another patience of the watchdog; 0 for none
    extend: float | None = None  # seconds
    store: bool = False  # FDSTORE=1: keep the descriptors that came with it
    remove: bool = False  # FDSTOREREMOVE=1
    name: str = "stored"  # FDNAME of both
    poll: bool = True  # FDPOLL=0: keep them although the other side hangs up
    barrier: bool = False
    probe: bool = False


def parse(datagram: bytes) -> Notice:
    """Read a datagram. Of a key that comes twice the last one counts."""
    if len(datagram) > MOST:
        return Notice()
    words: dict[str, str] = {}
    for line in datagram.decode("utf-8", "replace").split("\n"):
        key, equals, given = line.partition("=")
        if equals:
            words[key] = given
    name = words.get("FDNAME", "stored")
    return Notice(
        ready=words.get("READY") == "1",
        reloading=words.get("RELOADING") == "1",
        stopping=words.get("STOPPING") == "1",
        status=_printable(words["STATUS"]) if "STATUS" in words else None,
        errno=_number(words, "ERRNO"),
        exit_status=_number(words, "EXIT_STATUS"),
        main_pid=_number(words, "MAINPID"),
        fed=words.get("WATCHDOG") == "1",
        triggered=words.get("WATCHDOG") == "trigger",
        watchdog=_seconds(words, "WATCHDOG_USEC"),
        extend=_seconds(words, "EXTEND_TIMEOUT_USEC"),
        store=words.get("FDSTORE") == "1",
        remove=words.get("FDSTOREREMOVE") == "1",
        name=name if is_name(name) else "stored",
        poll=words.get("FDPOLL") != "0",
        barrier=words.get("BARRIER") == "1",
        probe=words.get(PROBE) == "1",
    )


def write(words: Mapping[str, str]) -> bytes:
    """Write a datagram."""
    return "\n".join(f"{key}={given}" for key, given in words.items()).encode()


def is_name(text: str) -> bool:
    """Whether a text may name a descriptor: it stands in LISTEN_FDNAMES, with colons in between."""
    return 0 < len(text) <= _LONGEST_NAME and text.isascii() and text.isprintable() and ":" not in text


def _number(words: Mapping[str, str], key: str) -> int | None:
    given = words.get(key, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) <= 20 else None


def _seconds(words: Mapping[str, str], key: str) -> float | None:
    microseconds = _number(words, key)
    seconds = None if microseconds is None else microseconds / 1e6
    return seconds if seconds is not None and seconds <= _LONGEST else None


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)

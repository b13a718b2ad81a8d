"""Where a program listens, as a value: read from text, written back, compared.

Nothing here touches the system: a name is not resolved, a path is not looked at. `sockets` does that.
Any text either parses or raises `AddressError` with a sentence that says what is wrong and an example of
what is right.

    :3000  3000                     TCP on every interface, IPv6 and IPv4 (IPv4 alone where there is no IPv6)
    127.0.0.1:3000  [::1]:3000      TCP on one interface
    localhost:3000  :0              a name (one address of it, IPv4 preferred); a port chosen by the kernel
    tcp:127.0.0.1:3000              the same, said aloud
    unix:/run/app.sock?mode=0660    a socket file; also user= and group= (names or numbers)
    unix:@name                      a name in Linux' abstract space, no file
    udp:127.0.0.1:53  udp::53       UDP
    fd:NAME                         a socket that the service manager has opened (LISTEN_FDNAMES), or fd:3
    web=127.0.0.1:80                any of these with a name in front
    :80?backlog=512&reuse_port=yes  options of TCP and UDP: backlog (not UDP), reuse_port, v6only
"""

from __future__ import annotations

import socket
import sys

from overseer.errors import AddressError
from overseer.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Literal

    Kind = Literal["tcp", "udp", "unix", "fd"]

# As many connections as the kernel lets wait: it caps the number by itself (net.core.somaxconn).
DEFAULT_BACKLOG = 4096

# A sockaddr_un holds 108 bytes on Linux and 104 elsewhere. One is the closing NUL; one is for the "~" under
# which a socket file is made ready before it is renamed to its place.
LONGEST_PATH = (108 if sys.platform == "linux" else 104) - 2

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME_LETTERS = _LETTERS | frozenset("_.-")
_YES = frozenset(("yes", "true", "on", "1"))
_NO = frozenset(("no", "false", "off", "0"))


@value
class Address:
    """One place to listen on.

    `text` is what was given and `name` what the listener is called (safe for LISTEN_FDNAMES); `host` is
    empty for every interface and has no brackets; `port` 0 lets the kernel choose. `path` is the file of a
    Unix socket, its abstract name (then `abstract`), or the name of an inherited descriptor. `mode` is
    None and `user` and `group` are empty where the system's own choice shall stand.
    """

    text: str
    kind: Kind
    name: str
    host: str = ""
    port: int = 0
    path: str = ""
    abstract: bool = False
    mode: int | None = None
    user: str = ""
    group: str = ""
    backlog: int = DEFAULT_BACKLOG
    reuse_port: bool = False
    v6only: bool = False

    @property
    def key(self) -> str:
        """The listener's identity: spellings of the same place have the same key, whatever their options.

        Port 0 is a new port each time, so that two listeners may rightly have the same key there.
        """
        if self.kind in ("unix", "fd"):
            return self._place
        # Every interface is the IPv6 wildcard with IPv4 mapped into it, however it was written.
        host = f"[{self.host or '::'}]" if ":" in self.host or not self.host else self.host
        only = "?v6only=yes" if self.v6only and host == "[::]" else ""
        return f"{self.kind}:{host}:{self.port}{only}"

    @property
    def _place(self) -> str:
        """The shortest spelling, without name and options."""
        if self.kind == "fd":
            return f"fd:{self.path}"
        if self.kind == "unix":
            return f"unix:{'@' if self.abstract else ''}{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'udp:' if self.kind == 'udp' else ''}{host}:{self.port}"

    def __str__(self) -> str:
        """Write the address in its shortest spelling, such that `parse` reads the same from it."""
        name = "" if self.name == _derived_name(self) else f"{self.name}="
        options = {
            "mode": "" if self.mode is None else f"{self.mode:04o}",
            "user": self.user,
            "group": self.group,
            "backlog": "" if self.backlog == DEFAULT_BACKLOG else str(self.backlog),
            "reuse_port": "yes" if self.reuse_port else "",
            "v6only": "yes" if self.v6only else "",
        }
        query = "&".join(f"{option}={what}" for option, what in options.items() if what)
        return f"{name}{self._place}{'?' if query else ''}{query}"


def identities(addresses: Iterable[Address]) -> list[str]:
    """Return what tells the listeners of a list apart: their keys, and for port 0 twice, two of them."""
    found: list[str] = []
    seen: dict[str, int] = {}  # counted, not searched: there may be a thousand
    for key in (address.key for address in addresses):
        before = seen.get(key, 0)
        seen[key] = before + 1
        found.append(f"{key}#{before}" if before else key)
    return found


class _WrongError(Exception):
    """What is wrong with a part of an address, as a sentence."""


def parse(text: str) -> Address:
    """Read an address from text.

    Raises `AddressError`, and nothing else, when the text is not an address.
    """
    try:
        return _read(text)
    except _WrongError as wrong:
        # Text that would spoil a terminal or a log line is shown in its escaped form.
        raise AddressError(text if text and text.isprintable() else ascii(text), str(wrong)) from None


def _read(text: str) -> Address:
    if not text:
        raise _WrongError("the address is empty; write for example 127.0.0.1:3000")
    if text != text.strip() or any(letter < " " or letter == "\x7f" for letter in text):
        raise _WrongError(
            "there is a blank around it or a control character in it; write for example 127.0.0.1:3000"
        )
    name, body = _split_name(text)
    where, asked, query = body.partition("?")
    if where != where.strip():
        raise _WrongError("there is a blank around the place; write for example unix:/run/app.sock?mode=0660")
    kind, place = _split_kind(where)
    address = Address(text=text, kind=kind, name=name, **_PLACES[kind](place))
    if asked:
        address = replace(address, **_options(address, query))
    return address if name else replace(address, name=_derived_name(address))


def _split_name(text: str) -> tuple[str, str]:
    """Split `web=:80` into name and rest; an `=` further on belongs to a path or an option."""
    name, equals, rest = text.partition("=")
    if not equals or not _NAME_LETTERS.issuperset(name):
        return "", text
    if not name or len(name) > 255:
        raise _WrongError("the name before = is empty or too long; write for example web=127.0.0.1:80")
    return name, rest


def _split_kind(where: str) -> tuple[Kind, str]:
    head, _, rest = where.partition(":")
    kinds: tuple[Kind, ...] = ("tcp", "udp", "unix", "fd")
    for kind in kinds:
        if head.lower() == kind:
            return kind, rest
    return "tcp", where


def _derived_name(address: Address) -> str:
    """Name a listener after its place, in letters that LISTEN_FDNAMES can carry."""
    place = address.path if address.kind == "fd" else address._place  # noqa: SLF001 - its own module
    safe = "".join(letter if letter in _NAME_LETTERS else "-" for letter in place)
    return "-".join(part for part in safe.split("-") if part)[:255] or address.kind


def _internet_place(place: str) -> dict[str, Any]:
    if "/" in place:
        raise _WrongError("only after unix: an address has slashes; write for example 127.0.0.1:3000")
    if _is_number(place):
        return {"port": _port(place)}
    if place.startswith("["):
        host, _, after = place[1:].partition("]")
        if not after.startswith(":"):
            raise _WrongError("after the IPv6 address must come ] and a port; write for example [::1]:3000")
        return {"host": _ipv6(host), "port": _port(after[1:])}
    host, colon, port = place.rpartition(":")
    if not colon:
        raise _WrongError("there is no port; write for example 127.0.0.1:3000 or localhost:3000")
    if ":" in host:
        raise _WrongError("an IPv6 address stands in brackets; write for example [::1]:3000")
    return {"host": _host(host), "port": _port(port)}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _port(text: str) -> int:
    # The length is looked at first: Python refuses to convert thousands of digits.
    if not _is_number(text) or len(text) > 5 or int(text) > 65535:
        shown = text if len(text) <= 20 else f"{text[:20]}..."
        raise _WrongError(f"the port {shown!r} is not one of 0 to 65535; write for example 127.0.0.1:3000")
    return int(text)


def _ipv6(text: str) -> str:
    bare, percent, zone = text.partition("%")
    try:
        host = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, bare))
    except (OSError, ValueError):
        raise _WrongError(f"{text!r} is no IPv6 address; write for example [::1]:3000") from None
    if percent and not (zone and _NAME_LETTERS.issuperset(zone)):
        raise _WrongError(
            f"{zone!r} is no name of a network interface; write for example [fe80::1%eth0]:3000"
        )
    return f"{host}%{zone}" if percent else host


def _host(text: str) -> str:
    if not text:
        return ""
    labels = text.removesuffix(".").split(".")
    if _is_number(labels[-1]):
        try:
            return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, text))
        except (OSError, ValueError):
            raise _WrongError(
                f"{text!r} is neither an IPv4 address nor a name; write for example 127.0.0.1:3000"
            ) from None
    if len(text) > 253 or any(
        not 0 < len(label) <= 63 or not _NAME_LETTERS.issuperset(label) for label in labels
    ):
        raise _WrongError(
            "the host is no name of letters, digits, dots and dashes (a name with other letters has an ASCII "
            "form, xn--...); write for example localhost:3000, or :3000 for every interface"
        )
    return text.lower()


def _unix_place(place: str) -> dict[str, Any]:
    try:
        length = len(place.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise _WrongError("the path is no text; write for example unix:/run/app.sock") from None
    if place.startswith("@"):
        if len(place) == 1 or length - 1 > LONGEST_PATH:
            raise _WrongError(
                f"an abstract name has 1 to {LONGEST_PATH} bytes, this one {length - 1}; "
                "write for example unix:@app"
            )
        return {"path": place[1:], "abstract": True}
    if not place.startswith("/"):
        raise _WrongError(
            "the path is not absolute, and would mean another file in another folder; "
            "write for example unix:/run/app.sock, or unix:@app for an abstract name"
        )
    if place.endswith(("/", "/.", "/..")):
        raise _WrongError("the path names a folder, not a file; write for example unix:/run/app.sock")
    # `..` stays: behind a symbolic link it is not what the text suggests.
    path = "/" + "/".join(part for part in place.split("/") if part not in ("", "."))
    length = len(path.encode("utf-8", "surrogateescape"))
    if length > LONGEST_PATH:
        raise _WrongError(
            f"the path has {length} bytes and the system allows {LONGEST_PATH} for a socket's; "
            "write a shorter one, for example unix:/run/app.sock"
        )
    return {"path": path}


def _inherited_place(place: str) -> dict[str, Any]:
    if not place or len(place) > 255 or ":" in place or not (place.isascii() and place.isprintable()):
        raise _WrongError(
            "after fd: comes the name the service manager gave the socket (FileDescriptorName=), "
            "1 to 255 ASCII letters without a colon; write for example fd:web"
        )
    return {"path": place}


_PLACES: dict[Kind, Callable[[str], dict[str, Any]]] = {
    "tcp": _internet_place,
    "udp": _internet_place,
    "unix": _unix_place,
    "fd": _inherited_place,
}


def _options(address: Address, query: str) -> dict[str, Any]:
    allowed = _allowed_options(address)
    found: dict[str, Any] = {}
    for part in query.split("&"):
        option, _, what = part.partition("=")
        if option not in allowed:
            here = f"{', '.join(allowed)} can" if allowed else "nothing can"
            raise _WrongError(f"{option!r} is no option of this address ({here} stand after ?); {_EXAMPLE}")
        if option in found:
            raise _WrongError(f"{option} is given twice; {_EXAMPLE}")
        found[option] = _OPTIONS[option](option, what)
    return found


def _allowed_options(address: Address) -> tuple[str, ...]:
    if address.kind == "fd":
        return ()
    if address.kind == "unix":
        return ("backlog",) if address.abstract else ("mode", "user", "group", "backlog")
    listens = () if address.kind == "udp" else ("backlog",)
    both = not address.host or ":" in address.host
    return (*listens, "reuse_port", *(("v6only",) if both else ()))


def _mode(option: str, what: str) -> int:
    digits = what.removeprefix("0o")
    if not digits or len(digits) > 4 or not set("01234567").issuperset(digits) or int(digits, 8) > 0o777:
        raise _WrongError(f"{option} {what!r} is no octal mode up to 0777; {_EXAMPLE}")
    return int(digits, 8)


def _owner(option: str, what: str) -> str:
    # 2**32 - 1 is what chown(2) takes for "leave it".
    if (
        not what
        or not what.isprintable()
        or (_is_number(what) and (len(what) > 10 or int(what) >= 2**32 - 1))
    ):
        raise _WrongError(f"{option} {what!r} is neither a name nor a number; {_EXAMPLE}")
    return what


def _backlog(option: str, what: str) -> int:
    if not _is_number(what) or len(what) > 10 or not 0 < int(what) < 2**31:
        raise _WrongError(f"{option} {what!r} is no number from 1 to 2147483647; {_EXAMPLE}")
    return int(what)


def _yes_or_no(option: str, what: str) -> bool:
    if what.lower() not in _YES | _NO:
        raise _WrongError(f"{option} {what!r} is neither yes nor no; {_EXAMPLE}")
    return what.lower() in _YES


_EXAMPLE = "write for example :80?backlog=512&reuse_port=yes or unix:/run/app.sock?mode=0660&group=web"
_OPTIONS: dict[str, Callable[[str, str], Any]] = {
    "mode": _mode,
    "user": _owner,
    "group": _owner,
    "backlog": _backlog,
    "reuse_port": _yes_or_no,
    "v6only": _yes_or_no,
}

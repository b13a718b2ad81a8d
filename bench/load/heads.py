"""The heads of requests, as each kind of client sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.load.plan import Kind
    from bench.load.setting import Setting


def path_of(setting: Setting, kind: Kind) -> str:
    """Return the path that is asked for."""
    return kind.path or setting.plan.path or setting.target.path or "/"


def request(
    setting: Setting,
    kind: Kind,
    *,
    method: str = "GET",
    close: bool,
    length: int | None = None,
    more: Sequence[str] = (),
) -> bytes:
    """Return the head of an HTTP/1.1 request; `more` are lines of it."""
    lines = [f"{method} {path_of(setting, kind)} HTTP/1.1", f"Host: {setting.target.host}", *more]
    lines += [f"{name}: {text}" for name, text in setting.plan.headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def fields(setting: Setting, kind: Kind) -> list[tuple[bytes, bytes]]:
    """Return the fields of a GET as HTTP/2 has them."""
    words = [
        (":method", "GET"),
        (":scheme", "https" if setting.target.secure else "http"),
        (":authority", setting.target.host),
    ]
    words += [(":path", path_of(setting, kind))]
    words += [(name.lower(), text) for name, text in setting.plan.headers]
    return [(name.encode("latin-1"), text.encode("latin-1")) for name, text in words]

"""What a release is, told from its first bytes; what is started for it; and what is no release at all.

A kind is a row of a table: how it is recognised, whether this interpreter runs it, and what its environment
needs. Nothing of a release is executed here. Truncation is found where the format allows it: a zip ends in
its directory, an ELF file says how long it is, Python must parse.
"""

from __future__ import annotations

import ast
import os
import re
import struct
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.errors import OverseerError
from overseer.updater import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEAD = 4096
"""Bytes that are looked at first."""

MAX_SOURCE = 32 << 20
"""Bytes of Python that are parsed; a longer script is trusted to its check."""

MAX_ARCHIVE = 4 << 30
"""Bytes that a zip archive may say it unpacks to: it is read once to see that it is whole."""

_PYTHON_SHEBANG = re.compile(rb"#!.*\b(?:python|pypy)[0-9.]*\b")


class NotAReleaseError(OverseerError):
    """These bytes are nothing that could be started here; the message says what they look like.

    `certain`: they are whole, and a release for somebody else; it will not be better another time.
    """

    def __init__(self, message: str, *, certain: bool = False) -> None:
        super().__init__(message)
        self.certain = certain


@dataclass(frozen=True)
class Kind:
    """How releases of one kind are started.

    `interpreted`: by this interpreter, with the flags it has itself. `unpacks`: variables that name a cache
    of its own, each set to a folder of the release, so that no two releases share what they unpack.
    `spreads`: it is an archive of many files, and what is started lies in what it unpacks to.
    """

    name: str
    interpreted: bool
    recognise: Callable[[str, bytes, str], bool]
    unpacks: tuple[str, ...] = ()
    spreads: bool = False

    def prepare(self, path: str) -> None:
        """Have everything there that is needed to start the release at `path`.

        Raises `NotAReleaseError` where that cannot be, and `OSError`.
        """
        if self.spreads:
            try:
                tree.ensure(path)
            except tree.TreeError as error:
                raise NotAReleaseError(str(error)) from error

    def argv(self, path: str, interpreter: Sequence[str] = ()) -> list[str]:
        """Return what to execute for the release at `path`; `interpreter` is this one with its flags."""
        chosen = [*(interpreter or this_interpreter())]
        if self.spreads:
            return tree.command(path, chosen)
        return [*chosen, path] if self.interpreted else [path]

    def environment(self, caches: str) -> dict[str, str]:
        """Return the variables a release needs; `caches` is a folder that goes when the release goes."""
        return {name: os.path.join(caches, name.lower()) for name in self.unpacks}


def this_interpreter() -> list[str]:
    """Return the command line of this interpreter, with the flags it was started with."""
    # What multiprocessing starts its own children with: -I -O -W -X and the like; there is no public name.
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    return [sys.executable, *flags]


def detect(path: str, *, name: str = "") -> Kind:
    """Tell the kind of the file at `path`. `name` is what it will be called: `.py` may be Python.

    Raises `NotAReleaseError` for what is empty, cut short, a page of a web server, or for another machine.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if not head:
        raise NotAReleaseError("it is empty")
    for kind in KINDS.values():
        if kind.recognise(path, head, name or os.path.basename(path)):
            return kind
    raise NotAReleaseError(_looks_like(head))


def named(kind: str, path: str) -> Kind:
    """Return a kind by its name, or look at the file when nobody has noted it."""
    return KINDS.get(kind) or detect(path)


# -- how each is recognised --------------------------------------------------------------------------------


def _is_elf(path: str, head: bytes, name: str) -> bool:
    del name
    if not head.startswith(b"\x7fELF"):
        return False
    ours = _our_own_head()
    if not ours.startswith(b"\x7fELF"):
        raise NotAReleaseError("it is an ELF executable, and this system runs another format", certain=True)
    if len(head) < 6:
        raise NotAReleaseError("it is cut short: the beginning of an executable")
    if len(head) < 64:
        raise NotAReleaseError(f"it is cut short: {len(head)} bytes of an executable")
    if head[4:6] != ours[4:6]:
        raise NotAReleaseError(
            f"it is an executable for {_class(head)} machines; this one is {_class(ours)}", certain=True
        )
    end = "<" if head[5] == 1 else ">"
    if head[18:20] != ours[18:20]:
        found, wanted = _machine(head[18:20], end), _machine(ours[18:20], end)
        raise NotAReleaseError(f"it is an executable for {found}; this machine is {wanted}", certain=True)
    if struct.unpack(f"{end}H", head[16:18])[0] not in (2, 3):  # ET_EXEC, ET_DYN
        raise NotAReleaseError("it is an object file or a core dump, not an executable")
    size, said = os.path.getsize(path), _elf_size(head, end)
    if size < said:
        raise NotAReleaseError(f"it is cut short: {size} bytes of an executable of at least {said}")
    return True


def _our_own_head() -> bytes:
    with open("/proc/self/exe" if os.path.exists("/proc/self/exe") else sys.executable, "rb") as file:
        return file.read(64)


def _elf_size(head: bytes, end: str) -> int:
    """Return how long an ELF file says it is at least: to the end of its tables and segments."""
    wide = head[4] == 2
    start, sections = struct.unpack(f"{end}{'QQ' if wide else 'II'}", head[32:48] if wide else head[28:36])
    entry, count, section, sections_count = struct.unpack(f"{end}HHHH", head[54:62] if wide else head[42:50])
    size = max(start + entry * count, sections + section * sections_count)
    for i in range(count):
        at = start + i * entry
        row = head[at : at + entry]
        if len(row) < (40 if wide else 20):
            break  # beyond what was read: rare, and the tables' end is checked already
        offset = struct.unpack(f"{end}Q", row[8:16])[0] if wide else struct.unpack(f"{end}I", row[4:8])[0]
        length = struct.unpack(f"{end}Q", row[32:40])[0] if wide else struct.unpack(f"{end}I", row[16:20])[0]
        size = max(size, offset + length)
    return int(size)


def _class(head: bytes) -> str:
    bits, order = {1: "32-bit", 2: "64-bit"}, {1: "little-endian", 2: "big-endian"}
    return f"{bits.get(head[4], 'strange')} {order.get(head[5], 'strange')}"


def _machine(field: bytes, end: str) -> str:
    number = int(struct.unpack(f"{end}H", field)[0])
    known = {3: "x86", 40: "arm", 62: "x86_64", 183: "arm64", 243: "riscv", 21: "ppc64", 22: "s390"}
    return known.get(number, f"machine {number}")


def _is_macho(path: str, head: bytes, name: str) -> bool:
    del path, name
    if head[:4] not in (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"):
        return False
    if sys.platform != "darwin":
        raise NotAReleaseError("it is an executable for macOS", certain=True)
    return True


def _is_tree(path: str, head: bytes, name: str) -> bool:
    del name
    if not tree.is_tar(head) and not (head.startswith(b"PK\x03\x04") and _is_zip_of_a_tree(path)):
        return False
    try:
        tree.examine(path)
    except tree.TreeError as error:
        raise NotAReleaseError(str(error)) from error
    return True


def _is_zip_of_a_tree(path: str) -> bool:
    """Python itself starts an archive with a __main__.py at its top; all others have to be unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # noqa: BLE001 - a broken one is told of as such by the next row
        return False
    deeper = any(name.endswith("/__main__.py") or "bin/" in name for name in names)
    return deeper and not {"__main__.py", "__main__.pyc"} & {*names}


def _is_zipapp(path: str, head: bytes, name: str) -> bool:
    del name
    shebang = head.startswith(b"#!")
    if not head.startswith(b"PK\x03\x04") and not (shebang and zipfile.is_zipfile(path)):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            unpacked = sum(member.file_size for member in archive.infolist())
            whole = unpacked <= MAX_ARCHIVE and not archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise NotAReleaseError(f"it is a broken zip archive ({error}); it was cut short perhaps") from error
    except Exception as error:  # zlib.error, lzma.LZMAError: whatever a stranger's archive makes them raise
        raise NotAReleaseError(f"it is a broken zip archive ({error})") from error
    if unpacked > MAX_ARCHIVE:
        raise NotAReleaseError(f"it is a zip archive that unpacks to {unpacked >> 20} MiB, more than is read")
    if not whole:
        raise NotAReleaseError("it is a zip archive with a damaged member")
    if not names & {"__main__.py", "__main__.pyc"}:
        raise NotAReleaseError("it is a zip archive without a __main__.py, so Python cannot start it")
    return True


def _is_python(path: str, head: bytes, name: str) -> bool:
    first = head.split(b"\n", 1)[0]
    named = name.endswith((".py", ".pyw")) and not first.startswith(b"#!")
    if not named and not _PYTHON_SHEBANG.match(first):
        return False
    if b"\0" in head or _is_page(head):
        raise NotAReleaseError(_looks_like(head))
    _refuse_first_line_only(head)
    if os.path.getsize(path) > MAX_SOURCE:
        return True
    with open(path, "rb") as file:
        source = file.read()
    try:
        parsed = ast.parse(source, name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotAReleaseError(f"it is no Python that this interpreter can read ({error})") from error
    if not parsed.body:
        raise NotAReleaseError("it is Python without a statement")
    return True


def _is_script(path: str, head: bytes, name: str) -> bool:
    del path, name
    if not head.startswith(b"#!") or b"\0" in head.split(b"\n", 1)[0]:
        return False
    _refuse_first_line_only(head)
    return True


def _refuse_first_line_only(head: bytes) -> None:
    if head.startswith(b"#!") and not head.partition(b"\n")[2].strip():
        raise NotAReleaseError("it is cut short: a #! line and nothing behind it")


def _is_page(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"


def _looks_like(head: bytes) -> str:
    if _is_page(head):
        return "it is a web page, not a release; a proxy or a login page may have answered"
    if head.startswith(b"MZ"):
        return "it is an executable for Windows"
    if head.lstrip()[:1] == b"{":
        return "it is JSON, not a release"
    if head[:2] == b"\x1f\x8b":
        return "it is packed with gzip, and that more than once"
    if b"\0" not in head:
        return f"it is text without a #! line: {head[:40]!r}"
    return f"it is nothing that can be started: it begins with {head[:16].hex(' ')}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("elf", interpreted=False, recognise=_is_elf),
        Kind("macho", interpreted=False, recognise=_is_macho),
        Kind("tree", interpreted=True, recognise=_is_tree, spreads=True),
        Kind("zipapp", interpreted=True, recognise=_is_zipapp, unpacks=("SHIV_ROOT", "PEX_ROOT")),
        Kind("python", interpreted=True, recognise=_is_python),
        Kind("script", interpreted=False, recognise=_is_script),
    )
}
"""Every kind by name, in the order they are tried."""

"""Which file of a release is for this machine: exact names made of a template, never a likeness.

`arm` is not `arm64`, and `x86` is not `x86_64`: a name is taken only when it is, letter by letter, what the
template gives for a known spelling of this platform; without a template, only when it has this platform's
words as whole words.
"""

from __future__ import annotations

import itertools
import os
import platform
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Spellings in use, the first of each is what a URL gets: Go's and Docker's words, as in the original.
OS = {
    "linux": ("linux", "Linux"),
    "darwin": ("darwin", "macos", "macOS", "Darwin", "osx"),
    "freebsd": ("freebsd", "FreeBSD"),
    "openbsd": ("openbsd", "OpenBSD"),
    "netbsd": ("netbsd", "NetBSD"),
}
ARCH = {
    "x86_64": ("amd64", "x86_64", "x64", "x86-64"),
    "i686": ("386", "i386", "i686", "x86"),
    "aarch64": ("arm64", "aarch64"),
    "armv7l": ("armv7", "armv7l", "armhf", "arm"),
    "armv6l": ("armv6", "armv6l", "arm"),
    "riscv64": ("riscv64",),
    "ppc64le": ("ppc64le", "powerpc64le"),
    "s390x": ("s390x",),
}
LIBC = {"gnu": ("gnu", "glibc"), "musl": ("musl",)}

_SAME_MACHINE = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686", "i586": "i686", "armv8l": "armv7l"}
_32_BIT_OF = {"x86_64": "i686", "aarch64": "armv7l"}
_FIELD = re.compile(r"\{([^{}]*)\}")
_BESIDE = re.compile(
    r"\.(sha\d+(sum)?|md5|sig|asc|minisig|pem|crt|cert|sbom|json|jsonl|txt|sigstore|deb|rpm|apk|pkg|dmg|msi)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Target:
    """A platform: `os` as in `OS`, `machine` as `uname -m` says, `libc` gnu, musl or "" for neither."""

    os: str
    machine: str
    libc: str = ""

    def spellings(self, *, tag: str = "", version: str = "") -> dict[str, tuple[str, ...]]:
        """Say by which words each field of a template may be filled; none: the field cannot be filled."""
        plain = version_of(tag) or version
        return {
            "os": OS.get(self.os, (self.os,)),
            "arch": ARCH.get(self.machine, (self.machine,)),
            "machine": (self.machine,),
            "libc": LIBC.get(self.libc, ()),
            "tag": (tag,) if tag else (),
            "version": tuple(dict.fromkeys(word for word in (plain, tag) if word)),
        }


def here() -> Target:
    """Say what this interpreter runs on (a 32-bit interpreter on a 64-bit kernel is a 32-bit platform)."""
    machine = platform.machine().lower()
    machine = _SAME_MACHINE.get(machine, machine)
    if sys.maxsize < 2**32:
        machine = _32_BIT_OF.get(machine, machine)
    system = re.sub(r"\d+$", "", sys.platform)
    return Target(system, machine, _libc() if system == "linux" else "")


def _libc() -> str:
    try:
        told = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # musl does not know the question
        told = ""
    return "gnu" if told.startswith("glibc") else "musl"


def version_of(tag: str) -> str:
    """Read the version from a tag: `v1.2.3` and `1.2.3` are 1.2.3, any other tag is its own version."""
    match = re.fullmatch(r"[vV]?(\d.*)", tag)
    return match[1] if match else tag


def check_template(field: str, template: str, allowed: Iterable[str]) -> None:
    """Raise `ConfigError` about `field` when `template` asks for something that nobody can fill in."""
    for name in _FIELD.findall(template):
        if name not in allowed:
            known = ", ".join(f"{{{word}}}" for word in allowed)
            raise ConfigError(field, f"{{{name}}} is not one of {known}")


def fill(template: str, target: Target, *, version: str = "") -> str:
    """Fill a URL's template in, with the first spelling of each field.

    Raises `ConfigError` when a field has none, such as {libc} where there is only one.
    """
    words = target.spellings(version=version)

    def word(match: re.Match[str]) -> str:
        spelled = words.get(match[1])
        if not spelled:
            raise ConfigError(
                "url", f"there is nothing to fill {match[0]} with on {target.os} {target.machine}"
            )
        return spelled[0]

    return _FIELD.sub(word, template)


def names(template: str, target: Target, *, tag: str) -> Iterator[str]:
    """Yield every exact name that `template` stands for, the preferred one first."""
    words = target.spellings(tag=tag)
    fields = list(dict.fromkeys(_FIELD.findall(template)))
    for combination in itertools.product(*(words.get(field, ()) for field in fields)):
        filled = dict(zip(fields, combination, strict=True))
        yield _FIELD.sub(lambda match, filled=filled: filled[match[1]], template)  # type: ignore[misc]


def fitting(candidates: Iterable[str], target: Target) -> list[str]:
    """Choose without a template: the names that say this system and this machine in whole words.

    Checksums, signatures and packages of other managers are left out, and so is a name that says the other
    libc. Those that say ours go before those that say none. More than one left is for the caller to refuse.
    """
    fits = [name for name in candidates if not _BESIDE.search(name) and _says(name, target)]
    ours = [name for name in fits if any(_has(name, word) for word in LIBC.get(target.libc, ()))]
    return ours or fits


def _says(name: str, target: Target) -> bool:
    others = [word for libc, words in LIBC.items() if libc != target.libc for word in words]
    return (
        any(_has(name, word) for word in OS.get(target.os, (target.os,)))
        and any(_has(name, word) for word in ARCH.get(target.machine, (target.machine,)))
        and not any(_has(name, word) for word in others)
    )


def _has(name: str, word: str) -> bool:
    # x86_64 is one word, or x86 would be found in it.
    plain = re.sub(r"x86[-_]64", "amd64", name.lower())
    word = re.sub(r"x86[-_]64", "amd64", word.lower())
    return bool(re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", plain))

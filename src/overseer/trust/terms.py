"""What is signed of each release besides its bytes: the custom metadata of a TUF target, and its flat name.

    app-1.2-linux-x86_64-gnu.pyz                      a release
    {"overseer": {"name": "app", "version": "1.2", "platform": "linux-x86_64-gnu",
                  "min_from": "", "notes": ""}}

    app-1.2-linux-x86_64-gnu.pyz.from-3f9a0c1b2d4e.zst    how to make it of the release with that digest
    {"overseer": {..., "patch": {"from": "3f9a...", "to": "app-1.2-linux-x86_64-gnu.pyz"}}}

They are served as `<sha256>.<name>` in the folder that has the metadata.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

FIELD = "overseer"
"""Where in a target's custom metadata it is."""

ANY = "any"
"""The platform of what runs everywhere."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST = 200  # characters of a name, a version, a platform


@dataclass(frozen=True)
class Patch:
    """A patch: `base` is the SHA-256 of the release it is applied to, `to` the target that it makes."""

    base: str
    to: str


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a target says of itself; `min_from` is the lowest version that may upgrade to it directly."""

    name: str
    version: str
    platform: str = ANY
    min_from: str = ""
    notes: str = ""
    patch: Patch | None = None

    def custom(self) -> dict[str, Any]:
        """Return it as custom metadata."""
        told: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "platform": self.platform,
            "min_from": self.min_from,
            "notes": self.notes,
        }
        if self.patch is not None:
            told["patch"] = {"from": self.patch.base, "to": self.patch.to}
        return {FIELD: told}

    def as_patch(self, patch: Patch) -> Terms:
        """Return the same terms, of a patch that makes the release."""
        return replace(self, patch=patch)

    def target(self, extension: str = "") -> str:
        """Return the name of the target of a release; `extension` is that of its file."""
        return f"{self.name}-{self.version}-{self.platform}{extension}"


def read(custom: object) -> Terms | None:
    """Read custom metadata; None when it is not ours, or makes no sense."""
    told = custom.get(FIELD) if isinstance(custom, dict) else None
    if not isinstance(told, dict):
        return None
    texts = {key: told.get(key, "") for key in ("name", "version", "platform", "min_from", "notes")}
    if not all(isinstance(text, str) for text in texts.values()):
        return None
    if not all(is_word(texts[key]) for key in ("name", "version", "platform")):
        return None
    if "patch" not in told:
        return Terms(**texts)
    patch = _patch(told["patch"])
    return Terms(**texts, patch=patch) if patch else None


def _patch(told: object) -> Patch | None:
    if not isinstance(told, dict):
        return None
    base, to = told.get("from"), told.get("to")
    if not isinstance(base, str) or not isinstance(to, str) or not _DIGEST.fullmatch(base):
        return None
    return Patch(base, to)


def patch_target(to: str, base: str) -> str:
    """Return the name of the patch that makes the target `to` of the release with the digest `base`."""
    return f"{to}.from-{base[:12]}.zst"


def is_word(text: str) -> bool:
    """Whether this may be part of a flat name."""
    return len(text) <= _LONGEST and bool(_WORD.fullmatch(text))


def same_release(one: Terms, other: Terms) -> bool:
    """Whether two terms are about the same program on the same platform."""
    return (one.name, one.platform) == (other.name, other.platform)

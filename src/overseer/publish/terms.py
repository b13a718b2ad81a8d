"""What is signed of each release besides its bytes: the custom metadata of a target, and its flat name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELD = "overseer"
"""Where in a target's custom metadata it is."""

ANY = "any"
"""The platform of what runs everywhere."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a target says of itself; `patch` is the SHA-256 of the release it is to be applied to."""

    name: str
    version: str
    platform: str = ANY
    min_from: str = ""
    notes: str = ""
    patch: Mapping[str, Any] | None = None

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
            told["patch"] = dict(self.patch)
        return {FIELD: told}

    def target(self, extension: str = "") -> str:
        """Return the name of the target."""
        return f"{self.name}-{self.version}-{self.platform}{extension}"


def read(custom: Mapping[str, Any] | None) -> Terms | None:
    """Read custom metadata; None when it is not ours."""
    told = (custom or {}).get(FIELD)
    if not isinstance(told, dict):
        return None
    return Terms(**{key: told[key] for key in ("name", "version", "platform", "min_from", "notes")},
                 patch=told.get("patch"))  # fmt: skip


def is_word(text: str) -> bool:
    """Whether this may be part of a flat name."""
    return bool(_WORD.fullmatch(text))

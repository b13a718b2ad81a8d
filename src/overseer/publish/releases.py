"""Which releases a repository has, and how its targets change: functions from signed values to new ones."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.metadata import TargetFile, Targets

from overseer.errors import PublishError
from overseer.trust import terms
from overseer.updater import version as versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from overseer.trust.terms import Terms


@dataclass(frozen=True, kw_only=True)
class Released:
    """A signed file: the name of its target, who signed it, its bytes, and its terms."""

    target: str
    role: str
    length: int
    sha256: str
    terms: Terms

    @property
    def file(self) -> str:
        """The name it is served under."""
        return f"{self.sha256}.{self.target}"


def released(targets: Mapping[str, Targets]) -> Iterator[Released]:
    """Yield what is released, patches included, role by role."""
    for role, each in targets.items():
        for name, file in each.targets.items():
            found = terms.read(file.unrecognized_fields.get("custom"))
            digest = file.hashes.get("sha256")
            if found and digest:
                yield Released(target=name, role=role, length=file.length, sha256=digest, terms=found)


def whole(found: Iterable[Released]) -> list[Released]:
    """Return those that are releases, not patches; the newest first, as far as versions can be compared."""
    kept = [each for each in found if each.terms.patch is None]
    return sorted(kept, key=lambda each: versions.key(each.terms.version) or (), reverse=True)


REVOKED = "x-overseer-revoked"
"""Where signed targets remember what was taken back: a list of name, version and platform."""


def already(targets: Mapping[str, Targets], new: Released) -> bool:
    """Whether this very release is there. Raises `PublishError` where it would change or go backwards.

    A version means the same bytes for ever; and a version lower than one that is there would never be taken.
    """
    if any(_mark(new) in each.unrecognized_fields.get(REVOKED, ()) for each in targets.values()):
        raise PublishError(f"version {new.terms.version} was revoked; publish a higher version")
    for each in whole(released(targets)):
        one, other = each.terms, new.terms
        if (one.name, one.platform) != (other.name, other.platform):
            continue
        if one.version == other.version:
            if (each.sha256, one) == (new.sha256, other):
                return True
            what = "other bytes" if each.sha256 != new.sha256 else "other terms"
            raise PublishError(
                f"version {one.version} for {one.platform} is published already, with {what}; "
                "clients may have it: publish a higher version"
            )
        if versions.is_lower(other.version, one.version):
            raise PublishError(
                f"version {other.version} is lower than {one.version}, which is published; no client would "
                "take it: publish a higher version, or revoke the other"
            )
        if versions.is_lower(other.version, one.version) is None:
            raise PublishError(f"nobody can tell whether {other.version} is higher than {one.version}")
    return False


def with_files(targets: Targets, new: Iterable[Released]) -> Targets:
    """Return targets that sign these files as well."""
    changed = deepcopy(targets)
    for each in new:
        custom = {"custom": each.terms.custom()}
        file = TargetFile(each.length, {"sha256": each.sha256}, each.target, custom)
        changed.targets[each.target] = file
    return changed


def without(targets: Targets, gone: Iterable[Released]) -> Targets:
    """Return targets that do not sign these files, and remember which releases were among them."""
    changed = deepcopy(targets)
    marks = changed.unrecognized_fields.setdefault(REVOKED, [])
    for each in gone:
        if changed.targets.pop(each.target, None) and each.terms.patch is None:
            marks.append(_mark(each))
    return changed


def _mark(release: Released) -> list[str]:
    return [release.terms.name, release.terms.version, release.terms.platform]

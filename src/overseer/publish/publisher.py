"""What a publisher does: publish a release, take one back, and say what there is."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from overseer.errors import PublishError
from overseer.publish.candidate import same
from overseer.publish.patches import Workshop, bases
from overseer.publish.releases import Released, already, released, whole, with_files, without
from overseer.publish.repository import Change
from overseer.publish.teams import nothing, refuse_foreign
from overseer.trust import terms

if TYPE_CHECKING:
    from collections.abc import Callable

    from overseer.publish.candidate import Candidate
    from overseer.publish.patches import Made
    from overseer.publish.places import Progress
    from overseer.publish.repository import Repository
    from overseer.publish.view import View
    from overseer.trust.terms import Terms


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a wish: `done` is False when all was there already."""

    done: bool
    release: Released
    patches: list[Made] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def publish(
    repository: Repository,
    candidate: Candidate,
    wanted: Terms,
    *,
    role: str = "targets",
    progress: Progress = lambda _: None,
    tell: Callable[[str], object] = lambda _: None,
) -> Outcome:
    """Publish a file under these terms, with patches from the last releases; once more, nothing happens.

    `progress` is told how many more bytes were uploaded, `tell` in a sentence what takes long.

    Raises `PublishError` when the version is there with other bytes, or would go backwards.
    """
    for what, text in (("name", wanted.name), ("version", wanted.version), ("platform", wanted.platform)):
        if not terms.is_word(text):
            raise PublishError(f"the {what} {text!r} must be made of letters, digits and . _ + ! -")
    if candidate.told and candidate.told != wanted.version:
        raise PublishError(
            f"{candidate.path} says that it is version {candidate.told}, not {wanted.version}: "
            "clients would see the one and be told the other"
        )
    if not same(candidate):
        raise PublishError(f"{candidate.path} changed while it was looked at")
    new = Released(
        target=wanted.target(candidate.extension),
        role=role,
        length=candidate.length,
        sha256=candidate.sha256,
        terms=wanted,
    )

    with tempfile.TemporaryDirectory(prefix="overseer-patches-") as folder:
        workshop = Workshop(candidate.path, folder, tell)

        def decide(view: View) -> Change | None:
            if already(view.targets, new):
                return None
            refuse_foreign(view, role, new.target)
            found = bases(released(view.targets), new, repository.home.patches)
            made = [workshop.patch(repository.place, base, new) for base in found]
            patches = [each for each in made if each]
            targets = with_files(view.targets.get(role) or nothing(), [new, *(each for each, _ in patches)])
            files = {new.file: candidate.path, **{each.file: path for each, path in patches}}
            return Change(files=files, targets={role: targets})

        done = repository.change(decide, progress)
        return Outcome(
            done=done,
            release=new,
            patches=list(workshop.made.values()),
            advice=list(workshop.advice()) if done else [],
        )


def revoke(repository: Repository, version: str) -> list[Released]:
    """Take a version back: no client is offered it, or a patch to or from it, any more.

    Returns what was taken back. Raises `PublishError` when there is no such version.
    """
    gone: list[Released] = []

    def decide(view: View) -> Change:
        found = list(released(view.targets))
        gone[:] = [each for each in found if each.terms.version == version]
        if not gone:
            there = ", ".join(dict.fromkeys(each.terms.version for each in whole(found))) or "none"
            raise PublishError(f"version {version} is not published; there is {there}")
        digests = {each.sha256 for each in gone}
        gone.extend(
            each
            for each in found
            if each not in gone and each.terms.patch and each.terms.patch.base in digests
        )
        roles = {each.role for each in gone}
        return Change(files={}, targets={role: without(view.targets[role], gone) for role in roles})

    repository.change(decide)
    return gone

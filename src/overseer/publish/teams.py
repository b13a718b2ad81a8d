"""Teams: whose key signs which names, so that one cannot publish as the other."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from tuf.api.metadata import DelegatedRole, Delegations, Targets

from overseer.errors import PublishError
from overseer.publish.view import TOP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Key

    from overseer.publish.view import View


def nothing() -> Targets:
    """Return what a team signs before its first release; the first that is written is version 1."""
    targets = Targets()
    targets.version = 0
    return targets


def delegated(
    targets: Targets, role: str, keys: Sequence[Key], paths: Sequence[str], threshold: int
) -> Targets:
    """Return targets that leave the names which match `paths` (as `web-*`) to a team and its keys.

    A team that is there already gets these keys and paths instead of its own. Raises `PublishError`.
    """
    if role in TOP or "/" in role:
        raise PublishError(f"a team cannot be called {role}")
    if not 1 <= threshold <= len(keys):
        raise PublishError(f"{role} would want {threshold} signatures of {len(keys)} keys")
    changed = deepcopy(targets)
    if changed.delegations is None:
        changed.delegations = Delegations({}, {})
    roles = changed.delegations.roles
    assert roles is not None, "succinct delegations are not made here"
    new = DelegatedRole(role, [], threshold, terminating=True, paths=list(paths))
    for keyid in roles[role].keyids if role in roles else ():
        changed.revoke_key(keyid, role)
    roles[role] = new
    for key in keys:
        changed.add_key(key, role)
    return changed


def refuse_foreign(view: View, role: str, target: str) -> None:
    """Raise `PublishError` when a role does not sign for a name, or another one does."""
    for parent in view.targets.values():
        for name, each in ((parent.delegations and parent.delegations.roles) or {}).items():
            matches = each.is_delegated_path(target)
            if name == role and not matches:
                raise PublishError(
                    f"{role} signs {', '.join(each.paths or ())}, and {target} is none of them"
                )
            if name != role and matches:
                raise PublishError(f"{target} is left to {name}: publish it with --role {name}")
    if role != "targets":
        view.signing(role)  # raises when there is no such role

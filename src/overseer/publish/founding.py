"""The beginning of a publisher: its two keys, its first root, its folder."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from tuf.api.metadata import Root

from overseer.publish import keys
from overseer.publish.ring import Ring, data_of
from overseer.publish.view import TOP

if TYPE_CHECKING:
    from datetime import datetime

    from securesystemslib.signer import SSlibKey

    from overseer.publish.home import Home
    from overseer.publish.keys import Secrets


def found(home: Home, offline: str, online: str, secrets: Secrets, *, now: datetime) -> Home:
    """Make what is missing of a new publisher: its two keys, its first root, its folder.

    `offline` signs root and targets, `online` snapshot and timestamp; both are URIs, and a `file:` that is
    not there is made. Whatever a run that was killed left is used. Raises `PublishError`, `OSError`.
    """
    known = {uri: made_or_known(home.uri_of(uri), secrets) for uri in (offline, online)}
    home = home.with_keys({key.keyid: uri for uri, key in known.items()})
    if home.root is None:
        root = Root(consistent_snapshot=True)
        for role, uri in zip(TOP, (offline, online, online, offline), strict=True):
            root.add_key(known[uri], role)
        root.expires = (now + timedelta(days=home.days["root"])).replace(microsecond=0)
        ring = Ring({keyid: home.uri_of(uri) for keyid, uri in home.keys.items()}, secrets)
        home.keep_root(data_of(ring.signed(root, ("root", root.roles["root"], root.keys))))
    home.save()
    return home


def made_or_known(uri: str, secrets: Secrets) -> SSlibKey:
    """Return the public half of a key; a `file:` that is not there is made. Raises `PublishError`."""
    path = uri.removeprefix("file:")
    if path != uri and not os.path.exists(path):
        return keys.create(path, secrets(f"passphrase of the new key {path}"))
    return keys.public(uri, secrets)

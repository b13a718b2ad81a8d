"""The keys at hand: who can sign here, each opened once and only when its signature is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from overseer.errors import PublishError
from overseer.publish import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securesystemslib.signer import Key, Signer
    from tuf.api.metadata import Role

    from overseer.publish.keys import Secrets

AnySigned = TypeVar("AnySigned", Root, Timestamp, Snapshot, Targets)


class Ring:
    """Signers by key id. `uris` is from key id to URI; `secrets` is asked for passphrases and PINs."""

    def __init__(self, uris: Mapping[str, str], secrets: Secrets) -> None:
        self._uris = dict(uris)
        self._secrets = secrets
        self._signers: dict[str, Signer] = {}

    def add(self, uri: str) -> Key:
        """Take one more key, by its URI, and return its public half. Raises `PublishError`."""
        key = keys.public(uri, self._secrets)
        self._uris[key.keyid] = uri
        return key

    def know(self, key: Key, uri: str) -> None:
        """Take one more key whose public half is known."""
        self._uris[key.keyid] = uri

    def holds(self, keyid: str) -> bool:
        """Whether a key is known here."""
        return keyid in self._uris

    def signer(self, key: Key) -> Signer:
        """Return what signs with a key. Raises `PublishError`."""
        if key.keyid not in self._signers:
            self._signers[key.keyid] = keys.signer(self._uris[key.keyid], key, self._secrets)
        return self._signers[key.keyid]

    def signed(
        self, what: AnySigned, *roles: tuple[str, Role, Mapping[str, Key]], partly: bool = False
    ) -> Metadata[AnySigned]:
        """Sign for each role (its name, its terms, all keys by id) with as many keys as it wants.

        Raises `PublishError` when there are fewer here, unless it may be signed `partly`.
        """
        metadata = Metadata(what)
        for name, role, known in roles:
            done = 0
            for keyid in role.keyids:
                if done == role.threshold:
                    break
                if keyid in metadata.signatures:
                    done += 1
                elif self.holds(keyid):
                    metadata.sign(self.signer(known[keyid]), append=True)
                    done += 1
            if done < role.threshold and not partly:
                raise PublishError(
                    f"{name} wants {role.threshold} signatures and there are keys here for {done}; its keys "
                    f"are {', '.join(keyid[:12] for keyid in role.keyids)}: name them with --key"
                )
        return metadata


def data_of(metadata: Metadata[AnySigned]) -> bytes:
    """Return metadata as it is written: JSON that people can read."""
    return metadata.to_bytes(JSONSerializer(validate=True))

"""Keys: what names one, how a new one is made, and how something is signed with it.

A key is named by a URI, and what signs is chosen by its scheme. Two schemes are ours, the others those of
securesystemslib:

    file:PATH               an Ed25519 key as OpenSSH keeps it, encrypted by a passphrase
    ssh-agent:SHA256:...    an Ed25519 key that an SSH agent holds, by its fingerprint
    hsm:2?label=...         a PKCS#11 token, such as a YubiKey
    awskms: gcpkms: azurekms: hv:    keys that never leave their service

The files are OpenSSH's so that its tools know them: `ssh-keygen -p` changes a passphrase, `ssh-add -c` hands
a key to an agent that asks before each use.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from overseer.errors import PublishError, reason
from overseer.publish import agent
from overseer.store import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Secrets = Callable[[str], str]
    """Asked for a secret (a passphrase, a PIN) by a sentence that says which."""

ROUNDS = 24
"""How often bcrypt is repeated for a key file, as ssh-keygen does: a quarter of a second a guess."""

UNSUPPORTED = {
    "gnupg": "what GnuPG signs can only be verified where GnuPG is installed, and a service must not need it",
    "file2": "it keeps the key unencrypted; use file:PATH",
}
"""Schemes that securesystemslib knows and that are refused here."""


def create(path: str, passphrase: str) -> SSlibKey:
    """Make a new key at `path` (mode 0600, never over another file), and its public half beside it.

    Raises `PublishError` when the passphrase is empty, `OSError` when the file cannot be made.
    """
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415 - slow to import
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    if not passphrase:
        raise PublishError("the passphrase is empty; whoever copies the key file could sign releases")
    private = Ed25519PrivateKey.generate()
    how = form.PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(ROUNDS).build(passphrase.encode())
    secret = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, how)
    public = private.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    # The public half first: a private key without one needs its passphrase to say whose it is.
    durable.replace_file(f"{path}.pub", public + b"\n")
    _make(path, secret)
    return SSlibKey.from_crypto(private.public_key())


def _make(path: str, data: bytes) -> None:
    """Write a file that was not there, whole or not at all, readable by its owner only."""
    temporary = f"{path}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # of one that was killed
    fd = durable.create(temporary)
    try:
        durable.write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
    durable.sync_folder(os.path.dirname(path) or ".")


def public(uri: str, secrets: Secrets) -> SSlibKey:
    """Return the public half of the key that `uri` names. Raises `PublishError`."""
    scheme, _, rest = uri.partition(":")
    with _explained(uri):
        match scheme:
            case "file":
                return _public_of_file(rest, secrets)
            case "ssh-agent":
                return _as_key(agent.find(rest))
            case "hsm":
                from securesystemslib.signer import HSMSigner  # noqa: PLC0415

                number, _, query = rest.partition("?")
                label = query.removeprefix("label=") or None
                return HSMSigner.import_(int(number) if number else None, label, secrets)[1]
            case "awskms" | "gcpkms" | "hv" | "azurekms":
                return _public_of_service(scheme, rest)
            case _:
                raise PublishError(f"{uri}: {_refusal(scheme)}")


def _public_of_service(scheme: str, rest: str) -> SSlibKey:
    from securesystemslib import signer as kinds  # noqa: PLC0415

    match scheme:
        case "awskms":
            return kinds.AWSSigner.import_(rest)[1]
        case "gcpkms":
            return kinds.GCPSigner.import_(rest)[1]
        case "hv":
            found, key = kinds.VaultSigner.import_(rest.partition("/")[0])
        case _:
            vault, _, name = rest.removeprefix("//").partition(".vault.azure.net/keys/")
            found, key = kinds.AzureSigner.import_(vault, name.partition("/")[0])
    if found != f"{scheme}:{rest}":  # the newest version is what was asked for its public half
        raise PublishError(f"write {found}, with its version")
    return key


def signer(uri: str, key: Key, secrets: Secrets) -> Signer:
    """Return what signs with the key that `uri` names, whose public half is `key`. Raises `PublishError`."""
    scheme, _, rest = uri.partition(":")
    with _explained(uri):
        match scheme:
            case "file":
                private = _load(rest, secrets)
                return CryptoSigner(private, cast("SSlibKey", key))
            case "ssh-agent":
                return agent.AgentSigner(agent.find(rest), key)
            case "hsm" | "awskms" | "gcpkms" | "azurekms" | "hv":
                return Signer.from_priv_key_uri(uri, key, secrets)
            case _:
                raise PublishError(f"{uri}: {_refusal(scheme)}")


def needs_cryptography(key: Key) -> bool:
    """Whether clients need the package `cryptography` to verify this key; Ed25519 is verified without."""
    return bool(key.keytype != "ed25519")


def _refusal(scheme: str) -> str:
    known = "file, ssh-agent, hsm, awskms, gcpkms, azurekms, hv"
    return UNSUPPORTED.get(scheme, f"the scheme {scheme!r} is none of {known}")


def _public_of_file(path: str, secrets: Secrets) -> SSlibKey:
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415

    try:
        with open(f"{path}.pub", "rb") as file:
            return _as_key(file.read())
    except FileNotFoundError:
        found = _load(path, secrets).public_key()
        return _as_key(found.public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH))


def _as_key(line: bytes) -> SSlibKey:
    """Read a public key as OpenSSH writes it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key  # noqa: PLC0415

    found = load_ssh_public_key(line)
    if not isinstance(found, Ed25519PublicKey):
        raise PublishError("only Ed25519 keys are taken here: ssh-keygen -t ed25519 makes one")
    return SSlibKey.from_crypto(found)


def _load(path: str, secrets: Secrets) -> Any:
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key  # noqa: PLC0415

    with open(path, "rb") as file:
        data = file.read()
    if not data.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----"):
        raise PublishError(f"{path} is no key as OpenSSH keeps it; ssh-keygen -t ed25519 -f {path} makes one")
    passphrase = secrets(f"passphrase of {path}")
    try:
        return load_ssh_private_key(data, passphrase.encode() or None)
    except TypeError as error:  # one is needed and none given, or the other way round
        raise PublishError(f"{path}: {error}") from error
    except ValueError as error:
        raise PublishError(
            f"{path} cannot be opened: the passphrase is wrong, or the file damaged"
        ) from error


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn whatever a key's service raises into an error that names the key."""
    try:
        yield
    except PublishError:
        raise
    except Exception as error:  # each service has errors of its own
        said = reason(error) or type(error).__name__
        raise PublishError(f"the key {uri} cannot be used: {said}") from error

"""Keys in an SSH agent: which there are, and a signature by one of them.

Two questions of draft-miller-ssh-agent over the socket `SSH_AUTH_SOCK` names. An agent signs the bytes it is
given and adds nothing, so that what comes back is a plain Ed25519 signature: whoever verifies it need not
know that an agent made it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
from typing import TYPE_CHECKING

from securesystemslib.signer import Key, Signature, Signer

from overseer.errors import PublishError

if TYPE_CHECKING:
    from collections.abc import Callable

_IDENTITIES, _IDENTITIES_ARE = 11, 12
_SIGN, _SIGNED = 13, 14
_KIND = b"ssh-ed25519"
_LONGEST = 256 * 1024  # bytes of an answer; OpenSSH has the same limit
_PATIENCE = 120.0  # seconds: an agent may ask a person, or wait for a touch


def find(name: str) -> bytes:
    """Return the public key, as OpenSSH writes it, that an agent holds under this fingerprint or comment.

    Raises `PublishError` when there is no agent, no such key, or it is not an Ed25519 key.
    """
    answer = _ask(bytes([_IDENTITIES]), _IDENTITIES_ARE)
    count, rest = struct.unpack(">I", answer[:4])[0], answer[4:]
    for _ in range(count):
        blob, rest = _string(rest)
        comment, rest = _string(rest)
        if name in (fingerprint(blob), comment.decode(errors="replace")):
            if not blob.startswith(_packed(_KIND)):
                raise PublishError(f"the key {name} of the SSH agent is not an Ed25519 key")
            return _KIND + b" " + base64.b64encode(blob)
    raise PublishError(f"the SSH agent holds no key {name}; ssh-add -l shows those it has")


def fingerprint(blob: bytes) -> str:
    """Return what `ssh-add -l` calls a key."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


class AgentSigner(Signer):
    """Signs through an agent; `line` is the public key as OpenSSH writes it."""

    def __init__(self, line: bytes, key: Key) -> None:
        self._blob = base64.b64decode(line.split()[1])
        self._key = key

    @property
    def public_key(self) -> Key:
        """The public half."""
        return self._key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: Callable[[str], str] | None = None
    ) -> AgentSigner:
        """Return what signs for `ssh-agent:FINGERPRINT`."""
        del secrets_handler  # an agent asks by itself
        return cls(find(priv_key_uri.partition(":")[2]), public_key)

    def sign(self, payload: bytes) -> Signature:
        """Have the agent sign. Raises `PublishError` when it refuses."""
        question = bytes([_SIGN]) + _packed(self._blob) + _packed(payload) + struct.pack(">I", 0)
        answer, _ = _string(_ask(question, _SIGNED))
        kind, rest = _string(answer)
        signature, _ = _string(rest)
        if kind != _KIND:
            raise PublishError(f"the SSH agent signed as {kind!r}, which was not asked for")
        return Signature(self._key.keyid, signature.hex())


def _ask(question: bytes, expected: int) -> bytes:
    path = os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise PublishError("there is no SSH agent: SSH_AUTH_SOCK is not set")
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(_PATIENCE)
            agent.connect(path)
            agent.sendall(_packed(question))
            (size,) = struct.unpack(">I", _read(agent, 4))
            if not 0 < size <= _LONGEST:
                raise PublishError(f"the SSH agent at {path} answers nonsense")
            answer = _read(agent, size)
    except OSError as error:
        raise PublishError(f"the SSH agent at {path} does not answer: {error}") from error
    if answer[0] != expected:
        raise PublishError("the SSH agent refused; it may be locked, or its owner said no")
    return answer[1:]


def _read(agent: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = agent.recv(size - len(data))
        if not more:
            raise PublishError("the SSH agent closed the connection")
        data += more
    return data


def _packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _string(data: bytes) -> tuple[bytes, bytes]:
    """Split off a string; raise `PublishError` where the agent's answer is cut short."""
    if len(data) < 4 or len(data) < (size := struct.unpack(">I", data[:4])[0]) + 4:
        raise PublishError("the SSH agent's answer is cut short")
    return data[4 : 4 + size], data[4 + size :]

"""Certificates, looked at before a server does: OpenSSL's own errors do not say which file they are about."""

from __future__ import annotations

import ssl
from typing import Any

from overseer.errors import ConfigError


def check(certificate: tuple[str, Any], key: tuple[str, Any], password: Any = None) -> None:
    """Raise `ConfigError` for the option, each is given with its name, whose file cannot be used.

    The key may be in the file of the certificate.
    """
    for name, path in (certificate, key):
        if path is not None:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                raise ConfigError(name, f"cannot be read: {error}") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate[1], key[1], password or _ask)
    except _Asked:
        return  # the server asks at the terminal
    except ssl.SSLError as error:
        name, path = certificate
        of = f"with the key in {key[1]}" if key[1] else "with a key in the same file"
        raise ConfigError(name, f"{path} cannot be used {of}: {error}") from None


class _Asked(Exception):  # noqa: N818 - it is no error
    """The key has a password that was not given."""


def _ask() -> str:
    raise _Asked

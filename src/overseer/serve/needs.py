"""Servers that have to be installed before they can be used."""

from __future__ import annotations

from importlib.util import find_spec

from overseer.errors import ConfigError


def needs(call: str, package: str, extra: str) -> None:
    """Raise `ConfigError` when `package`, which `extra` brings, is not installed."""
    if find_spec(package) is None:
        raise ConfigError(f"serve.{call}", f"needs {package}; pip install 'pyoverseer[{extra}]' brings it")

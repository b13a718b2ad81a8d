"""What every source checks of its options, when it is made and not when it is used."""

from __future__ import annotations

from importlib.util import find_spec

from overseer.errors import ConfigError


def check_time(field: str, seconds: float) -> None:
    """Raise `ConfigError` about `field` unless `seconds` can be an interval or a time limit."""
    if not seconds > 0:
        raise ConfigError(field, f"must be more than 0 seconds, not {seconds!r}")


def need(package: str, *, extra: str, field: str = "fetcher") -> None:
    """Raise `ConfigError` about `field` when `package`, which `extra` brings, is not installed."""
    if find_spec(package) is None:
        raise ConfigError(field, f"needs {package}; pip install 'pyoverseer[{extra}]' brings it")

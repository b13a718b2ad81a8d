"""How long properties are searched: never against a clock, and longer where there is time."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Machines are shared and noisy: how long one example takes says nothing about what is tested.
_ANY_MACHINE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("quick", max_examples=30, **_ANY_MACHINE)  # type: ignore[arg-type]
settings.register_profile("thorough", max_examples=2000, **_ANY_MACHINE)  # type: ignore[arg-type]
settings.load_profile("quick")  # another one: pytest --hypothesis-profile=thorough

"""Frozen values for the master, without the price of `dataclasses`.

`value` is the part of `dataclass(frozen=True, slots=True)` that this project uses. The standard module
imports `inspect`, `ast` and `dis` and costs the master 1.5 MB of private memory, a quarter of all it may
have; this one costs nothing. A default must be immutable: it is shared by every value that takes it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(frozen_default=True)
    def value(cls: type[T]) -> type[T]:
        """Make a class of annotated fields a frozen, hashable value (what type checkers see)."""

    def replace(old: T, /, **changes: Any) -> T:
        """Make the same value with some fields changed (what type checkers see)."""

    def fields(of: object) -> tuple[str, ...]:
        """Name the fields of a value, in order (what type checkers see)."""
else:

    def value(cls):
        """Make a class of annotated fields a frozen, hashable value."""
        names = tuple(cls.__annotations__)
        defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
        body = {name: attribute for name, attribute in cls.__dict__.items() if name not in names}
        body.pop("__dict__", None)
        body.pop("__weakref__", None)
        body.update(
            __slots__=names,
            __match_args__=names,
            __setattr__=_refuse,
            __delattr__=_refuse,
            __eq__=_equal,
            __hash__=_hash,
            __repr__=_show,
        )
        made = type(cls)(cls.__name__, cls.__bases__, body)
        made.__qualname__ = cls.__qualname__
        made.__init__ = _initialiser(made, names, defaults)
        return made

    def _initialiser(cls, names, defaults):
        """Compile `__init__`: the same way, and for the same reason (speed), as `collections.namedtuple`."""
        # A slot's own descriptor writes past `__setattr__`, which refuses everybody else.
        scope = {f"_set_{name}": getattr(cls, name).__set__ for name in names}
        scope.update({f"_default_{name}": default for name, default in defaults.items()})
        head = ", ".join(f"{name}=_default_{name}" if name in defaults else name for name in names)
        body = "\n".join(f"    _set_{name}(self, {name})" for name in names) or "    pass"
        exec(f"def __init__(self{', ' + head if head else ''}):\n{body}", scope)  # noqa: S102 - field names only
        return scope["__init__"]

    def fields(of):
        """Name the fields of a value, in order."""
        return of.__match_args__

    def replace(old, /, **changes):
        """Make the same value with some fields changed."""
        kept = {name: getattr(old, name) for name in old.__match_args__ if name not in changes}
        return type(old)(**kept, **changes)

    def _refuse(self, name, *_):
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be changed")

    def _equal(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)

    def _hash(self):
        return hash((type(self), *(getattr(self, name) for name in self.__match_args__)))

    def _show(self):
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__qualname__}({shown})"

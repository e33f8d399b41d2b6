"""Which attributes cnnx's classes have, and how an assignment to one is checked.

Python would keep a misspelt attribute, which would then do nothing. A bad setting would cause an error much later, in
another place. So both are refused when they are assigned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Setting(Generic[T]):
    """An attribute that is checked whenever it is assigned, in the constructor and later.

    Args:
        check: takes the attribute's name and the assigned value. It returns the value to keep, or raises TypeError or
            ValueError.
        default: the value before the first assignment.
    """

    def __init__(self, check: Callable[[str, Any], T], default: Any = None) -> None:
        self.check, self.default = check, default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Setting[T] | T:
        if instance is None:
            return self
        kept: T = instance.__dict__.get(f"_{self.name}", self.default)
        return kept

    def __set__(self, instance: object, value: Any) -> None:
        instance.__dict__[f"_{self.name}"] = self.check(self.name, value)


class KnownAttributes:
    """An object whose `repr` is what one would type to make it, and which refuses unknown attributes.

    A user's subclass may add attributes of its own.
    """

    def _arguments(self) -> dict[str, Any]:
        """Return the values of the constructor's arguments by name, as far as they are known."""
        return {name: getattr(self, name) for name in dir(type(self)) if isinstance(getattr(type(self), name), Setting)}

    def __repr__(self) -> str:
        import inspect  # which few programs need

        known, shown = self._arguments(), []
        has_arguments = type(self).__init__ is not object.__init__
        for name, parameter in inspect.signature(type(self)).parameters.items() if has_arguments else ():
            if name == "rng":
                continue
            if name not in known:  # a subclass with a constructor of its own
                return super().__repr__()
            if parameter.default is parameter.empty:
                shown.append(repr(known[name]))
            elif known[name] != parameter.default:
                shown.append(f"{name}={known[name]!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            known = getattr(type(self), name, _UNKNOWN)
            if known is _UNKNOWN and name not in self.__dict__ and is_own(type(self)):
                raise AttributeError(_unknown(type(self), name))
            if isinstance(known, property) and known.fset is None:
                raise AttributeError(f"{name}: expected only to be read, got an assignment")
        object.__setattr__(self, name, value)


_UNKNOWN: Any = object()


def is_own(kind: type) -> bool:
    """Tell whether a class is cnnx's own, and not a user's subclass."""
    return kind.__module__.partition(".")[0] == __package__


def _unknown(kind: type, name: str) -> str:
    import difflib  # which only an error needs

    names = [known for known in dir(kind) if not known.startswith("_") and not callable(getattr(kind, known))]
    near = difflib.get_close_matches(name, names) or [known for known in names if name in known or known in name]
    if not near and (initials := [known for known in names if _initials(known) == name]):
        near = initials
    help = f"did you mean {' or '.join(near)}?" if near else "a subclass may add its own"
    return f"{name}: expected an attribute of {kind.__name__}, got an unknown name ({help})"


def _initials(name: str) -> str:
    return "".join(word[0] for word in name.split("_"))

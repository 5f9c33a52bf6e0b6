"""Check signatures: unknown arguments of constructors, and methods of a user's class that nblstm will call."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NoReturn

from nblstm.arguments import validate


def refuse_unknown(cls: type, given: Iterable[str]) -> None:
    """Refuse an argument that the constructor lacks, unless it passes on what it does not know."""
    known = constructor(cls).parameters
    wrong = [name for name in given if name not in known]
    if wrong and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        refuse(cls, wrong[0], known)


def refuse(cls: type, name: str, names: Iterable[str]) -> NoReturn:
    """Say of an argument that it is none of ``names``; ``cls.once`` has names that arguments have elsewhere."""
    once = getattr(cls, "once", None)
    raise TypeError(f"{cls.__name__} got the unknown argument {validate.unknown(name, names, once=once)}")


class KnownArguments:
    """Base class: an argument that the constructor lacks is refused with the nearest one that it has."""

    def __new__(cls, *args, **kwargs):
        """Make the object, unless an argument is unknown."""
        if kwargs:
            refuse_unknown(cls, kwargs)
        return super().__new__(cls)


@lru_cache(512)  # inspect.signature takes 15 us, as long as all else that makes a small layer
def constructor(cls: type) -> inspect.Signature:
    """The signature of a class's constructor, without self."""
    given = inspect.signature(cls.__init__)  # type: ignore[misc]
    return given.replace(parameters=list(given.parameters.values())[1:])


def passed_on(base: type, given: dict[str, Any]) -> dict[str, Any]:
    """Select from a constructor's ``locals()`` the arguments that the constructor of ``base`` takes, and ``kwargs``.

    So a class names all of its arguments, for editors and `help`, and need not write each once more to pass it on.
    """
    known = constructor(base).parameters.keys() - {"kwargs"}
    return {name: given[name] for name in known & given.keys()} | given.get("kwargs", {})


def overridden(cls: type, base: type, *names: str, least: int | None = None) -> None:
    """Refuse a subclass whose methods cannot be called as those of the base class are, as Keras's may not be.

    ``least`` is how many arguments they have to take by position, beside self; all by default.
    """
    for name in names:
        method, known = getattr(cls, name), getattr(base, name)
        if method is known or not inspect.isfunction(method):
            continue
        needed = [*inspect.signature(known).parameters][1:][:least]
        if not takes(method, 1 + len(needed)):
            raise TypeError(
                f"{cls.__name__}.{name}{inspect.signature(method)} is called with {', '.join(needed)}; let it take "
                f"{'that' if len(needed) == 1 else 'these'} behind self"
            )


def takes(function, count: int) -> bool:
    """Return whether a function can be called with ``count`` arguments by position."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True

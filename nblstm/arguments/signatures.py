"""What constructors and methods take: arguments that they lack, and methods of a user's class that others will call."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import lru_cache
from typing import NoReturn

from nblstm.arguments import validate


def need_known(cls: type, names: Iterable[str]) -> None:
    """Refuse an argument that the constructor of ``cls`` does not take, unless it passes on what it does not know."""
    known = constructor(cls).parameters
    wrong = [name for name in names if name not in known]
    if wrong and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        refuse(cls, wrong[0], known)


def refuse(cls: type, name: str, known: Iterable[str]) -> NoReturn:
    """Raise the error that ``name`` is no argument of ``cls``, with the nearest that is.

    A class may have a dict ``once``, from names that arguments have elsewhere to its own.
    """
    once = getattr(cls, "once", None)
    raise TypeError(f"{cls.__name__} got the unknown argument {validate.unknown(name, known, once=once)}")


def constructor(cls: type) -> inspect.Signature:
    """What a class's own constructor takes."""
    return _constructor(cls)


@lru_cache(512)  # inspect.signature takes 15 us, as long as all else that makes a small layer
def _constructor(cls: type) -> inspect.Signature:
    given = inspect.signature(cls.__init__)  # type: ignore[misc]
    return given.replace(parameters=list(given.parameters.values())[1:])


def overridden(cls: type, base: type, *names: str, least: int | None = None) -> None:
    """Refuse a subclass whose methods cannot be called as those of the base class are, as Keras's may not be.

    Parameters
    ----------
    cls, base : type
    names : str
        Methods of ``base``.
    least : int, optional
        How many arguments they have to take by position, beside self; all by default.

    Raises
    ------
    TypeError
        With the arguments that such a method takes, and those that it has to take.
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
    """Whether a function can be called with so many arguments by position."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True

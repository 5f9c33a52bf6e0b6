"""Objects that other processes find under the names with which modules have them."""

from __future__ import annotations

import sys
from importlib import import_module
from operator import attrgetter
from typing import Any


def is_found_elsewhere(made, place: tuple[str, str]) -> bool:
    """Say if another process finds an object under the module and qualified name of its definition."""
    return _importable(place[0]) and found_at(*place) is made


def _importable(module: str) -> bool:
    """Say if another process finds a module under its name: it is no script or notebook, nor what `exec` made."""
    return module not in ("__main__", "__mp_main__") and getattr(sys.modules.get(module), "__spec__", None) is not None


def found_at(module: str, name: str):
    """The object of that name in a module of this process, or in a class there; None if there is none."""
    try:
        return attrgetter(name)(sys.modules.get(module))
    except AttributeError:
        return None


def imported(kind: type, noun: str, module: str, name: str) -> Any:
    """Import an object of a class, of which ``noun`` is the word in the error."""
    found = attrgetter(name)(import_module(module))
    if not isinstance(found, kind):
        raise TypeError(f"{module}.{name} is {found!r} here, but was {noun} where it was pickled; define it as that")
    return found

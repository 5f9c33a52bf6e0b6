"""How a cell is pickled: by name where any process can import it, else by its equations, as plain data."""

from __future__ import annotations

import sys
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from nblstm.cells.written import Written, written

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell

#: Cells that were sent or received, by what they compute: so a copy in the same process is the cell. The last ones
#: alone, for a service that gets new cells every day: one that is known no more is made again.
_known: dict[tuple, Cell] = {}
KNOWN = 256


def reduced(cell: Cell) -> tuple:
    """What pickle is to keep of a cell."""
    if _importable(cell.place[0]) and _held(*cell.place) is cell:
        return _by_name, (type(cell), *cell.place)
    value = _value(cell)
    _know(value, cell)
    return _by_value, (type(cell), *value, cell.place, cell.__doc__)


def _importable(module: str) -> bool:
    """Whether another process finds a module under its name: not a script or a notebook, nor what `exec` made."""
    return module not in ("__main__", "__mp_main__") and getattr(sys.modules.get(module), "__spec__", None) is not None


def _held(module: str, name: str):
    """What a module of this process, or a class in it, has under a name; None if there is nothing."""
    try:
        return attrgetter(name)(sys.modules.get(module))
    except AttributeError:
        return None


def _know(value: tuple, cell: Cell) -> None:
    """Keep a cell as the last to be forgotten."""
    _known.pop(value, None)
    _known[value] = cell
    for oldest in list(_known)[:-KNOWN]:
        _known.pop(oldest, None)


def _value(cell: Cell) -> tuple:
    declared = cell.name, cell.gates, cell.states, cell.split, cell.second, cell.vectors, cell.output, cell.initial
    return declared, written(cell)


def _by_name(kind: type[Cell], module: str, name: str) -> Cell:
    """The cell of that name, which the module has here too."""
    found = attrgetter(name)(import_module(module))
    if not isinstance(found, kind):
        raise TypeError(f"{module}.{name} is {found!r} here, but was a cell where it was pickled; define it as that")
    return found


def _by_value(kind: Any, declared: tuple, equations: Written, place: tuple[str, str], doc: str | None) -> Cell:
    """The cell of this process that computes the same, known or of the same place; else a new one."""
    value = declared, equations
    same = _known.get(value)
    if same is None:
        held = _held(*place)
        same = held if isinstance(held, kind) and _value(held) == value else kind(*declared, equations, place, doc)
    _know(value, same)
    return same

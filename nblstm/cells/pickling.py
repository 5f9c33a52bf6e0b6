"""Pickling of cells: by name where any process can import the cell, else by the text of its equations."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from nblstm.symbolic import functions
from nblstm.symbolic.emit import OPERATORS, SCALAR, Form, emit_function, functions_from, symbol
from nblstm.symbolic.graph import NUMERIC

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell

#: Cells that were pickled or unpickled, by their equations, so that a copy in the same process is the cell itself; the
#: last `KNOWN` ones, for a service that gets new cells every day.
_known: dict[tuple, Cell] = {}
KNOWN = 256


def reduce(cell: Cell) -> tuple:
    """The result of ``cell.__reduce__``."""
    if _importable(cell.place[0]) and _found(*cell.place) is cell:
        return _by_name, (type(cell), *cell.place)
    value = _value(cell)
    _remember(value, cell)
    return _by_value, (type(cell), *value, cell.place, cell.__doc__)


def _importable(module: str) -> bool:
    """Say if another process finds a module under its name: it is no script or notebook, nor what `exec` made."""
    return module not in ("__main__", "__mp_main__") and getattr(sys.modules.get(module), "__spec__", None) is not None


def _found(module: str, name: str):
    """The object of that name in a module of this process, or in a class there; None if there is none."""
    try:
        return attrgetter(name)(sys.modules.get(module))
    except AttributeError:
        return None


def _remember(value: tuple, cell: Cell) -> None:
    """Put a cell behind all others of `_known`."""
    _known.pop(value, None)
    _known[value] = cell
    for oldest in list(_known)[:-KNOWN]:
        _known.pop(oldest, None)


def _value(cell: Cell) -> tuple:
    declared = cell.name, cell.gates, cell.states, cell.split, cell.second, cell.vectors, cell.output, cell.initial
    return declared, equations_text(cell)


def _by_name(kind: type[Cell], module: str, name: str) -> Cell:
    """Import the cell."""
    found = attrgetter(name)(import_module(module))
    if not isinstance(found, kind):
        raise TypeError(f"{module}.{name} is {found!r} here, but was a cell where it was pickled; define it as that")
    return found


def _by_value(kind: Any, declared: tuple, text: str, place: tuple[str, str], doc: str | None) -> Cell:
    """The cell of this process with the same equations, known or of the same place; else a new one."""
    value = declared, text
    same = _known.get(value)
    if same is None:
        held = _found(*place)
        same = held if isinstance(held, kind) and _value(held) == value else None
    if same is None:
        equations = functions_from(text, f"equations {symbol(declared[0])}", FUNCTIONS)["equations"]
        same = kind(*declared, equations, place, doc)
    _remember(value, same)
    return same


#: Python on traced values and on plain numbers alike; no argument can have a name that begins with ``new_``.
DIALECT = replace(SCALAR, operations={**OPERATORS, "where": Form("new_where({}, {}, {})")}, constant="{!r}")
FUNCTIONS: dict[str, object] = {
    **{name: partial(functions.primitive, name) for name in NUMERIC},
    **{name: partial(functions.choice, name) for name in ("minimum", "maximum", "clip")},
    "new_where": functions.where, "__name__": __name__,
}  # fmt: skip


def equations_text(cell: Cell) -> str:
    """The traced equations of a cell as the source of a function ``equations``, like the one that was traced."""
    graph = cell.graph
    known = {node: node.args[0] for node in graph.inputs}
    results = list(zip((f"new_{name}" for name in cell.states), graph.states, strict=True))
    if graph.operand is None:
        return emit_function("equations", cell.arguments, known, results, DIALECT)
    given = ", ".join(f"{name}(*new_operand)" if name in cell.second else name for name in cell.arguments)
    return "\n\n".join([
        emit_function("operand", cell.first_arguments, known, [("new_operand", graph.operand)], DIALECT),
        emit_function("new_states", cell.arguments, known, results, DIALECT),
        f"def equations({', '.join(cell.arguments)}):\n"
        f"    new_operand = operand({', '.join(cell.first_arguments)})\n"
        f"    return new_states({given})\n",
    ])  # fmt: skip

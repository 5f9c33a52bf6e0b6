"""Pickling of cells: by name where any process can import the cell, else by its equations, as plain data."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from nblstm.symbolic import functions
from nblstm.symbolic.graph import NUMERIC, topological

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
    """Whether another process finds a module under its name: no script or notebook, nor what `exec` made."""
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
    return declared, program(cell)


def _by_name(kind: type[Cell], module: str, name: str) -> Cell:
    """Import the cell."""
    found = attrgetter(name)(import_module(module))
    if not isinstance(found, kind):
        raise TypeError(f"{module}.{name} is {found!r} here, but was a cell where it was pickled; define it as that")
    return found


def _by_value(kind: Any, declared: tuple, equations: Program, place: tuple[str, str], doc: str | None) -> Cell:
    """The cell of this process with the same equations, known or of the same place; else a new one."""
    value = declared, equations
    same = _known.get(value)
    if same is None:
        held = _found(*place)
        same = held if isinstance(held, kind) and _value(held) == value else kind(*declared, equations, place, doc)
    _remember(value, same)
    return same


#: The operations of a graph, on traced values and on plain numbers.
OPERATIONS: dict[str, Callable] = {
    **{name: partial(functions.primitive, name) for name in NUMERIC},
    **{name: partial(functions.choice, name) for name in ("minimum", "maximum", "clip")}, "where": functions.where,
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg,
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


class Program(NamedTuple):
    """A cell's equations as a straight-line program, which can be called like the function that was traced.

    Attributes
    ----------
    lines : tuple of tuple
        An operation and the places of its operands: first those of the arguments, then those of the lines before. Of a
        constant, its digits.
    second : tuple of int
        Places of second gates among the arguments.
    operand : int
        Place of the operand of second gates.
    early : int
        Lines before second gates are called.
    states : tuple of int
        Places of the new states.
    """

    lines: tuple[tuple, ...]
    second: tuple[int, ...]
    operand: int
    early: int
    states: tuple[int, ...]

    def __call__(self, *arguments):
        """The new states."""
        values = list(arguments)
        self._run(self.lines[: self.early], values)
        for place in self.second:
            values[place] = values[place](values[self.operand])
        self._run(self.lines[self.early :], values)
        return tuple([values[place] for place in self.states])

    @staticmethod
    def _run(lines, values: list) -> None:
        for operation, *operands in lines:
            if operation == "constant":
                values.append(float(operands[0]))
            else:
                values.append(OPERATIONS[operation](*[values[place] for place in operands]))


def program(cell: Cell) -> Program:
    """The traced equations of a cell."""
    graph = cell.graph
    first = [] if graph.operand is None else [graph.operand]
    order = [node for node in topological([*first, *graph.states]) if node.op != "input"]

    def operands(node):
        return map(repr, node.args) if node.op == "constant" else [places[operand] for operand in node.args]

    places = {node: k for k, node in enumerate([*graph.inputs, *order])}
    operand = places[graph.operand] if graph.operand is not None else 0
    return Program(
        tuple((node.op, *operands(node)) for node in order),
        tuple(cell.arguments.index(name) for name in cell.second),
        operand,
        max(0, operand + 1 - len(graph.inputs)),
        tuple(places[state] for state in graph.states),
    )

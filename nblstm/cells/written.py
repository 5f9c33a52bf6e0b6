"""Equations as plain data: so a cell reaches processes that do not have the function which it was made from."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from nblstm.symbolic import functions
from nblstm.symbolic.graph import topological
from nblstm.symbolic.numeric import NUMERIC

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell

#: The operations of a graph, on traced values and on plain numbers.
OPERATIONS: dict[str, Callable] = {
    **{name: partial(functions.primitive, name) for name in NUMERIC},
    "minimum": functions.minimum, "maximum": functions.maximum, "where": functions.where,
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg,
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


class Written(NamedTuple):
    """A cell's equations, line by line: a function like the one that was traced.

    Attributes
    ----------
    lines : tuple of tuple
        An operation and the places of its operands: those of the arguments come first, then those of the lines before.
        Of a constant, its digits.
    second : tuple of int
        The places of second gates among the arguments.
    operand : int
        The place of what second gates are called with.
    early : int
        Lines before they are called.
    states : tuple of int
        The places of the new states.
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


def written(cell: Cell) -> Written:
    """The traced equations of a cell."""
    graph = cell.graph
    first = [] if graph.operand is None else [graph.operand]
    order = [node for node in topological([*first, *graph.states]) if node.op != "input"]

    def operands(node):
        return map(repr, node.args) if node.op == "constant" else [places[operand] for operand in node.args]

    places = {node: k for k, node in enumerate([*graph.inputs, *order])}
    operand = places[graph.operand] if graph.operand is not None else 0
    return Written(
        tuple((node.op, *operands(node)) for node in order),
        tuple(cell.arguments.index(name) for name in cell.second),
        operand,
        max(0, operand + 1 - len(graph.inputs)),
        tuple(places[state] for state in graph.states),
    )

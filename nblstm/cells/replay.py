"""Equations of a cell once more, from their graph: for transformations that change something within."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

from nblstm.cells.cell import Cell
from nblstm.symbolic import functions
from nblstm.symbolic.graph import COMPARISONS, NUMERIC, Value, topological
from nblstm.symbolic.recorder import recorder

#: Operations of a graph on traced values and on numbers alike.
ARITHMETIC = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
               "neg": operator.neg}  # fmt: skip
FUNCTIONS: dict[str, Any] = {
    **{name: partial(functions.primitive, name) for name in NUMERIC},
    **{name: partial(functions.choice, name) for name in ("minimum", "maximum", "clip")},
    **{name: getattr(operator, name) for name in COMPARISONS}, "where": functions.where, "drawn": functions.drawn,
}  # fmt: skip
OPERATIONS = ARITHMETIC | FUNCTIONS


class Replay:
    """One step, on traced values or numbers.

    Parameters
    ----------
    base : Cell
    given : dict
        Its arguments by name; a called gate is a function.

    Attributes
    ----------
    values : dict of Value to Any
        Results by node of the cell's graph.
    """

    def __init__(self, base: Cell, given: dict[str, Any]):
        self.base, self._given, self.values = base, given, dict[Value, Any]()
        for node in base.graph.inputs:
            if node.args[0] not in base.functions:
                self.values[node] = given[node.args[0]]
        for own in base.graph.noise:
            self.values[Value("input", own.name)] = recorder("noise").random(own.kind, own.p, own.per)
        self._links = {name: link for link in base.graph.links for name in link.targets}

    def states(self) -> list[Any]:
        """The new states."""
        return [self.value(node) for node in self.base.graph.states]

    def value(self, wanted: Value) -> Any:
        """The result of a node."""
        for node in topological([wanted], leaves=self.values):
            if node not in self.values:
                self.values[node] = self.computed(node)
        return self.values[wanted]

    def computed(self, node: Value) -> Any:
        """A value from those of its operands, of a called gate or of all units."""
        if node.op == "constant":
            return node.args[0]
        if node.operands:
            return OPERATIONS[node.op](*[self.operand(node, own) for own in node.args])
        link = self._links[node.args[0]]
        if link.kind == "product":
            return self._given[node.args[0]](self.multiplied(link.operand))
        return recorder(link.kind).over(link.kind, self.value(link.operand))

    def operand(self, function: Value, node: Value) -> Any:
        """An operand of an operation."""
        return self.values[node]

    def multiplied(self, operand: Value) -> Any:
        """The operand of a called gate's product."""
        return self.value(operand)

"""A cell as graphs: its equations traced, their gradient, and what BPTT saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.graph import Value, as_value, topological
from nblstm.symbolic.saved import values_to_save
from nblstm.symbolic.tracing import scalars, trace
from nblstm.symbolic.unsupported import SUPPORTED, UNSUPPORTED, CellError, set_operations

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell


@dataclass(frozen=True)
class CellGraph:
    """One step of a cell, forward and backward.

    Attributes
    ----------
    inputs : list of Value
        Pre-activations, previous states and vectors, in the order of the cell's arguments.
    operand : Value or None
        Operand of the second product, if the cell has one.
    states : list of Value
        The new states.
    saved : list of Value
        Forward values that BPTT keeps; those that the operand needs come first.
    saved_early : int
        How many those are.
    d_operand : Value or None
        Input of the backward function: the gradient with respect to ``operand``.
    d_states : list of Value
        Likewise, with respect to the new states.
    d_inputs : list of Value
        Its results: the gradient with respect to each of `inputs`.
    """

    inputs: list[Value]
    operand: Value | None
    states: list[Value]
    saved: list[Value]
    saved_early: int
    d_operand: Value | None
    d_states: list[Value]
    d_inputs: list[Value]


def cell_graph(cell: Cell) -> CellGraph:
    """Trace a cell, differentiate it, and choose what BPTT saves."""
    results = trace(f"cell {cell.name!r}", lambda: _run(cell))
    inputs = [Value("input", name) for name in cell.arguments]
    states, operand = results[: len(cell.states)], next(iter(results[len(cell.states) :]), None)
    outputs, d_states = states, [Value("input", f"d{name}") for name in cell.states]
    d_outputs, d_operand, early = d_states, None, set()
    if operand is not None:
        d_operand, early = Value("input", "doperand"), set(topological([operand]))
        outputs, d_outputs = [operand, *states], [d_operand, *d_states]
    d_inputs = gradients(outputs, d_outputs, inputs)
    free = {*inputs[-len(cell.states) - len(cell.vectors) :], *states}
    # BPTT computes the operand once more, for the gradient of the weights that multiplied it.
    saved = values_to_save(outputs, d_inputs if operand is None else [*d_inputs, operand], free)
    saved_early = sum(value in early for value in saved)
    return CellGraph(inputs, operand, states, saved, saved_early, d_operand, d_states, d_inputs)


def check_unchanged(cell: Cell) -> None:
    """Raise CellError if the equations cannot be traced, or come to another graph than when they first were."""
    graph = cell.graph
    before = [*graph.states, *([] if graph.operand is None else [graph.operand])]
    again = trace(f"cell {cell.name!r}", lambda: _run(cell), 1)
    if any(one is not other for one, other in zip(before, again, strict=True)):
        raise CellError(
            f"cell {cell.name!r} computes something else than when it was first used, as its equations read a variable "
            "that has changed; define the cell anew, or make it in a function that takes the variable as an argument"
        )


class SecondGate:
    """A gate of the second product, in equations: a function from its operand to its pre-activation."""

    def __init__(self, name: str):
        self.name = name
        self.preactivation = Value("input", name)
        self.operand: Value | None = None

    def __call__(self, operand) -> Value:
        """The pre-activation ``W x + R operand + b``."""
        operand = as_value(operand)
        if self.operand is not None and self.operand is not operand:
            raise CellError(f"gives the second gate {self.name!r} two operands; its weights multiply one in each step")
        self.operand = operand
        return self.preactivation

    def _misused(self, *others, **options):
        raise CellError(f"uses the second gate {self.name!r} as a number; call it with what its weights multiply")

    def __getattr__(self, name: str):
        self._misused()


set_operations(SecondGate, " ".join([SUPPORTED, *UNSUPPORTED]), SecondGate._misused)


def _run(cell: Cell) -> list[Value]:
    """Run the equations once: the new states, then the operand of second gates if there are any."""
    second = {name: SecondGate(name) for name in cell.second}
    states = scalars(cell.equations(*[second.get(name, Value("input", name)) for name in cell.arguments]))
    if len(states) != len(cell.states):
        raise CellError(
            f"returns {len(states)} values, but its states {' '.join(cell.states)!r} "
            f"need {len(cell.states)}; return the new states in that order"
        )
    return [*states, *_operand(list(second.values()))]


def _operand(gates: list[SecondGate]) -> list[Value]:
    """The one operand that equations gave to all second gates, if there are any.

    It cannot depend on one of them: a gate's operand exists before its pre-activation.
    """
    operands: dict[Value, str] = {}
    for gate in gates:
        if gate.operand is None:
            raise CellError(f"never calls its second gate {gate.name!r}; call it with what its weights multiply")
        operands[gate.operand] = gate.name
    if len(operands) > 1:
        raise CellError(
            f"gives its second gates {' and '.join(map(repr, operands.values()))} different operands; they share one"
        )
    return list(operands)

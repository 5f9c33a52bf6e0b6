"""A cell as graphs: its equations traced, their gradient, and what BPTT saves.

A *link* is what a unit learns of all units within a step: a product of the recurrent matrix with an operand, or a sum,
a mean or a maximum over units. Links cut a step into stages, see `stages.py`. In the graph, what a link gives is an
input, as is the gradient of its operand in the gradient's graph.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.graph import Value, as_value
from nblstm.symbolic.recorder import Noise, Recorder, recorder, recording
from nblstm.symbolic.saved import values_to_save
from nblstm.symbolic.tracing import scalars, trace
from nblstm.symbolic.unsupported import SUPPORTED, UNSUPPORTED, CellError, set_operations

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell


class Link(NamedTuple):
    """A result of all units that each unit reads within a step.

    Attributes
    ----------
    kind : {"product", "sum", "mean", "maximum"}
    operand : Value
        The number that each unit gives.
    targets : tuple of str
        Arguments that a product feeds, or the name of the sum, mean or maximum.
    name : str
        Of the operand's block, such as ``operand_1``; empty for the product of the first state itself.
    """

    kind: str
    operand: Value
    targets: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class CellGraph:
    """One step of a cell, forward and backward.

    Attributes
    ----------
    inputs : list of Value
        In the order of the cell's arguments.
    links : list of Link
        Each after those that its operand depends on, but that of the first state's product, which is the first.
    noise : list of Noise
    states : list of Value
        The new states.
    saved : list of Value
        Forward values that BPTT keeps.
    d_operands : list of Value
        Inputs of the gradient: with respect to the operand of each link.
    d_states : list of Value
        Likewise, with respect to the new states.
    d_inputs : list of Value
        The gradient with respect to each of `inputs`.
    d_results : dict of str to Value
        The gradient with respect to each sum and mean.
    """

    inputs: list[Value]
    links: list[Link]
    noise: list[Noise]
    states: list[Value]
    saved: list[Value]
    d_operands: list[Value]
    d_states: list[Value]
    d_inputs: list[Value]
    d_results: dict[str, Value]

    @property
    def operands(self) -> list[Value]:
        """Operands of the called gates' products."""
        return [link.operand for link in self.links if link.kind == "product" and link.name]


def cell_graph(cell: Cell) -> CellGraph:
    """Trace a cell, differentiate it, and choose what BPTT saves."""
    recorded, states = _traced(cell)
    inputs = [Value("input", name) for name in cell.arguments]
    links = _links(cell, recorded)
    named = [link for link in links if link.name]
    d_operands = [Value("input", f"d{link.name}") for link in named]
    d_states = [Value("input", f"d{name}") for name in cell.states]
    results = {link.targets[0]: Value("input", link.targets[0]) for link in named if link.kind in ("sum", "mean")}
    outputs = [*(link.operand for link in named), *states]
    # A maximum is a constant for its gradient.
    seeds = [d if link.kind != "maximum" else as_value(0) for d, link in zip(d_operands, named, strict=True)]
    into = [*zip(outputs[len(named) :], d_states, strict=True)]
    for link, d in zip(named, seeds, strict=True):
        deviations = _deviations(link, links)
        into += [(z, d * own + d * own) for z, own in deviations] or [(link.operand, d)]
    derived = gradients([value for value, _ in into], [d for _, d in into], [*inputs, *results.values()])
    d_inputs, d_results = derived[: len(inputs)], dict(zip(results, derived[len(inputs) :], strict=True))
    places = dict(zip(cell.arguments, inputs, strict=True))
    free = {*(places[name] for name in (*cell.states, *cell.vectors, *cell.scalars)), *states}
    # BPTT computes the products' operands once more, for the gradient of the weights that multiplied them.
    again = [link.operand for link in named if link.kind == "product"]
    saved = values_to_save(outputs, [*derived, *again], free)
    d_all = iter(d_operands)
    return CellGraph(
        inputs, links, recorded.noise, states, saved, [next(d_all) if link.name else d_states[0] for link in links],
        d_states, d_inputs, d_results,
    )  # fmt: skip


def _deviations(link: Link, links: list[Link]) -> list[tuple[Value, Value]]:
    """The numbers of which a link gives the variance, and their deviations from their mean; empty if it does not.

    In ``v = mean((x - m)**2)`` or a sum, with ``m = mean(x)``, no gradient goes through m, as
    ``dv/dm = -2 mean(x - m) = 0``: BPTT then needs only one stage for both means. Likewise of n blocks together,
    ``mean((x_1 - m)**2 + ... + (x_n - m)**2)`` with ``m = mean(x_1 + ... + x_n) / n``.
    """
    squares = _terms(link.operand) if link.kind in ("mean", "sum") else []
    found = [node.args[0] for node in squares if node.op == "mul" and node.args[0] is node.args[1]]
    if not found or len(found) < len(squares) or any(own.op != "sub" for own in found):
        return []
    numbers, (centre, *others) = [own.args[0] for own in found], {own.args[1] for own in found}
    n = 1.0
    if centre.op == "div" and centre.args[1].op == "constant":
        centre, n = centre.args[0], centre.args[1].args[0]
    if others or n != len(found):
        return []
    added = Counter(term for number in numbers for term in _terms(number))
    for other in links:
        if (
            other.kind == "mean"
            and Value("input", *other.targets) is centre
            and Counter(_terms(other.operand)) == added
        ):
            return list(zip(numbers, found, strict=True))
    return []


def _terms(value: Value) -> list[Value]:
    """Terms of a sum; the value alone if it is none."""
    return [term for part in value.args for term in _terms(part)] if value.op == "add" else [value]


def check_unchanged(cell: Cell) -> None:
    """Raise CellError if the equations cannot be traced, or come to another graph than when they first were."""
    graph = cell.graph
    recorded, states = _traced(cell, 1)
    before = [*graph.states, *(link.operand for link in graph.links)]
    again = [*states, *(link.operand for link in _links(cell, recorded))]
    if len(before) != len(again) or any(one is not other for one, other in zip(before, again, strict=True)):
        raise CellError(
            f"cell {cell.name!r} computes something else than when it was first used, as its equations read a variable "
            "that has changed; define the cell anew, or make it in a function that takes the variable as an argument"
        )


class CalledGate:
    """A called gate in equations: a function from its operand to its pre-activation."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, *operands, **named) -> Value:
        """The pre-activation ``W x + R operand + b``."""
        if len(operands) != 1 or named:
            raise CellError(
                f"calls the gate {self.name!r} with {len(operands) + len(named)} operands; its weights multiply one, "
                f"an expression such as {self.name}(r * h)"
            )
        operand, products = as_value(operands[0]), recorder(self.name).products
        if products.setdefault(self.name, operand) is not operand:
            raise CellError(f"gives the gate {self.name!r} two operands; its weights multiply one in each step")
        return Value("input", self.name)

    def _misused(self, *others, **options):
        raise CellError(f"uses the called gate {self.name!r} as a number; call it with what its weights multiply")

    def __getattr__(self, name: str):
        self._misused()


set_operations(CalledGate, " ".join([SUPPORTED, *UNSUPPORTED]), CalledGate._misused)


def run(cell: Cell):
    """Run the equations on symbols, within `recording`; what they return."""
    return cell.equations(*[CalledGate(n) if n in cell.functions else Value("input", n) for n in cell.arguments])


def returns_tuple(cell: Cell) -> bool:
    """True unless the equations return a single number, as those of most cells with one state do."""
    with recording(False):
        return isinstance(run(cell), tuple | list)


def _traced(cell: Cell, *times: int) -> tuple[Recorder, list[Value]]:
    """Run the equations: what they asked for, and the new states."""
    made: list[Recorder] = []

    def once() -> list[Value]:
        with recording(cell.noisy) as recorded:
            made.append(recorded)
            states = scalars(run(cell))
            if len(states) != len(cell.states):
                raise CellError(
                    f"returns {len(states)} values, but its states {' '.join(cell.states)!r} "
                    f"need {len(cell.states)}; return the new states in that order"
                )
            for name in cell.functions:
                if name not in recorded.products:
                    raise CellError(f"never calls its gate {name!r}; call it with what its weights multiply")
        return [*states, *(recorded.products[name] for name in cell.functions), *(v for _, v in recorded.over_units)]

    results = trace(f"cell {cell.name!r}", once, *times)
    return made[0], results[: len(cell.states)]


def _links(cell: Cell, recorded: Recorder) -> list[Link]:
    """The links of a step: the first state's product, the called gates' by operand, and those over units."""
    first = Value("input", cell.states[0])
    fed = cell.preactivations[cell.recurrent_start :]
    links = []
    plain = tuple(name for name in fed if recorded.products.get(name, first) is first)
    if plain:
        links.append(Link("product", first, plain, ""))
    operands = [recorded.products[name] for name in fed if name not in plain]
    for n, operand in enumerate(dict.fromkeys(operands), 1):
        targets = tuple(name for name in fed if recorded.products.get(name) is operand)
        links.append(Link("product", operand, targets, f"operand_{n}"))
    for number, ((kind, operand), leaf) in enumerate(recorded.over_units.items(), len(links) + 1):
        links.append(Link(kind, operand, (leaf.args[0],), f"operand_{number}"))
    return links

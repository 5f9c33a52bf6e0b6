"""Device functions of one cell, generated as text: its equations on tuples, and what else depends on its states.

Kernels hold the numbers of one unit and one row in tuples, which live in registers: ``z`` are its pre-activations in
the order of `Cell.preactivations`, ``state`` and ``new`` its states before and after the step, ``saved`` what BPTT
reads, ``vector`` its learned vectors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace

from nblstm.cells.cell import Cell
from nblstm.symbolic.emit import emit
from nblstm.symbolic.source import executed, symbol


@dataclass(frozen=True)
class CellSizes:
    """Counts of what a cell has: all that a tiling and a kernel's loads and stores depend on.

    Attributes
    ----------
    G : int
        Gates.
    P : int
        Pre-activations: a split gate has two.
    C : int
        Gates with a second product.
    S : int
        States.
    K : int
        Values saved for BPTT.
    V : int
        Vectors.
    early : int
        Saved values that are known before the second product.
    output : int
        Index of the state that is the output.
    """

    G: int
    P: int
    C: int
    S: int
    K: int
    V: int
    early: int
    output: int

    @classmethod
    def of(cls, cell: Cell) -> CellSizes:
        """Count what a cell has."""
        return cls(
            G=len(cell.gates), P=len(cell.preactivations), C=len(cell.second), S=len(cell.states),
            K=len(cell.graph.saved), V=len(cell.vectors), early=cell.graph.saved_early if cell.second else 0,
            output=cell.states.index(cell.output),
        )  # fmt: skip

    @property
    def split(self) -> int:
        """Split gates, whose two halves arrive as two pre-activations."""
        return self.P - self.G


def cell_functions(cell: Cell, p) -> SimpleNamespace:
    """The functions of `cell_source`, made with some primitives and inlined where kernels call them."""
    names = {**p.functions, "real": p.real, "inlined": p.inlined}
    source = re.sub(r"^def (\w+)\(", r"@inlined\ndef \1(", cell_source(cell, p.dtype), flags=re.MULTILINE)
    return SimpleNamespace(**executed(source, f"cell {symbol(cell.name)} {p.dtype}, CUDA", names))


def cell_source(cell: Cell, dtype: str) -> str:
    """Python source of a cell's device functions; needs no GPU, and none of its libraries.

    The emitted scalar functions come first, then functions of tuples that call them, then those that add up and
    rearrange tuples.

    Parameters
    ----------
    cell : Cell
    dtype : {"float32", "float64"}

    Returns
    -------
    str
        ``cell_forward(z, state, vector) -> new, saved`` is the step, and ``cell_backward(d_operand, d_new, saved,
        state, new, vector) -> operand, dz, d_state, d_vector`` its gradient; ``d_operand`` and ``operand`` are ().

        With second gates, ``cell_operand(z, state, vector) -> operand, saved`` comes before ``cell_forward``, which
        then returns the other saved values. ``cell_backward_second(d_new, saved, state, new, vector) -> dz`` gives
        the gradients of the second gates, then ``cell_backward`` those of the others.
    """
    return "\n\n".join([emit(cell, dtype), *_equations(cell), *_arithmetic(CellSizes.of(cell))])


def _equations(cell: Cell) -> list[str]:
    """The emitted functions on tuples."""
    n = CellSizes.of(cell)
    places = {
        **{name: f"z[{k}]" for k, name in enumerate(cell.preactivations)},
        **{name: f"state[{k}]" for k, name in enumerate(cell.states)},
        **{name: f"vector[{k}]" for k, name in enumerate(cell.vectors)},
    }
    new, saved = [f"new_{k}" for k in range(n.S)], [f"saved_{k}" for k in range(n.K)]
    known = [*_items("d_new", n.S), *_items("saved", n.K), *_items("state", n.S), *_items("new", n.S)]
    known += _items("vector", n.V)

    def given(names) -> str:
        return ", ".join(places[name] for name in names)

    def gradients(names) -> list[str]:
        return [f"d_{name}" for name in names]

    operand, second = [], []
    if cell.second:
        operand = [_function(
            "cell_operand", "z, state, vector",
            f"    {_tuple(['operand_0', *saved[: n.early]])} = operand({given(cell.first_arguments)})\n",
            f"(operand_0,), {_tuple(saved[: n.early])}",
        )]  # fmt: skip
        second = [_function(
            "cell_backward_second", "d_new, saved, state, new, vector", "", f"backward_second({', '.join(known)})"
        )]  # fmt: skip
    before = ["d_operand[0]"] if cell.second else []  # what the emitted `backward` takes and returns first
    value = ["operand_0"] if cell.second else []
    others = [name for name in cell.preactivations if name not in cell.second]
    return [
        *operand,
        _function(
            "cell_forward", "z, state, vector",
            f"    {_tuple([*new, *saved[n.early :]])} = forward({given(cell.arguments)})\n",
            f"{_tuple(new)}, {_tuple(saved[n.early :])}",
        ),
        *second,
        _function(
            "cell_backward", "d_operand, d_new, saved, state, new, vector",
            f"    {_tuple([*value, *gradients(cell.first_arguments)])} = backward({', '.join([*before, *known])})\n",
            f"{_tuple(value)}, {_tuple(gradients(others))}, {_tuple(gradients(cell.states))}, "
            f"{_tuple(gradients(cell.vectors))}",
        ),
    ]  # fmt: skip


def _arithmetic(n: CellSizes) -> list[str]:
    """Sums and selections of tuples, whose elements depend on which gates and states a cell has."""
    recurrent = [None] * n.split + _items("r_second", n.C) + _items("r", n.P - n.split - n.C)
    parts = zip(recurrent, _items("z", n.G) + [None] * n.split, _items("bias", n.P), strict=True)
    others = [k for k in range(n.S) if k != n.output]
    joined = _items("others", n.S - 1)
    joined.insert(n.output, "y")
    return [
        # W_hh h + W_ih x + bias, each where it reaches.
        _function("preactivations", "z, r, r_second, bias", "", _tuple(" + ".join(filter(None, p)) for p in parts)),
        # The states but the output, which the outputs themselves hold; and the inverse.
        _function("select_other_states", "state", "", _tuple(f"state[{k}]" for k in others)),
        _function("join_states", "y, others", "", _tuple(joined)),
        # The gradients of pre-activations that the recurrence feeds: dz of W_hh.
        _function("select_recurrent", "dz", "", _tuple(_items("dz", n.P)[n.split :])),
        # The output has another user: d_state of it + dy. The first state recurs: d_state of it + dh.
        _function("add_dy", "d_state, dy", "", _tuple(_added("d_state", n.S, n.output, "dy"))),
        _function("add_dh", "d_state, dh", "", _tuple(_added("d_state", n.S, 0, "dh"))),
        _function("add_vectors", "a, b", "", _tuple(f"a[{k}] + b[{k}]" for k in range(n.V))),
    ]


def _function(name: str, arguments: str, body: str, result: str) -> str:
    return f"def {name}({arguments}):\n{body}    return {result}\n"


def _items(name: str, count: int) -> list[str]:
    return [f"{name}[{k}]" for k in range(count)]


def _added(name: str, count: int, place: int, term: str) -> list[str]:
    """The elements of a tuple, with a term added to one of them."""
    return [f"{item} + {term}" if k == place else item for k, item in enumerate(_items(name, count))]


def _tuple(values: Iterable[str]) -> str:
    items = list(values)
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"

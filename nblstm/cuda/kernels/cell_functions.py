"""Device functions of a plain cell, generated as text: its equations on tuples, and what else depends on its states.

Kernels of a whole sequence hold the numbers of one unit and one row in tuples, which live in registers: ``z`` are its
pre-activations in the order of `Cell.preactivations`, ``state`` and ``new`` its states before and after the step,
``saved`` what BPTT reads, ``vector`` its learned vectors and scalars.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace

from nblstm.cells.cell import Cell
from nblstm.cells.cuda_source import tuple_source
from nblstm.symbolic.emit import functions_from, symbol


@dataclass(frozen=True)
class CellSizes:
    """Counts of what a cell has: all that a tiling and a kernel's loads and stores depend on.

    Attributes
    ----------
    G, R : int
        Gates that the input feeds, and those that the recurrence feeds.
    P : int
        Pre-activations: a split gate has two. The first G and the last R are fed.
    S : int
        States.
    K : int
        Values saved for BPTT.
    V : int
        Vectors, and scalars.
    output : int
        Index of the state that is the output.
    """

    G: int
    R: int
    P: int
    S: int
    K: int
    V: int
    output: int

    @classmethod
    def of(cls, cell: Cell) -> CellSizes:
        """Count what a cell has."""
        return cls(
            G=len(cell.input_gates), R=len(cell.recurrent_gates), P=len(cell.preactivations), S=len(cell.states),
            K=len(cell.graph.saved), V=len(cell.vectors) + len(cell.scalars), output=cell.states.index(cell.output),
        )  # fmt: skip


def cell_functions(cell: Cell, p) -> SimpleNamespace:
    """The functions of `cell_source`, made with some primitives and inlined where kernels call them."""
    names = {**p.functions, "real": p.real, "inlined": p.inlined}
    source = cell_source(cell, p.dtype)
    return SimpleNamespace(**functions_from(source, f"cell {symbol(cell.name)} {p.dtype}, CUDA", names))


def cell_source(cell: Cell, dtype: str) -> str:
    """Python source of a cell's device functions; needs no GPU, and none of its libraries.

    The cell's equations come first, see `tuple_source`, then functions that add up and rearrange tuples.
    """
    return "\n\n".join([tuple_source(cell, dtype), *_arithmetic(CellSizes.of(cell))])


def _arithmetic(n: CellSizes) -> list[str]:
    """Sums and selections of tuples, whose elements depend on which gates and states a cell has."""
    recurrent, fed = [None] * (n.P - n.R) + _items("r", n.R), _items("z", n.G) + [None] * (n.P - n.G)
    parts = zip(recurrent, fed, _items("bias", n.P), strict=True)
    others = [k for k in range(n.S) if k != n.output]
    joined = _items("others", n.S - 1)
    joined.insert(n.output, "y")
    return [
        # W_hh h + W_ih x + bias, each where it reaches.
        _function("preactivations", "z, r, bias", (" + ".join(filter(None, p)) for p in parts)),
        # The states but the output, which the outputs themselves hold; and the inverse.
        _function("select_other_states", "state", (f"state[{k}]" for k in others)),
        _function("join_states", "y, others", joined),
        # The gradients of pre-activations that the recurrence feeds: dz of W_hh.
        _function("select_recurrent", "dz", _items("dz", n.P)[n.P - n.R :]),
        # The output has another user: d_state of it + dy. The first state recurs: d_state of it + dh.
        _function("add_dy", "d_state, dy", _added("d_state", n.S, n.output, "dy")),
        _function("add_dh", "d_state, dh", _added("d_state", n.S, 0, "dh")),
        _function("add_vectors", "a, b", (f"a[{k}] + b[{k}]" for k in range(n.V))),
    ]


def _function(name: str, arguments: str, items: Iterable[str]) -> str:
    """Source of a function that returns a tuple."""
    result = "".join(f"{item}, " for item in items)
    return f"@inlined\ndef {name}({arguments}):\n    return ({result})\n"


def _items(name: str, count: int) -> list[str]:
    return [f"{name}[{k}]" for k in range(count)]


def _added(name: str, count: int, place: int, term: str) -> list[str]:
    """The elements of a tuple, with a term added to one of them."""
    return [f"{item} + {term}" if k == place else item for k, item in enumerate(_items(name, count))]

"""Device functions of one cell, generated as text: its equations on tuples, and what else depends on its states.

Kernels hold the numbers of one unit and one row in tuples, which live in registers: ``z`` are its pre-activations in
the order of `Cell.preactivations`, ``state`` and ``new`` its states before and after the step, ``saved`` what BPTT
reads, ``vector`` its learned vectors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace

from nblstm.cells.cell import Cell
from nblstm.cells.source import forward_functions, tuple_source
from nblstm.symbolic.emit import functions_from, symbol


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
        early = len(forward_functions(cell, keep=False)[0].results) - 1 if cell.called else 0
        return cls(
            G=len(cell.gates), P=len(cell.preactivations), C=len(cell.called), S=len(cell.states),
            K=len(cell.graph.saved), V=len(cell.vectors), early=early,
            output=cell.states.index(cell.output),
        )  # fmt: skip

    @property
    def split(self) -> int:
        """Split gates, whose two halves arrive as two pre-activations."""
        return self.P - self.G


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
    recurrent = [None] * n.split + _items("r_second", n.C) + _items("r", n.P - n.split - n.C)
    parts = zip(recurrent, _items("z", n.G) + [None] * n.split, _items("bias", n.P), strict=True)
    others = [k for k in range(n.S) if k != n.output]
    joined = _items("others", n.S - 1)
    joined.insert(n.output, "y")
    return [
        # W_hh h + W_ih x + bias, each where it reaches.
        _function("preactivations", "z, r, r_second, bias", (" + ".join(filter(None, p)) for p in parts)),
        # The states but the output, which the outputs themselves hold; and the inverse.
        _function("select_other_states", "state", (f"state[{k}]" for k in others)),
        _function("join_states", "y, others", joined),
        # The gradients of pre-activations that the recurrence feeds: dz of W_hh.
        _function("select_recurrent", "dz", _items("dz", n.P)[n.split :]),
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

"""A traced cell as functions of tuples, which kernels call: the emitted scalar functions behind fixed signatures."""

from __future__ import annotations

from dataclasses import dataclass

from nblstm.cells.cell import Cell
from nblstm.cells.source import tuple_source
from nblstm.symbolic.emit import functions_from, symbol


@dataclass(frozen=True)
class Sizes:
    """How many of each a cell has: what kernels need to know of it.

    Attributes
    ----------
    G : int
        Gates.
    P : int
        Pre-activations: a split gate has two.
    S : int
        States.
    K : int
        Values saved for BPTT.
    V : int
        Vectors.
    second : int
        Gates with a second product.
    output : int
        Which state is the output.
    """

    G: int
    P: int
    S: int
    K: int
    V: int
    second: int
    output: int

    @classmethod
    def of(cls, cell: Cell) -> Sizes:
        """Those of a cell."""
        return cls(
            len(cell.gates), len(cell.preactivations), len(cell.states), len(cell.graph.saved), len(cell.vectors),
            len(cell.second), cell.states.index(cell.output),
        )  # fmt: skip

    @property
    def split(self) -> int:
        """Gates whose two halves arrive apart."""
        return self.P - self.G


def cell_functions(cell: Cell, p) -> dict:
    """The functions of a cell by their names, made with some primitives; see `tuple_source`."""
    names = {**p.functions, "real": p.real, "inlined": p.inlined}
    return functions_from(tuple_source(cell, p.dtype), f"cell {symbol(cell.name)} {p.dtype}, CUDA", names)

"""Where each parameter lives in a network's one flat buffer, under torch's names and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import prod

import numpy as np

from nblstm.cells.cell import Cell


@dataclass(frozen=True)
class Layout:
    """Names, shapes and places of a network's parameters.

    Attributes
    ----------
    shapes : dict of str to tuple of int
    starts : dict of str to int
        Index of each parameter's first number in the flat buffer.
    size : int
        Length of the flat buffer.
    transposed : frozenset of str
        Matrices that lie in the buffer column by column: their transpose is contiguous.
    """

    shapes: dict[str, tuple[int, ...]]
    starts: dict[str, int]
    size: int
    transposed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, shapes: dict[str, tuple[int, ...]], transposed=()) -> Layout:
        """The layout that puts parameters of these shapes one after another."""
        starts, size = {}, 0
        for name, shape in shapes.items():
            starts[name] = size
            size += prod(shape)
        return cls(shapes, starts, size, frozenset(transposed))

    @cached_property
    def _places(self) -> list[tuple[str, slice, tuple[int, ...], bool]]:
        """Name, place in the buffer, shape in memory, and whether that is to be transposed."""
        return [
            (name, slice(start, start + prod(self.shapes[name])), self.shapes[name][:: -1 if turned else 1], turned)
            for name, start in self.starts.items() for turned in [name in self.transposed]
        ]  # fmt: skip

    def place(self, name: str) -> slice:
        """The place of a parameter in the flat buffer; empty for a name that is not there."""
        if name not in self.shapes:
            return slice(0)
        return slice(self.starts[name], self.starts[name] + prod(self.shapes[name]))

    def views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters by name, each a view of ``flat``."""
        return {
            name: flat[place].reshape(shape).T if turned else flat[place].reshape(shape)
            for name, place, shape, turned in self._places
        }

    def views_by_sequence(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """The same of parameters or gradients for each sequence (B, size): each (B, ...)."""
        return {
            name: own.swapaxes(1, 2) if turned else own
            for name, place, shape, turned in self._places for own in [flat[:, place].reshape(len(flat), *shape)]
        }  # fmt: skip


def suffix(layer: int, direction: int) -> str:
    """Ending of the parameter names of a layer, as torch has it; direction 1 reads the sequence backwards."""
    return f"_l{layer}{'_reverse' if direction else ''}"


def recurrent_layout(
    cell: Cell, input_size: int, hidden_size: int, num_layers: int, directions: int, bias: bool,
    learn_initial_state: bool = False, proj_size: int = 0,
) -> Layout:  # fmt: skip
    """The parameters of a stack of recurrent layers.

    Per layer and direction, with G gates: ``weight_ih`` (G H, I), ``weight_hh`` (G H, H), ``bias_ih`` (G H,),
    ``bias_hh`` (G H,), then each of the cell's vectors (H,), its scalars (1,), and its learned initial states (H,). Of
    gates without an input, or without a recurrence, the matrices have no rows.

    With ``proj_size`` P, the cell is one of `projected`, the columns of ``weight_hh`` and of the next layer's
    ``weight_ih`` are projections, and ``weight_hr`` (P, H) makes them.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    H, P = hidden_size, proj_size or hidden_size
    G = len(cell.seeing_gates if proj_size else cell.recurrent_gates)
    fed, recurrent = len(cell.input_gates) * H, G * H
    for layer in range(num_layers):
        inputs = input_size if layer == 0 else P * directions
        for direction in range(directions):
            own: dict[str, tuple[int, ...]] = {"weight_ih": (fed, inputs)}
            if cell.matrix is None:
                own["weight_hh"] = recurrent, P
            else:
                own |= cell.matrix.shapes(G, H, *[P] * bool(proj_size))
            if bias:
                own |= {"bias_ih": (fed,), "bias_hh": (recurrent,)}
            if proj_size:
                own["weight_hr"] = P, H
            own |= dict.fromkeys(cell.vectors, (H,)) | dict.fromkeys(cell.scalars, (1,))
            if learn_initial_state:
                own |= {f"initial_{state}": (H if k else P,) for k, state in enumerate(cell.states)}
            shapes |= {name + suffix(layer, direction): shape for name, shape in own.items() if prod(shape)}
    return Layout.of(shapes)


@cache
def input_order(cell: Cell, gates: tuple[str, ...]) -> np.ndarray:
    """The gate, in the parameters' order, of each block of pre-activations that the input feeds.

    ``gates`` is that order; the cell's own if empty.
    """
    return _order(cell, cell.preactivations[: len(cell.input_gates)], gates, cell.input_gates)


@cache
def recurrent_order(cell: Cell, gates: tuple[str, ...]) -> np.ndarray:
    """The gate, in the parameters' order, of each block of pre-activations that the recurrence feeds."""
    return _order(cell, cell.preactivations[cell.recurrent_start :], gates, cell.recurrent_gates)


def _order(cell: Cell, names: tuple[str, ...], gates: tuple[str, ...], fed: tuple[str, ...]) -> np.ndarray:
    halves = {f"{g}_{half}": g for g in cell.split for half in "xh"}
    order = [g for g in gates or cell.gates if g in fed]
    return np.array([order.index(halves.get(name, name)) for name in names], np.int64)


def add_biases(
    cell: Cell, gates: tuple[str, ...], b_ih: np.ndarray | None, b_hh: np.ndarray | None, total: np.ndarray
) -> None:
    """Set the constant of every pre-activation (P, H): ``bias_ih + bias_hh`` where both reach one."""
    P, H = total.shape
    if cell.preactivations == (gates or cell.gates) and b_ih is not None and cell.input_gates == cell.recurrent_gates:
        total[...] = (b_ih if b_hh is None else b_ih + b_hh).reshape(P, H)
        return
    total.fill(0)
    G, start = len(cell.input_gates), cell.recurrent_start
    if b_ih is not None:
        total[:G] = b_ih.reshape(-1, H)[input_order(cell, gates)]
    if b_hh is not None:
        total[start:] += b_hh.reshape(-1, H)[recurrent_order(cell, gates)]

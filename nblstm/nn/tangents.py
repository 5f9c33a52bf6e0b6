"""Derivatives of a network in a direction, and of its gradient: runs of the cell with its tangent, see `cells.dual`.

Layer by layer and direction by direction, a network of the dual cell with one layer reads ``[x, x']`` and gives the
outputs and their tangents. Its parameters are made of the network's own, W, and of the direction's, W'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.buffers.layout import Layout, recurrent_layout
from nblstm.cells.cell import Cell
from nblstm.cells.dual import MOVED, TANGENT, dual

if TYPE_CHECKING:
    pass

Arrays = dict[str, np.ndarray]


class DualParameters:
    """Parameters of the dual cell's network for one layer and direction, and the way of gradients back.

    Parameters
    ----------
    cell : Cell
        Of the network, as kernels see it.
    I, H : int
        Of the layer.
    gates : tuple of str
        The order of the gates in the parameters; the cell's own if empty.
    bias : bool
    learns : bool
        Whether the states before the first step are parameters.
    dtype : str

    Attributes
    ----------
    cell : Cell
        The dual cell.
    layout : Layout
        Of its network.
    I, H, learns
        As given.
    """

    def __init__(self, cell: Cell, I: int, H: int, gates: tuple[str, ...], bias: bool, learns: bool, dtype: str):
        base = replace(cell, matrix=None)
        self.cell, self.I, self.H, self.learns, self._dtype = dual(base), I, H, learns, dtype
        order = gates or cell.gates
        self._fed = [g for g in order if g in cell.input_gates]
        self._recurrent = [g for g in order if g in cell.recurrent_gates]
        self.layout: Layout = recurrent_layout(self.cell, 2 * I, H, 1, 1, bias, learns)
        initial = [f"initial_{state}" for state in cell.states] if learns else []
        self._learned = (*cell.vectors, *cell.scalars, *initial)

    def _rows(self, names: tuple[str, ...], gate: str) -> slice:
        k = names.index(gate)
        return slice(k * self.H, (k + 1) * self.H)

    def joined(self, own: Arrays, tangents: Arrays) -> np.ndarray:
        """The flat parameters of the dual network, from those of the layer and their tangents."""
        I, H, flat = self.I, self.H, np.zeros(self.layout.size, self._dtype)
        views = self.layout.views(flat)
        for k, g in enumerate(self._fed):
            rows, plain = slice(k * H, (k + 1) * H), self._rows(self.cell.input_gates, g)
            moving = self._rows(self.cell.input_gates, g + TANGENT)
            views["weight_ih_l0"][plain, :I] = views["weight_ih_l0"][moving, I:] = own["weight_ih"][rows]
            views["weight_ih_l0"][moving, :I] = tangents["weight_ih"][rows]
            if "bias_ih" in own:
                views["bias_ih_l0"][plain], views["bias_ih_l0"][moving] = (
                    own["bias_ih"][rows],
                    tangents["bias_ih"][rows],
                )
        for k, g in enumerate(self._recurrent):
            rows, plain = slice(k * H, (k + 1) * H), self._rows(self.cell.recurrent_gates, g)
            moving, moved = (self._rows(self.cell.recurrent_gates, g + end) for end in (TANGENT, MOVED))
            views["weight_hh_l0"][plain] = views["weight_hh_l0"][moved] = own["weight_hh"][rows]
            views["weight_hh_l0"][moving] = tangents["weight_hh"][rows]
            if "bias_hh" in own:
                views["bias_hh_l0"][plain], views["bias_hh_l0"][moving] = (
                    own["bias_hh"][rows],
                    tangents["bias_hh"][rows],
                )
        for name in self._learned:
            views[f"{name}_l0"][:], views[f"{name}{TANGENT}_l0"][:] = own[name], tangents[name]
        return flat

    def split(self, gradients: Arrays) -> tuple[Arrays, Arrays]:
        """Gradients with respect to the layer's parameters and to their tangents, from those of the dual network."""
        I = self.I
        own: dict[str, list[Any]] = {}
        moved_by: dict[str, list[Any]] = {}
        for g in self._fed:
            plain, moving = (self._rows(self.cell.input_gates, g + end) for end in ("", TANGENT))
            d = gradients["weight_ih_l0"]
            own.setdefault("weight_ih", []).append(d[plain, :I] + d[moving, I:])
            moved_by.setdefault("weight_ih", []).append(d[moving, :I])
            if "bias_ih_l0" in gradients:
                own.setdefault("bias_ih", []).append(gradients["bias_ih_l0"][plain])
                moved_by.setdefault("bias_ih", []).append(gradients["bias_ih_l0"][moving])
        for g in self._recurrent:
            plain, moving, moved = (self._rows(self.cell.recurrent_gates, g + end) for end in ("", TANGENT, MOVED))
            d = gradients["weight_hh_l0"]
            own.setdefault("weight_hh", []).append(d[plain] + d[moved])
            moved_by.setdefault("weight_hh", []).append(d[moving])
            if "bias_hh_l0" in gradients:
                own.setdefault("bias_hh", []).append(gradients["bias_hh_l0"][plain])
                moved_by.setdefault("bias_hh", []).append(gradients["bias_hh_l0"][moving])
        for name in self._learned:
            own[name], moved_by[name] = [gradients[f"{name}_l0"]], [gradients[f"{name}{TANGENT}_l0"]]
        joined = [{name: np.concatenate(parts) for name, parts in group.items()} for group in (own, moved_by)]
        return joined[0], joined[1]

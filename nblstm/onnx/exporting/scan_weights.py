"""Weights of a Scan over the steps of a layer: made of a network's parameters, and turned back into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nblstm.buffers.layout import suffix
from nblstm.onnx.exporting.graph_builder import GraphBuilder

if TYPE_CHECKING:
    from nblstm.onnx.exporting.recurrences import Stack


class ScanWeights:
    """Weights of one direction of a layer, by kinds of gates.

    ===========  ===========  =====================================================================
    W            (I, G H)     split gates, second gates, then the others, which are the shared ones
    b            (G H,)       in the same order; of split gates the input's, of others both in one
    R            (H, n H)     shared gates, split gates
    b_h          (n H,)       zeros for shared gates, then those of split gates
    R_second     (H, m H)     second gates
    ===========  ===========  =====================================================================

    Parameters
    ----------
    stack : Stack
    layer, d : int

    Attributes
    ----------
    names, vectors : dict of str to str
        What has been added to a graph, and its name there.
    """

    def __init__(self, stack: Stack, layer: int, d: int):
        self._stack, self._place, self.end = stack, (layer, d), suffix(layer, d)
        self.cell, self.H, self.dtype = stack.network.cell, stack.network.hidden_size, stack.network.dtype
        cell = self.cell
        self.shared = tuple(g for g in cell.gates if g not in (*cell.split, *cell.called))
        self.biased = f"bias_ih{self.end}" in stack.parameters
        self._columns = {
            "W": (*cell.split, *cell.called, *self.shared), "R": (*self.shared, *cell.split), "R_second": cell.called
        }  # fmt: skip
        self._columns |= {"b": self._columns["W"], "b_h": self._columns["R"]}
        self.names: dict[str, str] = {}
        self.vectors: dict[str, str] = {}

    def add(self, graph: GraphBuilder, which: str) -> str:
        """Add one of the arrays to a graph."""
        self.names[which] = graph.weight(self._array(which), f"{which}{self.end}")
        return self.names[which]

    def add_vector(self, graph: GraphBuilder, name: str) -> str:
        """Add one of the cell's vectors to a graph."""
        self.vectors[name] = graph.weight(self._stack.parameters[f"{name}{self.end}"], f"{name}{self.end}")
        return self.vectors[name]

    def _array(self, which: str) -> np.ndarray:
        if which in ("W", "R", "R_second"):
            gates = self._stack.by_gate("weight_ih" if which == "W" else "weight_hh", *self._place)
            return np.concatenate([gates[name] for name in self._columns[which]]).T
        b_ih, b_hh = (self._stack.by_gate(f"bias_{kind}", *self._place) for kind in ("ih", "hh"))
        if which == "b":
            parts = [b_ih[g] if g in self.cell.split else b_ih[g] + b_hh[g] for g in self._columns["b"]]
        else:
            parts = [b_hh[g] if g in self.cell.split else np.zeros_like(b_hh[g]) for g in self._columns["b_h"]]
        return np.concatenate(parts)

    def shapes(self, I: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays that were added, of a layer with so many inputs."""
        rows: dict[str, tuple[int, ...]] = {"W": (I,), "R": (self.H,), "R_second": (self.H,)}
        return {which: (*rows.get(which, ()), len(self._columns[which]) * self.H) for which in self.names}

    def parameters_of(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Parameters under torch's names, in the cell's order, of arrays such as have been added.

        ``b`` of gates that are not split becomes ``bias_ih``, with zeros for ``bias_hh``.
        """
        found: dict[str, np.ndarray] = {}
        for kind, sources in (("weight_ih", "W"), ("weight_hh", "R R_second"), ("bias_ih", "b"), ("bias_hh", "b_h")):
            if kind.startswith("bias") and not self.biased:
                continue
            blocks: dict[str, np.ndarray] = {}
            for which in sources.split():
                if which in arrays:
                    columns = self._columns[which]
                    blocks |= zip(columns, np.split(arrays[which].T, len(columns)), strict=True)
            none = np.zeros(self.H, self.dtype)
            found[f"{kind}{self.end}"] = np.concatenate([blocks.get(gate, none) for gate in self.cell.gates])
        return found

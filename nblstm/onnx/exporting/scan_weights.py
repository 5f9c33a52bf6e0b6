"""Weights of a Scan over the steps of a layer: made of a network's parameters, and turned back into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nblstm.buffers.layout import suffix
from nblstm.cells.cell import PROJECTION
from nblstm.cells.cell_graph import Link
from nblstm.onnx.exporting.graph_builder import GraphBuilder

if TYPE_CHECKING:
    from nblstm.onnx.exporting.recurrences import Stack


class ScanWeights:
    """Weights of one direction of a layer, by what multiplies them.

    ===========  ===========  =====================================================================
    W            (I, G H)     of the input: split gates, those without a recurrence, those that another
                              product than the first state's feeds, then the joint ones
    b            (G H,)       in the same order; of joint gates and those before them the biases' sum
    R            (H, n H)     of the first state: joint gates, split gates, those without an input
    b_h          (n H,)       zeros for joint gates, then those of the others
    R_operand_1  (H, m H)     of each further operand: the gates that it feeds
    b_operand_1  (m H,)       likewise, if one of them is split or has no input
    ===========  ===========  =====================================================================

    With projections, what multiplies one has P rows, and what makes one has P columns.

    Parameters
    ----------
    stack : Stack
    layer, d : int

    Attributes
    ----------
    split, input_only, apart, joint, recurrent_only : tuple of str
        Kinds of gates: of joint ones, W x and R h make one sum; of those apart, R multiplies another operand.
    names, vectors : dict of str to str
        What has been added to a graph, and its name there; scalars are among the vectors.
    """

    def __init__(self, stack: Stack, layer: int, d: int):
        self.stack, self._place, self.end = stack, (layer, d), suffix(layer, d)
        network = stack.network
        self.cell, self.H, self.dtype = network.cell, network.hidden_size, network.dtype
        cell = self.cell
        self._projections = cell.projection if network.proj_size else ()
        self._halves = {f"{gate}_h": gate for gate in cell.split}
        first = next((self.fed_by(link) for link in cell.graph.links if not link.name), ())
        self.split, self.input_only = cell.split, cell.input_only
        self.joint = tuple(gate for gate in first if gate in cell.input_gates and gate not in cell.split)
        self.apart = tuple(g for g in cell.called if g not in (*first, *cell.split, *cell.recurrent_only))
        self.split_by_first = tuple(gate for gate in first if gate in cell.split)
        self.recurrent_only = tuple(gate for gate in first if gate in cell.recurrent_only)
        self.biased = not {f"bias_ih{self.end}", f"bias_hh{self.end}"}.isdisjoint(stack.parameters)
        self._columns = {"W": (*cell.split, *cell.input_only, *self.apart, *self.joint)}
        self._columns["b"] = self._columns["W"]
        for link in cell.graph.links:
            if link.kind == "product":
                R, b = self.keys(link)
                self._columns[R] = self._columns[b] = self.fed_by(link)
        self.names: dict[str, str] = {}
        self.vectors: dict[str, str] = {}

    @property
    def narrow(self) -> tuple[str, ...]:
        """Arguments of the cell that have not H numbers, but P."""
        return (self.cell.states[0], *self._projections) if self._projections else ()

    def fed_by(self, link: Link) -> tuple[str, ...]:
        """The gates that a product feeds."""
        return tuple(self._halves.get(name, name) for name in link.targets)

    @staticmethod
    def keys(link: Link) -> tuple[str, str]:
        """Names of the weights of a product and of their biases."""
        return (f"R_{link.name}", f"b_{link.name}") if link.name else ("R", "b_h")

    def has_bias(self, link: Link) -> bool:
        """Say if a product has biases of its own."""
        return self.biased and any(map(self._keeps_bias, self.fed_by(link)))

    def _keeps_bias(self, gate: str) -> bool:
        """Say if the bias of a gate's recurrence stands by itself."""
        return gate in self.cell.split or (gate in self.cell.recurrent_only and not self._is_projection(gate))

    def _is_projection(self, gate: str) -> bool:
        return gate in self._projections

    def _width(self, gate: str) -> int:
        return self.stack.network.output_size if self._is_projection(gate) else self.H

    def widths(self, link: Link) -> list[int]:
        """Numbers of each gate that a product feeds."""
        return [self._width(gate) for gate in self.fed_by(link)]

    def add(self, graph: GraphBuilder, which: str) -> str:
        """Add one of the arrays to a graph."""
        self.names[which] = graph.weight(self._array(which), f"{which}{self.end}")
        return self.names[which]

    def add_vector(self, graph: GraphBuilder, name: str) -> str:
        """Add one of the cell's vectors or scalars to a graph."""
        self.vectors[name] = graph.weight(self.stack.parameters[f"{name}{self.end}"], f"{name}{self.end}")
        return self.vectors[name]

    def _array(self, which: str) -> np.ndarray:
        columns = self._columns[which]
        if which == "W" or which[0] == "R":
            gates = self.stack.by_gate("weight_ih" if which == "W" else "weight_hh", *self._place)
            return np.concatenate([gates[name] for name in columns]).T
        b_ih, b_hh = (self.stack.by_gate(f"bias_{kind}", *self._place) for kind in ("ih", "hh"))
        if which == "b":
            alone = *self.split, *self.input_only
            return np.concatenate([b_ih[g] if g in alone else b_ih[g] + b_hh[g] for g in columns])
        zeros = {gate: np.zeros(self._width(gate), self.dtype) for gate in columns}
        return np.concatenate([b_hh[gate] if self._keeps_bias(gate) else zeros[gate] for gate in columns])

    def shapes(self, I: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays that were added, of a layer with so many inputs."""
        P = (self.stack.network.output_size,)
        rows: dict[str, tuple[int, ...]] = {"W": (I,), "R": P}
        links = [link for link in self.cell.graph.links if link.kind == "product"]
        rows |= {self.keys(link)[0]: P for link in links if not {*link.targets} <= {*self._projections}}
        found = {}
        for which in self.names:
            columns = sum(map(self._width, self._columns[which]))
            found[which] = (columns,) if which[0] == "b" else (*rows.get(which, (self.H,)), columns)
        return found

    def parameters_of(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Parameters under torch's names, in the cell's order, of arrays such as have been added.

        ``b`` of gates with one sum of both biases becomes ``bias_ih``, with zeros for ``bias_hh``.

        Raises
        ------
        ValueError
            If a bias of a product is not 0 where it belongs to ``b``.
        """
        blocks: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in "WbRh"}
        for which, array in arrays.items():
            columns = self._columns[which]
            cuts = np.cumsum([self._width(gate) for gate in columns])[:-1]
            own = dict(zip(columns, np.split(array, cuts, axis=-1), strict=True))
            if which in ("W", "b") or which[0] == "R":
                blocks[which[0]] |= own
                continue
            if any(value.any() for gate, value in own.items() if not self._keeps_bias(gate)):
                raise ValueError(f"{which} is not 0 for gates whose bias is in b")
            blocks["h"] |= own
        cell, end, none = self.cell, self.end, np.zeros(self.H, self.dtype)
        recurrent = [gate for gate in cell.recurrent_gates if not self._is_projection(gate)]
        found: dict[str, np.ndarray] = {}
        for name, kind, gates in (
            ("weight_ih", "W", cell.input_gates), ("weight_hh", "R", recurrent),
            ("bias_ih", "b", cell.input_gates), ("bias_hh", "h", recurrent),
        ):  # fmt: skip
            if gates and (self.biased or kind in "WR"):
                found[f"{name}{end}"] = np.concatenate([blocks[kind].get(gate, none).T for gate in gates])
        if self.stack.network.proj_size:
            found[f"weight_hr{end}"] = blocks["R"][PROJECTION].T
        return found

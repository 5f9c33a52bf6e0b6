"""One direction of a recurrent layer of any cell, as a Scan over MatMul, Split and the cell's own function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from nblstm.buffers.layout import suffix
from nblstm.onnx.exporting.equations import call_cell, call_operand
from nblstm.onnx.exporting.graph_builder import GraphBuilder, storable, value_info
from nblstm.onnx.exporting.lengths import Lengths

if TYPE_CHECKING:
    from nblstm.onnx.exporting.recurrences import Stack


def scanned(
    graph: GraphBuilder, stack: Stack, layer: int, d: int, reverse: bool, x: str, start: list[str],
    lengths: Lengths | None,
) -> tuple[str, list[str]]:  # fmt: skip
    """Add the Scan.

    ::

        x_z   =  x W_ih + b              all steps in one product
        z     =  x_z[t] + h R            step by step
        h, c  =  cell(z, h, c)

    Parameters
    ----------
    x : str
        (T, B, I).
    start : list of str
        States before the first step, (D, B, H) each.

    Returns
    -------
    y : str
        (T, B, H), 0 beyond a sequence's length.
    states : list of str
        (B, H) each, after each sequence's last step.
    """
    network, cell, end = stack.network, stack.network.cell, suffix(layer, d)
    H, dtype = network.hidden_size, network.dtype
    gates = _Gates(stack, layer, d)
    x_z = graph.node("MatMul", x, graph.weight(gates.input_weights(), f"W{end}"))
    if gates.biased:
        x_z = graph.node("Add", x_z, graph.weight(gates.input_biases(), f"b{end}"))
    first = [graph.node("Gather", state, graph.constant(d), axis=0) for state in start]
    vectors = [graph.weight(stack.parameters[f"{name}{end}"], f"{name}{end}") for name in cell.vectors]

    body = GraphBuilder(graph.opset, graph)
    states = [body.unique(f"{name}_before") for name in cell.states]
    step = body.unique("x_z_t")
    scalars = dict(zip(cell.vectors, vectors, strict=True)) | dict(zip(cell.states, states, strict=True))
    _add_preactivations(body, gates, scalars, step, end)
    if cell.second:
        operand = call_operand(body, cell, [scalars[name] for name in cell.first_arguments], dtype)
        product = body.node("MatMul", operand, body.weight(gates.recurrent_weights(cell.second), f"R_second{end}"))
        pieces = body.split(product, [H] * len(cell.second), [f"{name}_h" for name in cell.second])
        for name, piece in zip(cell.second, pieces, strict=True):
            scalars[name] = body.node("Add", scalars[name], piece, hint=name)
    new = call_cell(body, cell, [scalars[name] for name in cell.arguments], dtype)
    y = new[cell.states.index(cell.output)]
    scanned_in = [x_z]
    steps = [step]
    if lengths is not None:
        valid = body.unique("valid_t")
        y = body.node("Where", valid, y, body.constant(0, dtype), hint="y_t")
        new = [body.node("Where", valid, a, b) for a, b in zip(new, states, strict=True)]
        scanned_in.append(lengths.valid)
        steps.append(valid)
    else:
        y = body.node("Identity", y, hint="y_t")
    kinds = [dtype, "bool"]
    inputs = [value_info(name, dtype, None) for name in states]
    inputs += [value_info(name, kind, None) for name, kind in zip(steps, kinds, strict=False)]
    outputs = [value_info(name, dtype, None) for name in (*new, y)]
    made = helper.make_graph(body.nodes, storable(f"{cell.name}_step"), inputs, outputs)
    directions = [int(reverse)]
    *finals, ys = graph.nodes_of(
        "Scan", [*first, *scanned_in], [*(f"last_{name}" for name in cell.states), "y"], called=f"{cell.name}{end}",
        body=made, num_scan_inputs=len(steps), scan_input_directions=directions * len(steps),
        scan_output_directions=directions,
    )  # fmt: skip
    return ys, finals


class _Gates:
    """Weights of one direction of a layer, by kinds of gates.

    Columns of the input's product: split gates, second gates, the others, which are the shared ones.
    """

    def __init__(self, stack: Stack, layer: int, d: int):
        cell = stack.network.cell
        self.cell, self.H = cell, stack.network.hidden_size
        self.split, self.second = cell.split, cell.second
        self.shared = tuple(g for g in cell.gates if g not in (*cell.split, *cell.second))
        self.W, self.R = (stack.by_gate(f"weight_{kind}", layer, d) for kind in ("ih", "hh"))
        self.biased = f"bias_ih{suffix(layer, d)}" in stack.parameters
        self.b_ih, self.b_hh = (stack.by_gate(f"bias_{kind}", layer, d) for kind in ("ih", "hh"))

    def input_weights(self) -> np.ndarray:
        """(I, G H)."""
        return np.concatenate([self.W[name] for name in (*self.split, *self.second, *self.shared)]).T

    def input_biases(self) -> np.ndarray:
        """(G H,): of split gates the input's alone, of others the sum of both."""
        parts = [self.b_ih[name] for name in self.split]
        parts += [self.b_ih[name] + self.b_hh[name] for name in (*self.second, *self.shared)]
        return np.concatenate(parts)

    def recurrent_weights(self, names: tuple[str, ...]) -> np.ndarray:
        """(H, gates H)."""
        return np.concatenate([self.R[name] for name in names]).T

    def recurrent_biases(self) -> np.ndarray:
        """(gates H,): zeros for shared gates, then those of split gates."""
        return np.concatenate([np.zeros(len(self.shared) * self.H, self.b_hh[self.split[0]].dtype)]
                              + [self.b_hh[name] for name in self.split])  # fmt: skip


def _add_preactivations(body: GraphBuilder, gates: _Gates, scalars: dict[str, str], step: str, end: str) -> None:
    """Add the first product, and put the pre-activations into ``scalars``; of second gates the input's part."""
    H, cell = gates.H, gates.cell
    split, second, shared = gates.split, gates.second, gates.shared
    groups = [group for group in (split, second, shared) if group]
    hints = [f"x_{kind}" for kind, group in (("split", split), ("second", second), ("shared", shared)) if group]
    from_x = dict(zip(groups, body.split(step, [len(group) * H for group in groups], hints), strict=True))
    recurrent = (*shared, *split)
    if recurrent:
        R = body.weight(gates.recurrent_weights(recurrent), f"R{end}")
        product = body.node("MatMul", scalars[cell.states[0]], R)
        if split and gates.biased:
            product = body.node("Add", product, body.weight(gates.recurrent_biases(), f"b_h{end}"))
        kinds = [group for group in (shared, split) if group]
        from_h = dict(
            zip(kinds, body.split(product, [len(k) * H for k in kinds], ["h_shared", "h_split"]), strict=True)
        )
    if shared:
        z = body.node("Add", from_x[shared], from_h[shared], hint="z")
        scalars |= zip(shared, body.split(z, [H] * len(shared), shared), strict=True)
    for group, source, half in ((split, from_x, "_x"), (split, from_h if split else {}, "_h"), (second, from_x, "")):
        if group:
            names = [f"{name}{half}" for name in group]
            scalars |= zip(names, body.split(source[group], [H] * len(group), names), strict=True)

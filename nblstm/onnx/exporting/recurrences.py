"""Stacks of recurrent layers as nodes: one LSTM, GRU or RNN for each layer, or a Scan for each direction of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.engine.network import Network
from nblstm.nn.parameter_files import cell_as_data
from nblstm.onnx.exporting.graph_builder import GraphBuilder
from nblstm.onnx.exporting.lengths import Lengths
from nblstm.onnx.exporting.scan import scanned
from nblstm.onnx.exporting.scan_weights import ScanWeights
from nblstm.onnx.exporting.standard_forms import StandardForm, standard_form


@dataclass(frozen=True)
class Stack:
    """A network with its parameters.

    Attributes
    ----------
    network : Network
    parameters : dict of str to ndarray
        Under torch's names.
    base : Cell or None
        The cell with its noise, and without a projection; the network's own if it is None.
    """

    network: Network
    parameters: dict[str, np.ndarray]

    base: Cell | None = None

    @classmethod
    def of(cls, network: Network, parameters: dict[str, np.ndarray], base: Cell | None = None) -> Stack:
        """A network as inference has it: without noise, and with recurrent matrices where their parameters were."""
        base, quiet = base or network.cell, network.without_noise
        if network.cell.matrix is None:
            return cls(quiet, parameters, base)
        made, cell = network.plain_parameters(parameters), replace(quiet.cell, matrix=None)
        return cls(replace(quiet, cell=cell, layout=network.plain_layout), made, replace(base, matrix=None))

    @property
    def cell_in_file(self) -> Any:
        """Description of the cell in a file."""
        data = cell_as_data(self.base or self.network.cell)
        return {"projected": data} if self.network.proj_size else data

    @property
    def rows(self) -> int:
        """Layers times directions, the first dimension of each state."""
        return self.network.num_layers * self.network.D

    def initial(self) -> list[np.ndarray]:
        """Each state before the first step, where none is given: (num_layers D, 1, H)."""
        network = self.network
        D, layers = network.D, range(network.num_layers)
        ends = [suffix(k, d) for k in layers for d in range(D)]
        if network.learn_initial_state:
            rows = [[self.parameters[f"initial_{name}{end}"] for end in ends] for name in network.cell.states]
        else:
            values = zip(network.cell.initial, network.state_sizes, strict=True)
            rows = [[np.full(size, value) for _ in ends] for value, size in values]
        return [np.asarray(row, network.dtype)[:, None] for row in rows]

    def by_gate(self, kind: str, layer: int, direction: int) -> dict[str, np.ndarray]:
        """``weight_ih`` or ``weight_hh``, or a bias, by the name of the gate: (H, ...), zeros where it is not there."""
        network, cell, end = self.network, self.network.cell, suffix(layer, direction)
        fed = cell.input_gates if kind.endswith("ih") else cell.recurrent_gates
        order = [gate for gate in network.gates or cell.gates if gate in fed]
        found = {}
        for gate in [gate for gate in (cell.projection if network.proj_size else ()) if gate in order]:
            order.remove(gate)
            zeros = np.zeros(network.proj_size, network.dtype)
            found[gate] = self.parameters.get(f"weight_hr{end}", zeros) if kind == "weight_hh" else zeros
        value = self.parameters.get(f"{kind}{end}")
        if value is None:
            return found | dict.fromkeys(order, np.zeros(network.hidden_size, network.dtype))
        blocks = value.reshape(len(order), network.hidden_size, *value.shape[1:])
        return found | dict(zip(order, blocks, strict=True))


def run_stack(
    graph: GraphBuilder, stack: Stack, x: str, states: list[str] | None, lengths: Lengths | None, outputs: bool = True,
    signals: Sequence[str] = (),
) -> tuple[str | None, list[str]]:  # fmt: skip
    """Add the nodes of all layers.

    Parameters
    ----------
    x : str
        (T, B, I).
    states : list of str, optional
        Before the first step, (num_layers D, B, H) each; the network's own if not given.
    outputs : bool
        Whether outputs are wanted.
    signals : sequence of str
        Of the cell, (T, B, H) or (T, B, 1) each.

    Returns
    -------
    y : str or None
        (T, B, D H), 0 beyond a sequence's length.
    states : list of str
        After each sequence's last step, (num_layers D, B, H) each.
    """
    network = stack.network
    form = standard_form(network.cell) if network.dtype == "float32" else None
    if states is None and not (form and network.starts_at_zero):
        states = _own_states(graph, stack, x)
    pieces = _by_layer(graph, states, network)
    finals, y = [], x
    for layer in range(network.num_layers):
        wanted = outputs or layer + 1 < network.num_layers
        if form is None:
            y, final = _scans(graph, stack, layer, y, pieces[layer] or [], list(signals), lengths, wanted)
        else:
            y, final = _operator(graph, stack, layer, y, pieces[layer], lengths, wanted, form)
        finals.append(final)
    joined = [graph.concat(list(parts), 0) for parts in zip(*finals, strict=True)]
    return (y if outputs else None), joined


def _own_states(graph: GraphBuilder, stack: Stack, x: str) -> list[str]:
    """The network's states before the first step, the same for each sequence of x."""
    one = graph.constant([1])
    shape = graph.concat([one, graph.sizes(x, 1, 2), one], 0)
    named = zip(stack.network.cell.states, stack.initial(), strict=True)
    return [graph.node("Expand", graph.weight(value, f"initial_{name}"), shape) for name, value in named]


def _by_layer(graph: GraphBuilder, states: list[str] | None, network: Network) -> list[list[str] | None]:
    """States of each layer, (D, B, H)."""
    if states is None:
        return [None] * network.num_layers
    names = [f"layer_{k}_state" for k in range(network.num_layers)]
    cut = [graph.split(state, [network.D] * network.num_layers, names, 0) for state in states]
    return [list(layer) for layer in zip(*cut, strict=True)]


def _scans(
    graph: GraphBuilder, stack: Stack, layer: int, x: str, start: list[str], signals: list[str],
    lengths: Lengths | None, wanted: bool,
) -> tuple[str, list[str]]:  # fmt: skip
    """One Scan for each direction."""
    valid = None if lengths is None else lengths.valid
    found = [
        scanned(graph, ScanWeights(stack, layer, d), d, reverse, x, start, signals, valid)
        for d, reverse in enumerate(stack.network.directions)
    ]
    y = graph.concat([y for y, _ in found], 2) if wanted else ""
    by_state = zip(*(final for _, final in found), strict=True)
    finals = [graph.concat([graph.unsqueeze(state, 0) for state in each], 0) for each in by_state]
    return y, finals


def _operator(
    graph: GraphBuilder, stack: Stack, layer: int, x: str, start: list[str] | None, lengths: Lengths | None,
    wanted: bool, form: StandardForm,
) -> tuple[str, list[str]]:  # fmt: skip
    """One LSTM, GRU or RNN, of both directions if there are two."""
    network, D, H = stack.network, stack.network.D, stack.network.hidden_size
    states = network.cell.states
    inputs = [x, *_weights(graph, stack, layer, form), "" if lengths is None else lengths.for_operators]
    inputs += ["" for _ in states] if start is None else start
    if form.peepholes:
        inputs += [graph.weight(_peepholes(stack, layer, form), f"P_l{layer}")]
    while not inputs[-1]:
        inputs.pop()
    direction = "bidirectional" if D == 2 else "reverse" if network.directions[0] else "forward"
    activations = list(form.activations) * D
    attributes: dict[str, Any] = {
        "hidden_size": H, "direction": direction, "activations": [f.name for f in activations],
        "activation_alpha": [f.alpha for f in activations if f.alpha is not None],
        "activation_beta": [f.beta for f in activations if f.beta is not None],
    }  # fmt: skip
    attributes = {name: value for name, value in attributes.items() if value != []} | dict(form.attributes)
    hints = ["y" if wanted else "", *(f"last_{state}" for state in states)]
    called = form.op if network.num_layers == 1 else f"{form.op}_l{layer}"
    y, *finals = graph.nodes_of(form.op, inputs, hints, called=called, **attributes)
    if lengths is not None:  # runtimes differ in what they return of an empty sequence
        zeros = graph.constant(0, network.dtype)
        before = [zeros for _ in states] if start is None else start
        finals = [graph.node("Where", lengths.any_step, a, b) for a, b in zip(finals, before, strict=True)]
    if wanted and D == 1:
        y = graph.squeeze(y, 1)
    elif wanted:  # (T, D, B, H)
        y = graph.node("Reshape", graph.node("Transpose", y, perm=[0, 2, 1, 3]), graph.constant([0, 0, D * H]))
    return y, finals


def _weights(graph: GraphBuilder, stack: Stack, layer: int, form: StandardForm) -> list[str]:
    """W (D, G H, I), R (D, G H, H) and B (D, 2 G H) with the gates in the operator's order."""

    def rows(kind: str, d: int) -> np.ndarray:
        gates = stack.by_gate(kind, layer, d)
        return np.concatenate([gates[name] for name in form.gates])

    D = range(stack.network.D)
    W, R = (np.stack([rows(f"weight_{kind}", d) for d in D]) for kind in ("ih", "hh"))
    names = [graph.weight(W, f"W_l{layer}"), graph.weight(R, f"R_l{layer}")]
    if f"bias_ih{suffix(layer, 0)}" not in stack.parameters:
        return [*names, ""]
    B = np.stack([np.concatenate([rows("bias_ih", d), rows("bias_hh", d)]) for d in D])
    return [*names, graph.weight(B, f"B_l{layer}")]


def _peepholes(stack: Stack, layer: int, form: StandardForm) -> np.ndarray:
    """P (D, 3 H)."""
    zeros = np.zeros(stack.network.hidden_size, stack.network.dtype)

    def vector(name: str | None, d: int) -> np.ndarray:
        return zeros if name is None else stack.parameters[f"{name}{suffix(layer, d)}"]

    D = range(stack.network.D)
    return np.stack([np.concatenate([vector(name, d) for name in form.peepholes]) for d in D])

"""Gates and states of a recurrent network at each step, in NumPy: the cell's traced equations, on arrays of float64.

Kernels keep no gates in inference, and in training only what BPTT needs. All that is known here of a cell's graph is in
`Step` and `activation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.buffers.layout import suffix
from nblstm.cells import Cell
from nblstm.engine.inputs import checked_input, state_array
from nblstm.nn import Recurrent
from nblstm.symbolic.elementwise import FUNCTIONS
from nblstm.symbolic.graph import COMPARISONS, Value, topological

Array = np.ndarray

#: Operations of a graph that are no functions of one number, and theirs on arrays.
_ARITHMETIC = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
_OPERATIONS: dict[str, Any] = {**FUNCTIONS, **_ARITHMETIC, "where": np.where}


@dataclass(frozen=True)
class Trajectory:
    """One layer and direction of a network, step by step.

    Attributes
    ----------
    gates : dict of str to ndarray, shape (T, B, H)
        By the cell's names, as `activation` has them; NaN at steps that are not computed, beyond a length or masked.
    states : dict of str to ndarray, shape (T, B, H)
        After each step; NaN likewise.
    values : dict of str to Value
        The expression of each gate.
    """

    gates: dict[str, Array]
    states: dict[str, Array]
    values: dict[str, Value]


def trajectory(
    network: Recurrent, x, state=None, lengths=None, mask=None, layer: int = 0, direction: int = 0
) -> Trajectory:
    """Compute the gates and states of one layer and direction, as in inference.

    Parameters
    ----------
    network : nn.Recurrent
    x, state, lengths, mask
        As for calling the network; without ``state``, its initial states.
    layer, direction : int
    """
    plan = network._network
    arrays = plan.backend.arrays
    converted, _, batched = checked_input(plan, x, lengths, mask, False)
    y = _time_major(plan, arrays.on_host(converted), batched)
    T, B, _ = y.shape
    parameters = {name: value.astype(np.float64) for name, value in network.state_dict().items()}
    if state is None:
        states = np.repeat(plan.initial_states(network._flat)[:, :, None], B, axis=2).astype(np.float64)
    else:
        given = state_array(plan, network._to_tuple(state), B, batched, "state")
        states = arrays.on_host(given).astype(np.float64)
    run = _valid_steps(plan, T, B, lengths, mask, batched)
    step = Step(network.cell)
    for k in range(layer):
        outputs = [
            _one_direction(step, parameters, suffix(k, d), y, states[:, k * plan.D + d], run, reverse)[1]
            for d, reverse in enumerate(plan.directions)
        ]
        index = network.cell.states.index(network.cell.output)
        y = np.nan_to_num(np.concatenate([found[index] for found in outputs], axis=-1), nan=0.0)
    start, reverse = states[:, layer * plan.D + direction], plan.directions[direction]
    gates, found = _one_direction(step, parameters, suffix(layer, direction), y, start, run, reverse)
    return Trajectory(
        dict(zip(network.cell.gates, gates, strict=True)), dict(zip(network.cell.states, found, strict=True)),
        dict(zip(network.cell.gates, step.shown, strict=True)),
    )  # fmt: skip


class Step:
    """One step of a cell on arrays (B, H).

    Attributes
    ----------
    shown : list of Value
        For each gate, the value that stands for it.
    """

    def __init__(self, cell: Cell):
        graph = cell.graph
        self.cell, self.operand, self.states = cell, graph.operand, graph.states
        self.shown = [activation(cell, gate) for gate in cell.gates]
        self._early = [] if graph.operand is None else topological([graph.operand])
        self._late = topological([*graph.states, *self.shown])

    def __call__(self, a: Array, R: Array, b_hh: Array, states: list[Array], vectors: dict[str, Array]) -> tuple:
        """Gates as `shown`, and the new states.

        Parameters
        ----------
        a : ndarray, shape (G, B, H)
            ``W x + b_ih`` of each gate.
        R : ndarray, shape (G, H, H)
        b_hh : ndarray, shape (G, 1, H)
        states : list of ndarray, shape (B, H)
        vectors : dict of str to ndarray, shape (H,)
        """
        cell = self.cell
        known = {Value("input", name): value for name, value in zip(cell.states, states, strict=True)}
        known |= {Value("input", name): value for name, value in vectors.items()}
        products = states[0] @ R.transpose(0, 2, 1) + b_hh
        for k, gate in enumerate(cell.gates):
            if gate in cell.split:
                known |= {Value("input", f"{gate}_x"): a[k], Value("input", f"{gate}_h"): products[k]}
            elif gate not in cell.second:
                known[Value("input", gate)] = a[k] + products[k]
        if self.operand is not None:
            evaluate(self._early, known)
            for k, gate in enumerate(cell.gates):
                if gate in cell.second:
                    known[Value("input", gate)] = a[k] + known[self.operand] @ R[k].T + b_hh[k]
        evaluate(self._late, known)
        return [known[value] for value in self.shown], [known[value] for value in self.states]


def evaluate(order: list[Value], known: dict[Value, Any]) -> None:
    """Compute values, in an order of `topological`, on arrays; those that are known stay as they are."""
    for node in order:
        if node not in known:
            found = [known[operand] for operand in node.operands]
            known[node] = _OPERATIONS[node.op](*found) if found else np.float64(node.args[0])


def activation(cell: Cell, gate: str) -> Value:
    """The value by which the equations know a gate: behind the first function that is applied to its pre-activation.

    In ``c = sigmoid(f + p * c_before) * c_before + ...`` it is ``sigmoid(f + p * c_before)``. More exactly, the first
    value behind a function through which all ways lead from the gate's pre-activations to the new states, and which is
    that function itself, or of nothing but the gate, as ``g * sigmoid(g)``. If there is none, or it is a new state, the
    pre-activation: of a split gate, the sum of both.
    """
    graph = cell.graph
    names = (f"{gate}_x", f"{gate}_h") if gate in cell.split else (gate,)
    sources = {Value("input", name) for name in names}
    ends = [*graph.states, *([] if graph.operand is None else [graph.operand])]
    order = topological(ends)
    of_gate: set[Value] = set(sources)
    behind: dict[Value, bool] = dict.fromkeys(sources, False)  # whether a function of the gate is in it
    for node in order:
        own = [operand for operand in node.operands if operand in of_gate]
        if own:
            of_gate.add(node)
            behind[node] = node.op not in _ARITHMETIC or any(behind[operand] for operand in own)
    for node in order:
        if node in of_gate and behind[node] and not sources & set(topological(ends, leaves={node})):
            node = _behind_limits(node, order)
            inputs = {value for value in topological([node]) if value.op == "input"}
            if node not in {*graph.states} and (node.op not in _ARITHMETIC or inputs <= sources):
                return node
            break
    first, *others = (Value("input", name) for name in names)
    return first + others[0] if others else first


def _behind_limits(node: Value, order: list[Value]) -> Value:
    """The function of what is clipped, as ``tanh(clip(x, -3, 3))``; the node itself if it is no such limit."""
    users = [user for user in order if node in {*user.operands}]
    if node.op in ("clip", "minimum", "maximum") and len(users) == 1 and len(users[0].operands) == 1:
        return users[0] if users[0].op not in (*_ARITHMETIC, *COMPARISONS) else node
    return node


def _time_major(plan, x: Array, batched: bool) -> Array:
    """An input as float64 (T, B, I)."""
    x = x.astype(np.float64)
    return x[:, None] if not batched else x.swapaxes(0, 1) if plan.batch_first else x


def _valid_steps(plan, T: int, B: int, lengths, mask, batched: bool) -> Array:
    """True (T, B) where a step of a sequence is computed."""
    if mask is not None:
        mask = np.asarray(plan.backend.arrays.on_host(mask)).astype(bool)
        return mask[:, None] if not batched else mask.T if plan.batch_first else mask
    lengths = [T] * B if lengths is None else plan.backend.arrays.on_host(lengths)
    return np.arange(T)[:, None] < np.reshape(lengths, (1, B))


@np.errstate(all="ignore")  # as in kernels: branches that `where` does not take may overflow
def _one_direction(
    step: Step, parameters: dict[str, Array], end: str, x: Array, start: Array, run: Array, reverse: bool
) -> tuple[list[Array], list[Array]]:
    """Gates and states (T, B, H) of one layer in one direction."""
    cell, T, B, H = step.cell, len(x), x.shape[1], start.shape[-1]
    G = len(cell.gates)
    W = parameters[f"weight_ih{end}"].reshape(G, 1, H, -1)
    R = parameters[f"weight_hh{end}"].reshape(G, H, H)
    b_ih, b_hh = (parameters.get(f"bias_{part}{end}", np.zeros(G * H)).reshape(G, 1, H) for part in ("ih", "hh"))
    vectors = {name: parameters[f"{name}{end}"] for name in cell.vectors}
    states = list(start)
    found = np.full((G + len(states), T, B, H), np.nan)
    for t in reversed(range(T)) if reverse else range(T):
        a = x[t] @ W[:, 0].transpose(0, 2, 1) + b_ih
        gates, new = step(a, R, b_hh, states, vectors)
        valid = run[t][:, None]
        states = [np.where(valid, after, before) for after, before in zip(new, states, strict=True)]
        for k, value in enumerate([*gates, *states]):
            found[k, t] = np.where(valid, value, np.nan)
    return list(found[:G]), list(found[G:])

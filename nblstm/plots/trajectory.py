"""Gates and states of a recurrent network at each step, in NumPy: the cell's traced equations, on arrays of float64.

Kernels keep no gates in inference, and in training only what BPTT needs. All that is known here of a cell's graph is in
`Equations`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.buffers.layout import suffix
from nblstm.cells import Cell
from nblstm.engine.inputs import checked_input, checked_signals, state_array
from nblstm.nn import Recurrent
from nblstm.plots.networks import place
from nblstm.symbolic.elementwise import FUNCTIONS
from nblstm.symbolic.graph import Value, topological

Array = np.ndarray

#: Operations of a graph that are no functions of one number, and theirs on arrays.
_ARITHMETIC = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
_OPERATIONS: dict[str, Any] = {**FUNCTIONS, **_ARITHMETIC, "where": np.where, "stop_gradient": np.positive}

#: Results over the units of a sequence, which a graph has as links.
OF_UNITS: dict[str, Any] = {"sum of units": np.sum, "mean of units": np.mean, "maximum of units": np.max}


@dataclass(frozen=True)
class Trajectory:
    """One layer and direction of a network, step by step.

    Attributes
    ----------
    gates : dict of str to ndarray, shape (T, B, H)
        By the cell's names, as `Equations.shown` has them; NaN at steps beyond a length, or masked.
    states : dict of str to ndarray, shape (T, B, H)
        After each step; NaN likewise.
    values : dict of str to Value
        The expression of each gate.
    new : dict of Value to str
        The states whose new values expressions may have in them.
    """

    gates: dict[str, Array]
    states: dict[str, Array]
    values: dict[str, Value]
    new: dict[Value, str]


def trajectory(
    network: Recurrent, x, state=None, lengths=None, mask=None, signals=None, layer: int = 0, direction: int = 0,
    sequence: int | None = None,
) -> Trajectory:  # fmt: skip
    """Compute the gates and states of one layer and direction, as in inference.

    Parameters
    ----------
    network : nn.Recurrent
    x, state, lengths, mask, signals
        As for calling the network; without ``state``, its initial states.
    layer, direction : int
    sequence : int, optional
        One of the batch, which is then all of it: B is 1.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or there is no step.
    """
    plan = network._network.without_noise
    arrays = plan.backend.arrays
    converted, batch, batched = checked_input(plan, x, lengths, mask, None, False)
    given = [arrays.on_host(own).astype(np.float64) for own in checked_signals(plan, signals, batch, batched)]
    y = _time_major(plan, arrays.on_host(converted), batched)
    T, B, _ = y.shape
    parameters = {k: v.astype(np.float64) for k, v in plan.kernel_parameters(network.state_dict()).items()}
    if state is None:
        states = np.repeat(plan.initial_states(network._flat)[:, :, None], B, axis=2).astype(np.float64)
    else:
        states = arrays.on_host(state_array(plan, network._to_tuple(state), B, batched, "state")).astype(np.float64)
    run = _valid_steps(plan, T, B, lengths, mask, batched)
    if not T * B:
        raise ValueError(f"x has {T} steps of {B} sequences; give one of each at least")
    if sequence is not None:
        rows = [place("sequence", sequence, B)]
        y, run, states, given = y[:, rows], run[:, rows], states[:, :, rows], [own[:, rows] for own in given]
    equations = Equations(plan.cell)
    for k in range(layer):
        outputs = [
            _one_direction(equations, parameters, suffix(k, d), y, given, states[:, k * plan.D + d], run, reverse)[1]
            for d, reverse in enumerate(plan.directions)
        ]
        y = np.nan_to_num(np.concatenate([found[plan.cell.output] for found in outputs], axis=-1), nan=0.0)
    start, reverse = states[:, layer * plan.D + direction], plan.directions[direction]
    found = _one_direction(equations, parameters, suffix(layer, direction), y, given, start, run, reverse)
    return Trajectory(*found, equations.shown, dict(zip(equations.states, plan.cell.states, strict=True)))


class Equations:
    """One step of a cell on arrays (B, H), and what of it stands for each gate.

    Attributes
    ----------
    shown : dict of str to Value
        For each gate, the value by which the equations know it: behind the first function that is applied to its
        pre-activation. In ``c = sigmoid(f + p * c_before) * c_before + ...`` it is ``sigmoid(f + p * c_before)``. More
        exactly, the first value behind a function through which all ways lead from the gate's pre-activations to the
        new states and the operands of products, and which is that function itself, or of nothing but the gate, as
        ``g * sigmoid(g)``. If there is none, or it is a new state, the pre-activation; the sum of both of a split gate.
    states : list of Value
        The new states.
    """

    def __init__(self, cell: Cell):
        graph, places = cell.graph, dict[Value, Value]()
        self.cell = cell
        for link in _in_order(graph.links):  # sums and the like become operations of the graph
            operand = _replaced([link.operand], places)[0]
            if link.kind != "product":
                places[Value("input", *link.targets)] = Value(f"{link.kind} of units", operand)
        self.states = _replaced(graph.states, places)
        products = [link for link in _in_order(graph.links) if link.kind == "product"]
        operands = _replaced([link.operand for link in products], places)
        self._ends = [*self.states, *operands]
        self.shown = {gate: self._shown(gate) for gate in cell.gates}
        self._products = [
            (topological([operand]), operand, link.targets) for link, operand in zip(products, operands, strict=True)
        ]
        self._last = topological([*self.states, *self.shown.values()])

    def step(self, known: dict[Value, Any], R: dict[str, Array], b: dict[str, Array], shape: tuple[int, int]) -> None:
        """Compute all values of a step.

        Parameters
        ----------
        known : dict of Value to ndarray
            The arguments, of pre-activations what the input feeds them, ``W x + b_ih``; takes all other values.
        R, b : dict of str to ndarray
            Recurrent weights (H, H) and biases (H,) of each pre-activation that the recurrence feeds.
        shape : tuple of int
            (B, H).
        """
        for order, operand, targets in self._products:
            evaluate(order, known, shape)
            for target in targets:
                fed = Value("input", target)
                known[fed] = known.get(fed, 0) + np.broadcast_to(known[operand], shape) @ R[target].T + b[target]
        evaluate(self._last, known, shape)

    def _shown(self, gate: str) -> Value:
        names = (f"{gate}_x", f"{gate}_h") if gate in self.cell.split else (gate,)
        sources = {Value("input", name) for name in names}
        order = topological(self._ends)
        # Of each value that the gate is in, whether behind a function; None if it is the same for all units, as a mean.
        behind: dict[Value, bool | None] = dict.fromkeys(sources, False)
        for node in order:
            own = [behind[operand] for operand in node.operands if operand in behind]
            if own:
                uniform = node.op in OF_UNITS or all(each is None for each in own)
                behind[node] = None if uniform else node.op not in _ARITHMETIC or any(own)
        for node in order:
            if behind.get(node) and not sources & set(topological(self._ends, leaves={node})):
                node = _whole(node, order)
                inputs = {value for value in topological([node]) if value.op == "input"}
                if node not in {*self.states} and (node.op not in _ARITHMETIC or inputs <= sources):
                    return node
                break
        first, *others = (Value("input", name) for name in names)
        return first + others[0] if others else first


def evaluate(order: list[Value], known: dict[Value, Any], shape: tuple[int, int]) -> None:
    """Compute values, in an order of `topological`, on arrays; those that are known stay as they are."""
    for node in order:
        if node in known:
            continue
        found = [known[operand] for operand in node.operands]
        if node.op in OF_UNITS:
            known[node] = OF_UNITS[node.op](np.broadcast_to(found[0], shape), axis=-1, keepdims=True)
        else:
            known[node] = _OPERATIONS[node.op](*found) if found else np.float64(node.args[0])


def _in_order(links) -> list[Any]:
    """Links, each behind those that its operand depends on."""
    ordered, left = [], list(links)
    while left:
        waiting = {Value("input", target) for link in left for target in link.targets}
        ready = [not waiting & set(topological([link.operand])) for link in left]
        ordered += [link for link, now in zip(left, ready, strict=True) if now]
        left = [link for link, now in zip(left, ready, strict=True) if not now]
    return ordered


def _replaced(values: list[Value], places: dict[Value, Value]) -> list[Value]:
    """The same values with others in some places."""
    new = dict(places)
    for node in topological(values):
        if node not in new:
            new[node] = Value(node.op, *(new[operand] for operand in node.operands)) if node.operands else node
    return [new[value] for value in values]


def _whole(node: Value, order: list[Value]) -> Value:
    """The function of what is clipped, as ``tanh(clip(x, -3, 3))``; a softmax of its exponentials; else the node."""
    users = [user for user in order if node in {*user.operands}]
    if node.op in ("clip", "minimum", "maximum") and len(users) == 1 and len(users[0].operands) == 1:
        return users[0] if users[0].op not in (*_ARITHMETIC, *OF_UNITS) else node
    if node.op == "exp":
        share = Value("div", node, Value("sum of units", node))
        return share if share in {*users} else node
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
    equations: Equations, parameters: dict[str, Array], end: str, x: Array, signals: list[Array], start: Array,
    run: Array, reverse: bool,
) -> tuple[dict[str, Array], dict[str, Array]]:  # fmt: skip
    """Gates and states (T, B, H) of one layer in one direction."""
    cell, T, B, H = equations.cell, len(x), x.shape[1], start.shape[-1]

    def blocks(name: str, gates: tuple[str, ...], half: str) -> dict[str, Array]:
        """A parameter's block of each pre-activation that these gates have; zeros where there is no such parameter."""
        named = [f"{gate}_{half}" if gate in cell.split else gate for gate in gates]
        value = parameters.get(name + end, np.zeros(len(gates) * H))
        return dict(zip(named, value.reshape(len(gates), H, *value.shape[1:]), strict=True))

    W, b_ih = (blocks(name, cell.input_gates, "x") for name in ("weight_ih", "bias_ih"))
    R, b_hh = (blocks(name, cell.recurrent_gates, "h") for name in ("weight_hh", "bias_hh"))
    learned = {Value("input", name): parameters[name + end] for name in (*cell.vectors, *cell.scalars)}
    names = [*cell.gates, *cell.states]
    found = {name: np.full((T, B, H), np.nan) for name in names}
    states = list(start)
    a = {Value("input", name): x @ W[name].T + b_ih[name] for name in W}
    for t in reversed(range(T)) if reverse else range(T):
        known: dict[Value, Any] = {value: own[t] for value, own in a.items()}
        known |= learned | {Value("input", name): own for name, own in zip(cell.states, states, strict=True)}
        at_step = [*[x[t]] * cell.takes_x, *(own[t] for own in signals)]
        known |= {Value("input", name): own for name, own in zip(cell.given, at_step, strict=True)}
        equations.step(known, R, b_hh, (B, H))
        valid = run[t][:, None]
        states = [np.where(valid, known[value], own) for value, own in zip(equations.states, states, strict=True)]
        for name, value in zip(names, [*(known[v] for v in equations.shown.values()), *states], strict=True):
            found[name][t] = np.where(valid, value, np.nan)
    return {name: found[name] for name in cell.gates}, {name: found[name] for name in cell.states}

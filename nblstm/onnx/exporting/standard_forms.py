"""Cells whose equations are those of ONNX's operators LSTM, GRU and RNN, found by comparing graphs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from nblstm.cells.cell import Cell
from nblstm.cells.onnx_forms import ACTIVATIONS, Activation
from nblstm.symbolic.graph import ONE, ZERO, Value, add, mul, sub, topological


@dataclass(frozen=True)
class StandardForm:
    """A cell as one of ONNX's recurrent operators.

    Attributes
    ----------
    op : {"LSTM", "GRU", "RNN"}
    gates : tuple of str
        The cell's gates in the operator's order.
    activations : tuple of Activation
    peepholes : tuple of str or None
        The cell's vectors in the operator's order i, o, f; empty if there are none.
    attributes : tuple
        Further attributes of the operator, as pairs.
    """

    op: str
    gates: tuple[str, ...]
    activations: tuple[Activation, ...]
    peepholes: tuple[str | None, ...] = ()
    attributes: tuple[tuple[str, int], ...] = ()


@lru_cache(maxsize=256)
def standard_form(cell: Cell) -> StandardForm | None:
    """The operator that computes a cell; None if there is none."""
    if cell.output != cell.states[0] or {*cell.uses} - {"called gates"}:
        return None
    names = {node.args[0]: node for node in cell.graph.inputs}
    return _lstm(cell, names) or _gru(cell, names) or _rnn(cell, names)


def _lstm(cell: Cell, names: dict[str, Value]) -> StandardForm | None:
    """``c' = F(f) c + F(i) G(g)``, ``h' = F(o) H(c')``; i and f may see p c, o may see p c'."""
    if len(cell.states) != 2 or cell.split or cell.called:
        return None
    h, c = cell.graph.states
    old = names[cell.states[1]]
    for o_gate, shown in _factors(h):
        H = activation_of(shown, c)
        if H is None:
            continue
        for kept, written in _terms(c):
            for f_gate, memory in _factors(kept):
                if memory is not old:
                    continue
                for i_gate, candidate in _factors(written):
                    found = _lstm_of(cell, names, (i_gate, o_gate, f_gate), candidate, H)
                    if found is not None:
                        return found
    return None


def _lstm_of(cell: Cell, names: dict[str, Value], sigmoids, candidate: Value, H: Activation) -> StandardForm | None:
    """The form for gates i, o, f and a candidate, if each is an activation of one gate, and all are there."""
    old, new = names[cell.states[1]], cell.graph.states[1]
    roles: list[str] = []
    peepholes: list[str | None] = []
    F: Activation | None = None
    for gate, seen in zip(sigmoids, (old, new, old), strict=True):
        found = _gate_of(cell, names, gate, seen)
        if found is None or F not in (None, found[0]):
            return None
        F = found[0]
        roles.append(found[1])
        peepholes.append(found[2])
    for name in cell.gates:
        G = activation_of(candidate, names[name])
        if G is not None and F is not None and {*roles, name} == {*cell.gates} and len(cell.gates) == 4:
            if {*peepholes} - {None} != {*cell.vectors}:
                return None
            return StandardForm("LSTM", (*roles, name), (F, G, H), tuple(peepholes) if cell.vectors else ())
    return None


def _gate_of(
    cell: Cell, names: dict[str, Value], value: Value, seen: Value
) -> tuple[Activation, str, str | None] | None:  # fmt: skip
    """The activation, gate and peephole of ``F(gate + p * seen)`` or ``F(gate)``."""
    for name in cell.gates:
        gate = names[name]
        arguments: list[tuple[Value, str | None]] = [(gate, None)]
        for vector in cell.vectors:
            p = names[vector]
            for product in (mul(p, seen), mul(seen, p)):
                arguments += [(add(gate, product), vector), (add(product, gate), vector)]
        for argument, seen_by in arguments:
            F = activation_of(value, argument)
            if F is not None:
                return F, name, seen_by
    return None


def _gru(cell: Cell, names: dict[str, Value]) -> StandardForm | None:
    """``h' = (1 - F(z)) n + F(z) h`` with ``n = G(n_x + F(r) n_h)``, or R seeing ``F(r) h`` in n."""
    if len(cell.states) != 1 or len(cell.gates) != 3 or cell.vectors:
        return None
    own = [*cell.split, *cell.called]
    if len(own) != 1:
        return None
    h, [new] = names[cell.states[0]], cell.graph.states
    others = [name for name in cell.gates if name not in own]
    for z_name, r_name in (others, others[::-1]):
        for kept, written in _terms(new):
            for z_gate, memory in _factors(kept):
                F = activation_of(z_gate, names[z_name])
                if memory is not h or F is None:
                    continue
                for one_less, candidate in _factors(written):
                    if one_less is not sub(ONE, z_gate):
                        continue
                    G = _candidate_of_gru(cell, names, own[0], r_name, F, candidate)
                    if G is not None:
                        linear = int(bool(cell.split))
                        return StandardForm(
                            "GRU", (z_name, r_name, own[0]), (F, G), (), (("linear_before_reset", linear),)
                        )
    return None


def _candidate_of_gru(
    cell: Cell, names: dict[str, Value], n: str, r: str, F: Activation, candidate: Value
) -> Activation | None:  # fmt: skip
    h, reset = names[cell.states[0]], names[r]
    if cell.called:
        operand = next(iter(cell.graph.operands), None)
        resets = operand is not None and any(
            second is h and activation_of(gate, reset) == F for gate, second in _factors(operand)
        )
        return activation_of(candidate, names[n]) if resets else None
    from_x, from_h = names[f"{n}_x"], names[f"{n}_h"]
    for argument in topological([candidate]):
        for first, product in _terms(argument):
            if first is from_x:
                for gate, second in _factors(product):
                    if second is from_h and activation_of(gate, reset) == F:
                        return activation_of(candidate, argument)
    return None


def _rnn(cell: Cell, names: dict[str, Value]) -> StandardForm | None:
    """``h' = F(a)``."""
    if len(cell.states) != 1 or len(cell.gates) != 1 or cell.split or cell.called or cell.vectors:
        return None
    F = activation_of(cell.graph.states[0], names[cell.gates[0]])
    return None if F is None else StandardForm("RNN", cell.gates, (F,))


def _terms(value: Value) -> Iterator[tuple[Value, Value]]:
    yield from _both_ways("add", value)


def _factors(value: Value) -> Iterator[tuple[Value, Value]]:
    yield from _both_ways("mul", value)


def _both_ways(op: str, value: Value) -> Iterator[tuple[Value, Value]]:
    if value.op == op:
        a, b = value.args
        yield a, b
        yield b, a


def activation_of(value: Value, x: Value) -> Activation | None:
    """The activation f with ``value = f(x)``; None if ONNX's recurrent operators have none."""
    if value is x:
        return Activation("Affine", 1.0, 0.0)
    for name, (function, parameters) in ACTIVATIONS.items():
        if not parameters and function(x) is value:
            return Activation(name)
    nodes = topological([value], leaves={x})
    if x not in set(nodes):  # by identity: == is for equations
        return None
    numbers = [1.0, *(node.args[0] for node in nodes if node.op == "constant")]
    for name, (function, parameters) in ACTIVATIONS.items():
        for alpha in numbers if parameters == 1 else ():
            if function(x, alpha) is value:
                return Activation(name, alpha)
    if value.op == "clip" and value.args[1] is ZERO and value.args[2] is ONE:
        line = _line(value.args[0], x)
        return None if line is None else Activation("HardSigmoid", *line)
    for node in nodes:
        if node.op == "tanh":
            outside, inside = _line(value, node), _line(node.args[0], x)
            if outside is not None and inside is not None and outside[1] == inside[1] == 0:
                return Activation("ScaledTanh", outside[0], inside[0])
    line = _line(value, x)
    return None if line is None else Activation("Affine", *line)


def _line(value: Value, x: Value) -> tuple[float, float] | None:
    """The numbers a and b with ``value = a x + b``; None if there are none."""
    if value is x:
        return 1.0, 0.0
    if value.op == "constant":
        return 0.0, value.args[0]
    lines = [_line(operand, x) for operand in value.operands]
    if value.op not in ("add", "sub", "mul", "div", "neg") or None in lines:
        return None
    a, b = lines[0] or (0.0, 0.0)
    c, d = (lines[1:] or [None])[0] or (0.0, 0.0)
    if value.op in ("add", "sub"):
        sign = 1 if value.op == "add" else -1
        return a + sign * c, b + sign * d
    if value.op == "neg":
        return -a, -b
    if value.op == "div":
        return (a / d, b / d) if c == 0 else None
    if a and c:
        return None
    return (a * d, b * d) if c == 0 else (b * c, b * d)

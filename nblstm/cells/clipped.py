"""Clipped states and pre-activations, as a transformation of a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from numbers import Real
from typing import Any

from nblstm.cells.cell import Cell, cell
from nblstm.cells.recurrent_dropout import is_dropped, recurrent_dropout, undropped
from nblstm.cells.replay import ARITHMETIC, FUNCTIONS, OPERATIONS, Replay
from nblstm.cells.transformed import as_declared, with_signature
from nblstm.symbolic import functions
from nblstm.symbolic.graph import Value, topological
from nblstm.symbolic.unsupported import CellError


def clipped(base: Cell, states: Any = None, preactivation: float | None = None) -> Cell:
    """The same cell, whose new states, or pre-activations, stay within limits.

    With ``states={"c": 3.0}``, an LSTM is (TensorFlow's ``cell_clip``, cuDNN's clip; Sak, Senior & Beaufays 2014)::

        c_t = clip(f * c_{t-1} + i * g, -3, 3)
        h_t = o * tanh(c_t)

    so what else is computed from a new state gets the clipped one. With ``preactivation=5.0`` (ONNX's ``clip``)::

        i = sigmoid(clip(W x + R h + b, -5, 5))

    and likewise each input of an activation that a gate reaches through sums and products, as ``i + p * c`` with
    peepholes, ``n_x + r * n_h`` of a GRU; numbers that are added or multiplied belong to the activation. Gradients are
    those of clip: 0 beyond the limits.

    Parameters
    ----------
    base : Cell
    states : float or dict of str to float, optional
        Limits above 0, one for all states or by state.
    preactivation : float, optional
        Above 0.

    Raises
    ------
    CellError
        If ``base`` is no cell, a limit is not above 0, there is no such state, or a gate reaches no activation.

    Examples
    --------
    >>> from nblstm import cells, nn
    >>> network = nn.Recurrent(cells.clipped(cells.lstm, {"c": 3.0}, preactivation=10.0), 3, 8)
    """
    if not isinstance(base, Cell):
        raise CellError(f"clipped got {base!r}; give a cell made by nblstm.cell, or one of nblstm.cells")
    base.check()  # an error in its equations is its own
    if is_dropped(base):  # the states that have limits are the whole ones
        return recurrent_dropout(clipped(undropped(base), states, preactivation))
    if isinstance(states, Mapping):
        for name in states:
            if name not in base.states:
                raise CellError(
                    f"clipped has a limit of {name!r}, and {base.name!r} has states {' '.join(base.states)}"
                )
    else:
        states = {} if states is None else dict.fromkeys(base.states, states)
    if not states and preactivation is None:
        raise CellError("clipped has no limits; give states=, such as {'c': 3.0}, or preactivation=")
    for what, limit in (*states.items(), *(() if preactivation is None else (("preactivation", preactivation),))):
        if not isinstance(limit, Real) or isinstance(limit, bool) or not 0 < float(limit) < math.inf:
            raise CellError(f"clipped has the limit {limit!r} of {what!r}; give a finite number above 0")
    limits = tuple((name, float(states[name])) for name in base.states if name in states)
    return _clipped(base, limits, None if preactivation is None else float(preactivation))


@cache
def _clipped(base: Cell, limits: tuple[tuple[str, float], ...], preactivation: float | None) -> Cell:
    of_state = dict(limits)
    apart = {*base.states, *base.given, *base.vectors, *base.scalars, *base.projection}  # no activation sees the last
    gates = frozenset(name for name in base.arguments if name not in apart)
    if preactivation is not None:
        _check_activations(base, gates)

    def equations(*scalars):
        return tuple(
            _Run(base, dict(zip(base.arguments, scalars, strict=True)), of_state, preactivation, gates).states()
        )

    with_signature(equations, f"{base.name}_clipped", base.__doc__, base.arguments)
    return cell(**as_declared(base))(equations)


def _reaches(node: Value, gates: frozenset[str]) -> set[str]:
    """The gates that a value depends on through arithmetic alone."""
    leaves = {own for own in topological([node]) if own.op in FUNCTIONS}
    return {own.args[0] for own in topological([node], leaves=leaves) if own.op == "input"} & gates


def _is_constant(node: Value) -> bool:
    return node.op == "constant"


def _activation_of(node: Value) -> Value:
    """The value that arithmetic with constants makes this one of."""
    while node.op in ARITHMETIC and (node.op == "neg" or any(map(_is_constant, node.args))):
        node = next(own for own in node.args if not _is_constant(own))
    return node


def _check_activations(base: Cell, gates: frozenset[str]) -> None:
    graph = base.graph
    nodes = topological([*graph.states, *(link.operand for link in graph.links)])
    found = {name for node in nodes if node.op in FUNCTIONS for own in node.operands for name in _reaches(own, gates)}
    for name in base.arguments:
        if name in gates - found:
            raise CellError(
                f"clipped bounds what activations get, and the gate {name!r} of {base.name!r} goes through none; write "
                "nblstm.clip in its equations"
            )


class _Run(Replay):
    """The equations of a cell once more, with what is to be clipped."""

    def __init__(self, base: Cell, given: dict[str, Any], limits, preactivation: float | None, gates: frozenset[str]):
        super().__init__(base, given)
        self._limits, self._preactivation, self._gates = limits, preactivation, gates
        new = dict(zip(base.states, base.graph.states, strict=True))
        # An old state stays as it is, but where it is a new one.
        self._at = {new[name]: limit for name, limit in limits.items() if new[name].operands}

    def states(self) -> list[Any]:
        """The new states."""
        states, nodes = self.base.states, self.base.graph.states
        return [
            _clip(value, self._limits[name]) if name in self._limits and node not in self._at else value
            for name, node, value in zip(states, nodes, super().states(), strict=True)
        ]

    def computed(self, node: Value) -> Any:
        """A value from those of its operands."""
        value = super().computed(node)
        return _clip(value, self._at[node]) if node in self._at else value

    def operand(self, function: Value, node: Value) -> Any:
        """An operand of an operation: that of a function is clipped where gates reach it."""
        bounded = self._preactivation is not None and function.op in FUNCTIONS
        return self._bounded(node) if bounded else self.values[node]

    def _bounded(self, node: Value) -> Any:
        if not _reaches(node, self._gates):
            return self.values[node]
        inner = _activation_of(node)
        if node is inner:
            return _clip(self.values[node], self._preactivation)
        [changed] = [own for own in node.args if not _is_constant(own)]
        return OPERATIONS[node.op](
            *[self._bounded(own) if own is changed else own.args[0] for own in node.args]
        )  # fmt: skip


def _clip(value: Any, limit: Any) -> Any:
    return functions.clip(value, -limit, limit)

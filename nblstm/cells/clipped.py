"""Clipped states and pre-activations, as a transformation of a cell."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Mapping
from functools import cache, partial
from numbers import Real
from typing import Any

from nblstm.cells.cell import Cell, cell
from nblstm.symbolic import functions
from nblstm.symbolic.graph import COMPARISONS, NUMERIC, Value, topological
from nblstm.symbolic.recorder import recorder
from nblstm.symbolic.unsupported import CellError

#: Operations of a graph on traced values and on numbers alike.
_ARITHMETIC = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
               "neg": operator.neg}  # fmt: skip
_FUNCTIONS: dict[str, Any] = {
    **{name: partial(functions.primitive, name) for name in NUMERIC},
    **{name: partial(functions.choice, name) for name in ("minimum", "maximum", "clip")},
    **{name: getattr(operator, name) for name in COMPARISONS}, "where": functions.where,
}  # fmt: skip
_OPERATIONS = _ARITHMETIC | _FUNCTIONS

_KINDS = "gates", "states", "split", "called", "input_only", "recurrent_only", "vectors", "scalars", "signals"


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
    apart = {*base.states, *base.given, *base.vectors, *base.scalars}
    gates = frozenset(name for name in base.arguments if name not in apart)
    if preactivation is not None:
        _check_activations(base, gates)

    def equations(*scalars):
        return tuple(
            _Run(base, dict(zip(base.arguments, scalars, strict=True)), of_state, preactivation, gates).states()
        )

    equations.__name__, equations.__doc__ = f"{base.name}_clipped", base.__doc__
    equations.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in base.arguments]
    )
    declared: dict[str, Any] = {kind: " ".join(getattr(base, kind)) for kind in _KINDS}
    return cell(
        **declared, output=base.output, initial=dict(zip(base.states, base.initial, strict=True)), matrix=base.matrix
    )(equations)


def _reaches(node: Value, gates: frozenset[str]) -> set[str]:
    """The gates that a value depends on through arithmetic alone."""
    leaves = {own for own in topological([node]) if own.op in _FUNCTIONS}
    return {own.args[0] for own in topological([node], leaves=leaves) if own.op == "input"} & gates


def _is_constant(node: Value) -> bool:
    return node.op == "constant"


def _activation_of(node: Value) -> Value:
    """The value that arithmetic with constants makes this one of."""
    while node.op in _ARITHMETIC and (node.op == "neg" or any(map(_is_constant, node.args))):
        node = next(own for own in node.args if not _is_constant(own))
    return node


def _check_activations(base: Cell, gates: frozenset[str]) -> None:
    graph = base.graph
    nodes = topological([*graph.states, *(link.operand for link in graph.links)])
    found = {name for node in nodes if node.op in _FUNCTIONS for own in node.operands for name in _reaches(own, gates)}
    for name in base.arguments:
        if name in gates - found:
            raise CellError(
                f"clipped bounds what activations get, and the gate {name!r} of {base.name!r} goes through none; write "
                "nblstm.clip in its equations"
            )


class _Run:
    """The equations of a cell once more, from their graph, on traced values or numbers, with what is to be clipped."""

    def __init__(self, base: Cell, given: dict[str, Any], limits, preactivation: float | None, gates: frozenset[str]):
        self._base, self._given, self._limits = base, given, limits
        self._preactivation, self._gates = preactivation, gates
        self._values: dict[Value, Any] = {}

    def states(self) -> list[Any]:
        """The new states."""
        base, graph = self._base, self._base.graph
        at = {node: limit for name, limit in self._limits.items() for node in [graph.states[base.states.index(name)]]}
        self._at = {node: limit for node, limit in at.items() if node.operands}  # an old state stays as it is
        for node in graph.inputs:
            if node.args[0] not in base.functions:
                self._values[node] = self._given[node.args[0]]
        for own in graph.noise:
            self._values[Value("input", own.name)] = recorder("noise").random(own.kind, own.p, own.per)
        self._links = {name: link for link in graph.links for name in link.targets}
        found = []
        for name, node in zip(base.states, graph.states, strict=True):
            value = self._value(node)
            found.append(_clip(value, self._limits[name]) if name in self._limits and node not in self._at else value)
        return found

    def _value(self, wanted: Value) -> Any:
        for node in topological([wanted], leaves=self._values):
            if node in self._values:
                continue
            value = (
                node.args[0] if node.op == "constant" else self._applied(node) if node.operands else self._link(node)
            )
            self._values[node] = _clip(value, self._at[node]) if node in self._at else value
        return self._values[wanted]

    def _link(self, leaf: Value) -> Any:
        """The value of a called gate, or of a function of all units."""
        link = self._links[leaf.args[0]]
        operand = self._value(link.operand)
        if link.kind == "product":
            return self._given[leaf.args[0]](operand)
        return recorder(link.kind).over(link.kind, operand)

    def _applied(self, node: Value) -> Any:
        bounded = self._preactivation is not None and node.op in _FUNCTIONS
        return _OPERATIONS[node.op](*[self._bounded(own) if bounded else self._values[own] for own in node.args])

    def _bounded(self, node: Value) -> Any:
        """The operand of a function: clipped where gates reach it."""
        if not _reaches(node, self._gates):
            return self._values[node]
        inner = _activation_of(node)
        if node is inner:
            return _clip(self._values[node], self._preactivation)
        [changed] = [own for own in node.args if not _is_constant(own)]
        return _OPERATIONS[node.op](
            *[self._bounded(own) if own is changed else own.args[0] for own in node.args]
        )  # fmt: skip


def _clip(value: Any, limit: Any) -> Any:
    return functions.clip(value, -limit, limit)

"""A cell with its tangent, as a transformation of a cell: the forward mode of differentiation.

With a' for the derivative in a direction, of weights, input and everything else, a gate a = W x + R h + b has

    a'  =  W' x + W x'  +  R' h + R h'  +  b'

so it becomes three gates of a network with inputs ``[x, x']``: ``a`` itself, ``a_tangent`` with weights ``[W', W]``,
``R'`` and ``b'``, and ``a_moved``, a product of R with h' alone. The equations follow by the chain rule from the graph
of the cell. As the result is a cell, BPTT through it is the second derivative.

References
----------
A. Griewank and A. Walther, *Evaluating Derivatives*, 2nd ed., 2008: chapters 3 and 5 (second-order adjoints).
"""

from __future__ import annotations

from functools import cache

from nblstm.cells.cell import Cell, cell
from nblstm.cells.transformed import with_signature
from nblstm.symbolic.differentiate import RULES
from nblstm.symbolic.graph import COMPARISONS, ONE, ZERO, Value, topological
from nblstm.symbolic.recorder import recorder
from nblstm.symbolic.simplify import rebuilt
from nblstm.symbolic.unsupported import CellError

#: Endings of names: of the tangent of a value, and of the product of R with the tangent of an operand.
TANGENT, MOVED = "_tangent", "_moved"


@cache
def dual(base: Cell) -> Cell:
    """The cell with states ``h c h_tangent c_tangent``, and gates as this module's docstring says.

    Of a split gate both halves become three, of which those of x are two. ``x`` itself becomes a signal.

    Raises
    ------
    CellError
        If the equations draw noise.
    """
    if base.graph.noise:
        raise CellError(f"the cell {base.name!r} draws noise, which has no derivative; take cell.without_noise")
    gates = [
        own for g in base.gates for own in (g, g + TANGENT, g + MOVED) if own != g + MOVED or g in base.recurrent_gates
    ]
    moved = tuple(g + MOVED for g in base.recurrent_gates)
    tangents = lambda names: tuple(name + end for end in ("", TANGENT) for name in names)  # noqa: E731
    split = tuple(own for g in base.split for own in (g, g + TANGENT))
    called = (*(own for g in base.called for own in (g, g + TANGENT)), *moved)
    given, learned = tangents(base.given), (tangents(base.vectors), tangents(base.scalars))
    states = tangents(base.states)
    names = [part for g in gates for part in ([f"{g}_x", f"{g}_h"] if g in split else [g])]
    # The kernels' x is [x, x']; the equations' is the user's.
    inner = {"x": "own_x", "x" + TANGENT: "own_x" + TANGENT}
    signals = tuple(inner.get(name, name) for name in given)
    arguments = (*names, *states, *signals, *learned[0], *learned[1])

    def equations(*scalars):
        values = dict(zip(arguments, scalars, strict=True))
        return _TangentStep(base, values).states()

    with_signature(equations, f"{base.name}_dual", base.__doc__, arguments)
    return cell(
        gates=" ".join(gates), states=" ".join(states), split=" ".join(split), called=" ".join(called),
        input_only=" ".join(own for g in base.input_only for own in (g, g + TANGENT)),
        recurrent_only=" ".join((*(own for g in base.recurrent_only for own in (g, g + TANGENT)), *moved)),
        vectors=" ".join(learned[0]), scalars=" ".join(learned[1]), signals=" ".join(signals), output=base.output,
        initial=dict(zip(base.states, base.initial, strict=True)),
    )(equations)  # fmt: skip


class _TangentStep:
    """One step of a cell with tangents: its graph evaluated on the arguments of the dual cell.

    Parameters
    ----------
    base : Cell
    arguments : dict of str to Value or callable
    """

    def __init__(self, base: Cell, arguments: dict):
        self._base, self._arguments = base, arguments
        first = base.states[0]
        self._values: dict[Value, Value] = {}
        self._tangents: dict[Value, Value] = {}
        gates = {**{g: g for g in base.gates}, **{f"{g}_h": g for g in base.split}}
        for name in base.arguments:
            if name in base.functions:
                continue  # with its link
            node, end = Value("input", name), TANGENT
            self._values[node] = arguments["own_x" if name == "x" else name]
            half = name[-2:] if name[:-2] in base.split and name[-2:] in ("_x", "_h") else ""  # not of a vector r_z
            tangent = f"{name.removesuffix(half)}{end}{half}" if half else ("own_x" if name == "x" else name) + end
            self._tangents[node] = arguments[tangent]
            gate = gates.get(name)
            if gate in base.recurrent_gates and half != "_x":  # R h'
                self._tangents[node] = self._tangents[node] + arguments[gate + MOVED](arguments[first + TANGENT])
        self._links()

    def states(self) -> tuple[Value, ...]:
        """The new states, then their tangents."""
        new = self._base.graph.states
        return (*map(self._value, new), *map(self._tangent, new))

    def _links(self) -> None:
        """Set the results of products and sums, in an order in which their operands are known."""
        base = self._base
        waiting = [link for link in base.graph.links if link.kind != "product" or {*link.targets} & {*base.functions}]
        while waiting:
            unknown = {Value("input", target) for link in waiting for target in link.targets} - {*self._values}
            link = next(own for own in waiting if unknown.isdisjoint(topological([own.operand])))
            waiting = [own for own in waiting if own is not link]
            value, tangent = self._value(link.operand), self._tangent(link.operand)
            for target in link.targets:
                node = Value("input", target)
                if link.kind != "product":
                    over = recorder(link.kind).over
                    self._values[node] = over(link.kind, value)
                    self._tangents[node] = ZERO if link.kind == "maximum" else over(link.kind, tangent)
                elif target in base.functions:
                    gate, half = (target[:-2], "_h") if target not in base.gates else (target, "")
                    self._values[node] = self._arguments[target](value)
                    moved = self._arguments[gate + MOVED](tangent)
                    self._tangents[node] = self._arguments[gate + TANGENT + half](value) + moved

    def _value(self, node: Value) -> Value:
        return rebuilt(node, self._values)

    def _tangent(self, node: Value) -> Value:
        """The chain rule: the sum over operands of partial derivative times tangent."""
        for own in topological([node], leaves=self._tangents):
            if own in self._tangents:
                continue
            total = ZERO
            if own.op not in COMPARISONS and own.operands:
                for operand, partial in zip(own.args, RULES[own.op](ONE, own, *own.args), strict=True):
                    if partial is not None and self._tangents.get(operand, ZERO) is not ZERO:
                        total = total + self._value(partial) * self._tangents[operand]
            self._tangents[own] = total
        return self._tangents[node]

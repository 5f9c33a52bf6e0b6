"""A projection of the first state, as a transformation of a cell."""

from __future__ import annotations

from functools import cache
from typing import Any

from nblstm.cells.cell import PROJECTION, Cell, cell
from nblstm.cells.recurrent_dropout import is_dropped
from nblstm.cells.replay import OPERATIONS, Replay
from nblstm.cells.transformed import argument_names, as_declared, with_signature
from nblstm.symbolic.graph import Value, topological
from nblstm.symbolic.unsupported import CellError

#: Operations that are linear in operands, by which of these may depend on the first state; of a product one alone.
LINEAR = {"add": (0, 1), "sub": (0, 1), "neg": (0,), "mul": (0, 1), "div": (0,), "where": (1, 2)}


@cache
def projected(base: Cell) -> Cell:
    """The same cell, whose first state is projected before it recurs and leaves (Sak, Senior & Beaufays 2014: LSTMP).

    ::

        a_t = W x_t + R p_{t-1} + b
        s_t = base(a_t, s_{t-1})
        p_t = W_hr h_t

    The projection p (B, P) is the first state and the output. Where the equations use ``h_{t-1}`` itself, it stays a
    state beside. The recurrent weights see all through the same projection: a gate that is called has

    - ``R (mask * p_{t-1} + e)`` for ``mask * h_{t-1} + e``, the first state with noise;
    - ``R W_hr v`` for any other operand v.

    It is what `nn.Recurrent` makes of a cell for ``proj_size``; elsewhere its further gates, ``projection`` and for
    such operands v ``projection_1`` and so on, have weights (H, H) of their own.

    Raises
    ------
    CellError
        If the output is not the first state, the recurrent weights are made by a square matrix, a name is taken, or
        there is a projection or recurrent dropout already.
    """
    if is_dropped(base):
        inner = base.name.removesuffix("_recurrent_dropout")
        raise CellError(
            f"a projection is made before the mask of {base.name!r}, which is for what recurs; give "
            f"cells.recurrent_dropout(cells.projected({inner})), or {inner} with the network's proj_size= and "
            "recurrent_dropout="
        )
    first = base.states[0]
    if base.output != first:
        raise CellError(
            f"proj_size projects the first state, and {base.name!r} has the output {base.output!r}; make that the first"
        )
    if base.matrix is not None and base.matrix.square:
        raise CellError(
            f"proj_size makes recurrent weights of P columns, and {base.matrix!r} of {base.name!r} makes square ones, "
            "(H, H); leave one out"
        )
    if base.projection:
        raise CellError(f"{base.name!r} has a projection already; leave one out")
    links = [link for link in base.graph.links if link.kind == "product" and {*link.targets} & {*base.functions}]
    others = [link.operand for link in links if not _is_with_noise(base, link.operand)]
    through = {operand: f"{PROJECTION}_{k}" for k, operand in enumerate(others, 1)}
    used = _uses(base, others)
    name = f"projected_{first}" if used else first
    gates = (PROJECTION, *through.values())
    taken = min({*gates, f"projected_{first}"} & {*base.arguments}, default=None)
    if taken is not None:
        raise CellError(f"proj_size adds the name {taken!r}, but {base.name!r} uses that name; choose another")
    states = (name, *base.states) if used else base.states
    arguments = (*argument_names(base), *gates, *states, *base.given, *base.vectors, *base.scalars)

    def equations(*scalars):
        given = dict(zip(arguments, scalars, strict=True))
        if base.functions:
            projections = {operand: given[gate] for operand, gate in through.items()}
            whole, *rest = _OfProjection(base, given, given[name], projections).states()
        else:
            new = base(*(given[own] for own in base.arguments))
            whole, *rest = new if isinstance(new, tuple | list) else (new,)
        return given[PROJECTION](whole), *((whole, *rest) if used else rest)

    with_signature(equations, f"{base.name}_projected", base.__doc__, arguments)
    changed = {kind: (*getattr(base, kind), *gates) for kind in ("gates", "called", "recurrent_only")}
    changed |= {"states": states, "output": states[:1]}
    declared = as_declared(base) | {kind: " ".join(names) for kind, names in changed.items()}
    declared["initial"] = dict(zip(states, base.initial[:1] * used + base.initial, strict=True))
    return cell(**declared)(equations)


class _OfProjection(Replay):
    """The equations once more, with the projection in what recurrent weights multiply.

    Parameters
    ----------
    base, given
        As of `Replay`.
    projection : Any
        For the first state, in operands that are it with noise.
    projections : dict of Value to callable
        For each other operand of called gates, its projection.
    """

    def __init__(self, base: Cell, given: dict[str, Any], projection: Any, projections: dict[Value, Any]):
        super().__init__(base, given)
        self._projections, self._projected = projections, dict[Value, Any]()
        self._seen = {**self.values, Value("input", base.states[0]): projection}

    def multiplied(self, operand: Value) -> Any:
        """The operand of a called gate's product."""
        if operand in self._projections:
            if operand not in self._projected:
                self._projected[operand] = self._projections[operand](self.value(operand))
            return self._projected[operand]
        seen = self._seen
        for node in topological([operand], leaves=seen):
            if node not in seen:
                found = [seen[own] for own in node.operands]
                seen[node] = OPERATIONS[node.op](*found) if found else node.args[0]
        return seen[operand]


def _is_with_noise(base: Cell, operand: Value) -> bool:
    """Say if an operand is the first state, or a linear function of it whose coefficients are noise and constants."""
    first, noise = Value("input", base.states[0]), {Value("input", own.name) for own in base.graph.noise}
    nodes, depending = topological([operand]), {first}
    for node in nodes:
        places = [k for k, own in enumerate(node.operands) if own in depending]
        if not places:
            continue
        if not {*places} <= {*LINEAR.get(node.op, ())} or (node.op == "mul" and len(places) > 1):
            return False
        depending.add(node)
    return operand in depending and {node for node in nodes if node.op == "input"} <= {first, *noise}


def _uses(base: Cell, others: list[Value]) -> bool:
    """Say if the equations use the first state beside the recurrent products, or within such operands."""
    graph = base.graph
    values = [*graph.states, *(link.operand for link in graph.links if link.kind != "product"), *others]
    return Value("input", base.states[0]) in {*topological(values)}

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


@cache
def projected(base: Cell) -> Cell:
    """The same cell, whose first state is projected before it recurs and leaves (Sak, Senior & Beaufays 2014: LSTMP).

    ::

        a_t = W x_t + R p_{t-1} + b
        s_t = base(a_t, s_{t-1})
        p_t = W_hr h_t

    The projection p (B, P) is the first state and the output. Where the equations use ``h_{t-1}`` itself, it stays a
    state beside. It is what `nn.Recurrent` makes of a cell for ``proj_size``.

    Raises
    ------
    CellError
        If the output is not the first state, a gate is called with anything but that state and noise, or a name is
        taken.
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
    if base.matrix is not None:
        raise CellError(f"proj_size is for recurrent weights without matrix=, which {base.name!r} has; leave one out")
    if base.projection:
        raise CellError(f"{base.name!r} has a projection already; leave one out")
    old, apart = Value("input", first), {Value("input", noise.name) for noise in base.graph.noise}
    called = [link for link in base.graph.links if link.kind == "product" and link.name]
    for link in called:
        read = {node for node in topological([link.operand]) if node.op == "input"}
        if old not in read or read - {old} - apart:
            raise CellError(
                f"proj_size has the recurrent weights multiply the projection, alone or with noise, and {base.name!r} "
                f"calls {link.targets[0]!r} with something else, of H features; leave it out"
            )
    used = _uses(base, first)
    name = f"projected_{first}" if used else first
    if {PROJECTION, f"projected_{first}"} & {*base.arguments}:
        raise CellError(f"proj_size adds the gate {PROJECTION!r}, but {base.name!r} uses that name; choose another")
    states = (name, *base.states) if used else base.states
    arguments = (*argument_names(base), PROJECTION, *states, *base.given, *base.vectors, *base.scalars)

    def equations(*scalars):
        given = dict(zip(arguments, scalars, strict=True))
        if called:
            whole, *others = _OfProjection(base, given, given[name]).states()
        else:
            new = base(*(given[own] for own in base.arguments))
            whole, *others = new if isinstance(new, tuple | list) else (new,)
        return given[PROJECTION](whole), *((whole, *others) if used else others)

    with_signature(equations, f"{base.name}_projected", base.__doc__, arguments)
    changed = {
        "gates": (*base.gates, PROJECTION), "called": (*base.called, PROJECTION),
        "recurrent_only": (*base.recurrent_only, PROJECTION), "states": states, "output": states[:1],
    }  # fmt: skip
    declared = as_declared(base) | {kind: " ".join(names) for kind, names in changed.items()}
    declared["initial"] = dict(zip(states, base.initial[:1] * used + base.initial, strict=True))
    return cell(**declared)(equations)


class _OfProjection(Replay):
    """The equations once more, with the projection for the first state in what recurrent weights multiply."""

    def __init__(self, base: Cell, given: dict[str, Any], projection: Any):
        super().__init__(base, given)
        self._seen = {**self.values, Value("input", base.states[0]): projection}

    def multiplied(self, operand: Value) -> Any:
        """The operand of a called gate's product."""
        seen = self._seen
        for node in topological([operand], leaves=seen):
            if node not in seen:
                found = [seen[own] for own in node.operands]
                seen[node] = OPERATIONS[node.op](*found) if found else node.args[0]
        return seen[operand]


def _uses(base: Cell, state: str) -> bool:
    """Say if the equations use a state beside the recurrent products."""
    graph = base.graph
    values = [*graph.states, *(link.operand for link in graph.links if link.kind != "product")]
    return Value("input", state) in {*topological(values)}

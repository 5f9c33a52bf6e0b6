"""A projection of the first state, as a transformation of a cell."""

from __future__ import annotations

from functools import cache
from typing import Any

from nblstm.cells.cell import Cell, cell
from nblstm.cells.transformed import argument_names, with_signature
from nblstm.symbolic.graph import Value, topological
from nblstm.symbolic.unsupported import CellError

#: The gate whose weights are ``weight_hr``; the last.
GATE = "projection"


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
        If the output is not the first state, a gate is called with anything but that state, or a name is taken.
    """
    first = base.states[0]
    if base.output != first:
        raise CellError(
            f"proj_size projects the first state, and {base.name!r} has the output {base.output!r}; make that the first"
        )
    if base.matrix is not None:
        raise CellError(f"proj_size is for recurrent weights without matrix=, which {base.name!r} has; leave one out")
    called = [name for link in base.graph.links if link.kind == "product" and link.name for name in link.targets]
    if called:
        raise CellError(
            f"proj_size has the recurrent weights multiply the projection alone, and {base.name!r} calls {called[0]!r} "
            "with something else, of H features; leave it out"
        )
    used = _uses(base, first)
    name = f"projected_{first}" if used else first
    if {GATE, f"projected_{first}"} & {*base.arguments}:
        raise CellError(f"proj_size adds the gate {GATE!r}, but {base.name!r} uses that name; choose another")
    states = (name, *base.states) if used else base.states
    arguments = (*argument_names(base), GATE, *states, *base.given, *base.vectors, *base.scalars)

    def equations(*scalars):
        given = dict(zip(arguments, scalars, strict=True))
        new = base(*(given[own] for own in base.arguments))
        whole, *others = new if isinstance(new, tuple | list) else (new,)
        return given[GATE](whole), *((whole, *others) if used else others)

    with_signature(equations, f"{base.name}_projected", base.__doc__, arguments)
    declared: dict[str, Any] = {
        kind: " ".join(getattr(base, kind)) for kind in ("split", "input_only", "vectors", "scalars", "signals")
    }
    return cell(
        gates=" ".join((*base.gates, GATE)), states=" ".join(states), called=" ".join((*base.called, GATE)),
        recurrent_only=" ".join((*base.recurrent_only, GATE)), **declared,
        initial=dict(zip(states, base.initial[:1] * used + base.initial, strict=True)),
    )(equations)  # fmt: skip


def _uses(base: Cell, state: str) -> bool:
    """Say if the equations use a state beside the recurrent product."""
    graph = base.graph
    values = [*graph.states, *(link.operand for link in graph.links if link.name)]
    return Value("input", state) in {*topological(values)}

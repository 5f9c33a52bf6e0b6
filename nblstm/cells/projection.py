"""A projection of the first state, as a transformation of a cell."""

from __future__ import annotations

from functools import cache
from typing import Any

from nblstm.cells.cell import Cell, cell
from nblstm.cells.transformed import argument_names, with_signature
from nblstm.symbolic.graph import Value, topological
from nblstm.symbolic.unsupported import CellError

#: The gate whose weights are ``weight_hr``. Behind it come those for operands of called gates, with the same weights.
GATE = "projection"


def projections(cell: Cell) -> tuple[str, ...]:
    """The gates with the weights ``weight_hr`` of a cell of `projected`, its last."""
    return cell.gates[cell.gates.index(GATE) :]


@cache
def projected(base: Cell) -> Cell:
    """The same cell, whose first state is projected before it recurs and leaves (Sak, Senior & Beaufays 2014: LSTMP).

    ::

        a_t = W x_t + R p_{t-1} + b
        s_t = base(a_t, s_{t-1})
        p_t = W_hr h_t

    The projection p (B, P) is the first state and the output. Where the equations use ``h_{t-1}`` itself, it stays a
    state beside. A gate that they call with another operand v has ``R W_hr v``: the recurrent weights see all through
    the same projection. It is what `nn.Recurrent` makes of a cell for ``proj_size``; elsewhere its further gates,
    ``projection`` and for such operands ``projection_1`` and so on, have weights (H, H) of their own.

    Raises
    ------
    CellError
        If the output is not the first state, the recurrent weights are made by a square matrix, or a name is taken.
    """
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
    # For each gate that is called the operand's name; that of the first state is "".
    links = [link for link in base.graph.links if link.kind == "product"]
    operands = {name: link.name for link in links for name in link.targets if name in base.functions}
    others = list(dict.fromkeys(filter(None, operands.values())))
    added = {"": GATE} | {operand: f"{GATE}_{k}" for k, operand in enumerate(others, 1)}
    used = _uses(base, first)
    name = f"projected_{first}" if used else first
    taken = min({*added.values(), f"projected_{first}"} & {*base.arguments}, default=None)
    if taken is not None:
        raise CellError(f"proj_size adds the name {taken!r}, but {base.name!r} uses that name; choose another")
    states = (name, *base.states) if used else base.states
    gates = tuple(added.values())
    arguments = (*argument_names(base), *gates, *states, *base.given, *base.vectors, *base.scalars)

    def equations(*scalars):
        given = dict(zip(arguments, scalars, strict=True))
        seen = {"": given[name]}  # what the recurrent weights see of each operand

        def through(gate, operand):
            def product(v):
                if operand not in seen:
                    seen[operand] = given[added[operand]](v)
                return gate(seen[operand])

            return product

        whole = given | {gate: through(given[gate], operand) for gate, operand in operands.items()}
        new = base(*(whole[own] for own in base.arguments))
        new, *rest = new if isinstance(new, tuple | list) else (new,)
        return given[GATE](new), *((new, *rest) if used else rest)

    with_signature(equations, f"{base.name}_projected", base.__doc__, arguments)
    declared: dict[str, Any] = {
        kind: " ".join(getattr(base, kind)) for kind in ("split", "input_only", "vectors", "scalars", "signals")
    }
    return cell(
        gates=" ".join((*base.gates, *gates)), states=" ".join(states), called=" ".join((*base.called, *gates)),
        recurrent_only=" ".join((*base.recurrent_only, *gates)), **declared, matrix=base.matrix,
        initial=dict(zip(states, base.initial[:1] * used + base.initial, strict=True)),
    )(equations)  # fmt: skip


def _uses(base: Cell, state: str) -> bool:
    """Say if the equations use a state beside the recurrent product."""
    graph = base.graph
    values = [*graph.states, *(link.operand for link in graph.links if link.name)]
    return Value("input", state) in {*topological(values)}

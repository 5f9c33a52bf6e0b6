"""Source that is generated from a cell: functions of scalars, of rows (for the CPU) and of tuples (for CUDA).

Source is a cell's identity too: its hash names compiled kernels, so cells that differ in a constant differ in name, and
a changed cell never meets an old kernel.

A cell with a second product has two functions of each. Forward, stage 1 computes the operand and stage 2 the states.
Backward, stage 2 gives the gradient of the second gates, from which the product gives the operand's, and stage 1 the
others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.emit import emit_function, meaning, unused

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell

#: Arguments of forward ``rows``; strides and sizes are int64, counted in elements. The first ``units`` of each row's H
#: units are computed.
FORWARD = (
    "rows", "units", "H",
    "z", "z_row",  # pre-activations, one block of H per entry of Cell.preactivations, then the operand
    "state", "state_plane", "state_row",  # states, one plane each: previous in, new out
    "vectors",
    "y", "y_row",  # out: the state that is the output
    "tape", "tape_plane", "tape_row",  # out, when training: the other states, see Cell.taped
    "saved", "saved_row",  # out, when training: one block of H per saved value
)  # fmt: skip

#: Arguments of backward ``rows``.
BACKWARD = (
    "rows", "units", "H",
    "d_state", "d_state_plane", "d_state_row",  # gradient of new states in, of previous states out
    "dy", "dy_row",  # gradient of the output
    "saved", "saved_row",
    "y", "y_row", "tape", "tape_plane", "tape_row",  # states at this step
    "y_all", "tape_all", "previous",  # states of all steps, and for each row where its previous state lies
    "vectors",
    "d_vectors", "d_vectors_row",  # sums over time, one block of H per vector
    "dz", "dz_row",  # out: gradient of the pre-activations; behind it the operand's gradient in, the operand out
)  # fmt: skip


# --- scalars ------------------------------------------------------------------------------------------


def forward_functions(cell: Cell) -> list[str]:
    """Source of ``forward(*arguments) -> (*new_states, *saved)``.

    With second gates, ``operand(*first_arguments) -> (operand, *saved)`` comes first, and ``forward`` returns the other
    saved values only.
    """
    graph, inputs = cell.graph, {node: node.args[0] for node in cell.graph.inputs}
    new = [(f"new_{name}", node) for name, node in zip(cell.states, graph.states, strict=True)]
    saved, early = list(zip(saved_names(cell), graph.saved, strict=True)), graph.saved_early
    if graph.operand is None:
        return [emit_function("forward", cell.arguments, inputs, [*new, *saved])]
    return [
        emit_function("operand", cell.first_arguments, inputs, [("operand", graph.operand), *saved[:early]]),
        emit_function("forward", cell.arguments, inputs, [*new, *saved[early:]]),
    ]


def inference_functions(cell: Cell, name: str) -> list[str]:
    """Source of ``{name}_states(*arguments) -> new_states``, which saves nothing.

    With second gates, ``{name}_operand(*first_arguments) -> (operand,)`` comes first.
    """
    graph, inputs = cell.graph, {node: node.args[0] for node in cell.graph.inputs}
    new = [(f"new_{state}", node) for state, node in zip(cell.states, graph.states, strict=True)]
    functions = [emit_function(f"{name}_states", cell.arguments, inputs, new)]
    if graph.operand is not None:
        operand = [("operand", graph.operand)]
        functions.insert(0, emit_function(f"{name}_operand", cell.first_arguments, inputs, operand))
    return inlined(functions)


def backward_functions(cell: Cell) -> list[str]:
    """Source of ``backward(*d_states, *saved, *states, *new_states, *vectors) -> d_arguments``.

    With second gates, ``backward_second(*as above) -> d_second_gates`` comes first, then
    ``backward(doperand, *as above) -> (operand, *d_first_arguments)``.
    """
    graph, saved = cell.graph, saved_names(cell)
    S, V = len(cell.states), len(cell.vectors)
    states, vectors = graph.inputs[-S - V :][:S], graph.inputs[len(graph.inputs) - V :]
    new = [f"new_{name}" for name in cell.states]
    arguments = [*(f"d{name}" for name in cell.states), *saved, *cell.states, *new, *cell.vectors]
    # A new state that is also an input keeps the input's name; a saved value is read, not computed again.
    known = {**dict(zip(graph.states, new, strict=True)), **dict(zip(graph.saved, saved, strict=True)),
             **{node: node.args[0] for node in (*graph.d_states, *states, *vectors)}}  # fmt: skip
    names = [f"d{name}_previous" if name in cell.states else f"d{name}" for name in cell.arguments]
    d = dict(zip(cell.arguments, zip(names, graph.d_inputs, strict=True), strict=True))
    if graph.operand is None or graph.d_operand is None:
        # A new state has two users, the next step and other new states.
        totals = gradients(graph.states, graph.d_states, graph.states)
        hints = {node: f"d{name}_total" for name, node in zip(cell.states, totals, strict=True)}
        return [emit_function("backward", arguments, known, d.values(), hints=hints)]
    return [
        emit_function("backward_second", arguments, known, [d[name] for name in cell.second]),
        emit_function(
            "backward", ["doperand", *arguments], {**known, graph.d_operand: "doperand"},
            [("operand", graph.operand), *(d[name] for name in cell.first_arguments)],
        ),
    ]  # fmt: skip


def saved_names(cell: Cell) -> list[str]:
    """Names of the saved values by what they are, such as ``sigmoid_f``."""
    graph = cell.graph
    named = {node: node.args[0] for node in graph.inputs}
    named |= {node: f"new_{name}" for name, node in zip(cell.states, graph.states, strict=True) if node not in named}
    taken = {*cell.arguments, "operand", "doperand", *(f"{d}{name}" for name in cell.states for d in ("d", "new_"))}
    return [named[node] if node in named else unused(meaning(node, named), taken) for node in graph.saved]


def _header(cell: Cell, dtype: str) -> str:
    return f"# Generated by nblstm from the cell {cell.name!r}, for {dtype}."


# --- rows ---------------------------------------------------------------------------------------------


def forward_rows_source(cell: Cell, dtype: str, training: bool, stage: int) -> str:
    """Source of ``rows``, which applies a stage of a cell to rows of a batch; see `FORWARD` for its arguments."""
    output, *others = cell.taped
    early, last = cell.graph.saved_early, stage == cell.stages
    computed, taken = (cell.states, cell.arguments) if last else (("operand",), cell.first_arguments)
    saved = saved_names(cell)[early:] if last else saved_names(cell)[:early]

    results = [f"new_{name}" for name in computed] + [f"value_{name}" for name in saved]
    stores = [f"at_{name}[u] = new_{name}" for name in computed]
    if last:
        stores += [f"y[u] = new_{output}"] + [f"tape_{name}[u] = new_{name}" for name in others if training]
    stores += [f"saved_{name}[u] = value_{name}" for name in saved if training]
    call = f"{'forward' if last else 'operand'}({', '.join(f'at_{name}[u]' for name in taken)})"
    loops = _loops(FORWARD, _forward_arrays(cell, training), results, call, stores)
    return "\n\n".join([_header(cell, dtype), *inlined(forward_functions(cell)[stage - 1 : stage]), loops])


def backward_rows_source(cell: Cell, dtype: str, stage: int) -> str:
    """Source of ``rows``, which applies a stage of a cell's gradient to rows; see `BACKWARD` for its arguments."""
    inputs = [f"d_{name}[u] + dy[u]" if name == cell.output else f"d_{name}[u]" for name in cell.states]
    inputs += [f"saved_{name}[u]" for name in saved_names(cell)]
    inputs += [f"at_{name}[u]" for name in cell.states] + [f"new_{name}[u]" for name in cell.states]
    inputs += [f"at_{name}[u]" for name in cell.vectors]
    computed, stores = cell.arguments, []
    if stage == 2:  # the second gates' alone; the product then adds the operand's gradient to 0
        computed, stores = cell.second, ["d_operand[u] = real(0.0)"]
    elif cell.second:
        computed, inputs = ("operand", *cell.first_arguments), ["d_operand[u]", *inputs]
    results = [f"to_{name}" for name in computed]
    stores += [f"d_{name}[u] {'+=' if name in cell.vectors else '='} to_{name}" for name in computed]
    call = f"{'backward_second' if stage == 2 else 'backward'}({', '.join(inputs)})"
    functions = backward_functions(cell)  # the second stage's first
    loops = _loops(BACKWARD, _backward_arrays(cell), results, call, stores)
    return "\n\n".join([_header(cell, dtype), *inlined([functions[cell.stages - stage]]), loops])


def _forward_arrays(cell: Cell, training: bool) -> dict[str, str]:
    """Start of each array in row b."""
    inputs = (*cell.preactivations, *cell.states, *cell.vectors)
    arrays = {f"at_{name}": "" for name in inputs} | {"y": "offset(y, b * y_row)"}
    for k, name in enumerate(cell.preactivations + ("operand",) * bool(cell.second)):
        arrays[f"at_{name}"] = f"offset(z, b * z_row + {k} * H)"
    for k, name in enumerate(cell.states):
        arrays[f"at_{name}"] = f"offset(state, {k} * state_plane + b * state_row)"
    for k, name in enumerate(cell.vectors):
        arrays[f"at_{name}"] = f"offset(vectors, {k} * H)"
    if training:
        for k, name in enumerate(cell.taped[1:]):
            arrays[f"tape_{name}"] = f"offset(tape, {k} * tape_plane + b * tape_row)"
        for k, name in enumerate(saved_names(cell)):
            arrays[f"saved_{name}"] = f"offset(saved, b * saved_row + {k} * H)"
    return arrays


def _backward_arrays(cell: Cell) -> dict[str, str]:
    """Start of each array in row b."""
    output, *others = cell.taped
    arrays = {}
    for k, name in enumerate(cell.states):
        arrays[f"d_{name}"] = f"offset(d_state, {k} * d_state_plane + b * d_state_row)"
    arrays["dy"] = "offset(dy, b * dy_row)"
    for k, name in enumerate(saved_names(cell)):
        arrays[f"saved_{name}"] = f"offset(saved, b * saved_row + {k} * H)"
    arrays[f"at_{output}"] = "offset(y_all, previous[b] * y_row)"
    arrays[f"new_{output}"] = "offset(y, b * y_row)"
    for k, name in enumerate(others):
        arrays[f"at_{name}"] = f"offset(tape_all, {k} * tape_plane + previous[b] * tape_row)"
        arrays[f"new_{name}"] = f"offset(tape, {k} * tape_plane + b * tape_row)"
    for k, name in enumerate(cell.vectors):
        arrays[f"at_{name}"] = f"offset(vectors, {k} * H)"
        arrays[f"d_{name}"] = f"offset(d_vectors, b * d_vectors_row + {k} * H)"
    for k, name in enumerate(cell.preactivations + ("operand",) * bool(cell.second)):
        arrays[f"d_{name}"] = f"offset(dz, b * dz_row + {k} * H)"
    return arrays


def _loops(arguments, arrays: dict[str, str], results, call: str, stores) -> str:
    """The loop over units of one row, whose arrays are promised not to overlap, and the loop over rows."""
    lines = "".join(f"        {store}\n" for store in stores)
    comma = "," if len(results) == 1 else ""
    pointers = "".join(f"            {pointer},  # {name}\n" for name, pointer in arrays.items())
    return (
        f"@inlined\ndef one_row(units, {', '.join(arrays)}):\n    distinct()\n    for u in range(units):\n"
        f"        {', '.join(results)}{comma} = {call}\n{lines}\n\n"
        f"def rows({', '.join(arguments)}):\n    for b in range(rows):\n"
        f"        one_row(\n            units,\n{pointers}        )\n"
    )


# --- tuples -------------------------------------------------------------------------------------------


def tuple_source(cell: Cell, dtype: str) -> str:
    """Source of a cell's equations on tuples, with the functions of scalars in front.

    ``cell_forward(z, state, vector) -> new, saved`` is the step, and ``cell_backward(d_operand, d_new, saved, state,
    new, vector) -> operand, dz, d_state, d_vector`` its gradient; ``d_operand`` and ``operand`` are ().

    With second gates, ``cell_operand(z, state, vector) -> operand, saved`` comes before ``cell_forward``, which then
    returns the other saved values. ``cell_backward_second(d_new, saved, state, new, vector) -> dz`` gives the gradients
    of the second gates, then ``cell_backward`` those of the others.
    """
    places = {name: f"z[{k}]" for k, name in enumerate(cell.preactivations)}
    places |= {name: f"state[{k}]" for k, name in enumerate(cell.states)}
    places |= {name: f"vector[{k}]" for k, name in enumerate(cell.vectors)}
    new, saved = [f"new_{name}" for name in cell.states], [f"saved_{name}" for name in saved_names(cell)]
    sizes = {"d_new": cell.states, "saved": saved, "state": cell.states, "new": cell.states, "vector": cell.vectors}
    known = ", ".join(f"{group}[{k}]" for group, names in sizes.items() for k in range(len(names)))
    early = cell.graph.saved_early if cell.second else 0
    operand, d_operand, others = "", "", cell.preactivations
    functions = [*forward_functions(cell), *backward_functions(cell)]
    if cell.second:
        operand, d_operand = "operand_value, ", "d_operand[0], "
        others = tuple(name for name in cell.preactivations if name not in cell.second)
        functions += [
            f"def cell_operand(z, state, vector):\n"
            f"    {operand}{_listed(saved[:early])}= "
            f"operand({', '.join(places[name] for name in cell.first_arguments)})\n"
            f"    return ({operand}), ({_listed(saved[:early])})\n",
            f"def cell_backward_second(d_new, saved, state, new, vector):\n"
            f"    return backward_second({known})\n",
        ]  # fmt: skip
    given = cell.first_arguments if cell.second else cell.arguments
    functions += [
        f"def cell_forward(z, state, vector):\n"
        f"    {_listed([*new, *saved[early:]])}= forward({', '.join(places[name] for name in cell.arguments)})\n"
        f"    return ({_listed(new)}), ({_listed(saved[early:])})\n",
        f"def cell_backward(d_operand, d_new, saved, state, new, vector):\n"
        f"    {operand}{_listed(f'd_{name}' for name in given)}= backward({d_operand}{known})\n"
        f"    return ({operand}), {_gradients(others)}, {_gradients(cell.states)}, {_gradients(cell.vectors)}\n",
    ]  # fmt: skip
    return "\n\n".join([_header(cell, dtype), *inlined(functions)])


def inlined(functions: Iterable[str]) -> list[str]:
    """Functions that disappear into the kernels that call them."""
    return [f"@inlined\n{function}" for function in functions]


def _listed(names: Iterable[str]) -> str:
    return "".join(f"{name}, " for name in names)


def _gradients(names: Iterable[str]) -> str:
    return f"({_listed(f'd_{name}' for name in names)})"


# --- all ----------------------------------------------------------------------------------------------


def source(cell: Cell, kind: str | None, dtype: str) -> str:
    """Source of a kind, see `Cell.source`."""
    if kind == "cuda":
        return tuple_source(cell, dtype)
    stages = range(1, cell.stages + 1)
    if kind == "rows":
        forward = [forward_rows_source(cell, dtype, True, stage) for stage in stages]
        return "\n\n".join([*forward, *(backward_rows_source(cell, dtype, stage) for stage in reversed(stages))])
    functions = forward_functions(cell) if kind != "backward" else []
    functions += backward_functions(cell) if kind != "forward" else []
    return "\n\n".join([_header(cell, dtype), *functions])

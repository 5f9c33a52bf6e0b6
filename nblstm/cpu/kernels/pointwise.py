"""A cell applied to rows of a batch: loops over units around the emitted scalar functions.

The loops are emitted too, one line per array, because the number of arrays differs by cell. Sequence kernels
reach them by address, so those are compiled once for all cells.

A cell with a second product has two of each. Forward, stage 1 computes the operand and stage 2 the states; backward,
stage 2 gives the gradients of the second gates, from which the product gives the operand's, and stage 1 the others. The
operand lies behind the pre-activations; in BPTT its gradient does, until stage 1 puts the operand itself in its place.
"""

from __future__ import annotations

import re
from functools import cache

from numba import types

from nblstm.cells.cell import Cell
from nblstm.codegen.compiler import compiled
from nblstm.codegen.pointers import distinct, offset
from nblstm.codegen.scalar import scalar_functions
from nblstm.codegen.target import inlined
from nblstm.symbolic.emit import emit
from nblstm.symbolic.source import executed, symbol

#: Arguments of ``forward_rows``; strides and sizes are int64, counted in elements. The first ``units`` of each row's H
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

#: Arguments of ``backward_rows``.
BACKWARD = (
    "rows", "units", "H",
    "d_state", "d_state_plane", "d_state_row",  # gradient of new states in, of previous states out
    "dy", "dy_row",  # gradient of the output
    "saved", "saved_row",
    "y", "y_row", "tape", "tape_plane", "tape_row",  # states at this step
    "y_all", "tape_all", "previous",  # states of all steps, and for each row where its previous state lies
    "vectors",
    "d_vectors", "d_vectors_row",  # sums over time, one block of H per vector
    "dz", "dz_row",  # out: gradient of the pre-activations; then the operand's gradient in, the operand out
)  # fmt: skip

_POINTERS = {"z", "state", "vectors", "y", "tape", "saved", "d_state", "dy", "y_all", "tape_all", "d_vectors", "dz"}


def _signature(arguments, dtype):
    pointer = types.CPointer(getattr(types, dtype))
    kinds = {**dict.fromkeys(_POINTERS, pointer), "previous": types.CPointer(types.int64)}
    return types.void(*(kinds.get(argument, types.int64) for argument in arguments))


@cache
def forward_rows(cell: Cell, dtype: str, training: bool, stage: int) -> int:
    """Address of the kernel that applies a stage of a cell to rows; see `FORWARD` for its arguments."""
    name = f"{symbol(cell.name)}{f'_{stage}' * (stage < cell.stages)}_{'tape' if training else 'forward'}_{dtype}"
    return _compile(name, cell, dtype, _emit_forward(cell, training, stage), FORWARD)


@cache
def backward_rows(cell: Cell, dtype: str, stage: int) -> int:
    """Address of the kernel that applies a stage of a cell's gradient to rows; see `BACKWARD` for its arguments."""
    name = f"{symbol(cell.name)}{f'_{stage}' * (stage > 1)}_backward_{dtype}"
    return _compile(name, cell, dtype, _emit_backward(cell, stage), BACKWARD)


def _compile(name, cell, dtype, body, arguments) -> int:
    text = f"{emit(cell, dtype)}\n\n{body}"

    def make():
        scope = {**scalar_functions(dtype), "real": getattr(types, dtype), "distinct": distinct, "offset": offset,
                 "inlined": inlined}  # fmt: skip
        scalar = r"^def (operand|forward|backward_second|backward)\("
        decorated = re.sub(scalar, r"@inlined\ndef \1(", text, flags=re.MULTILINE)
        return executed(decorated, f"cell {name}", scope)["rows"], _signature(arguments, dtype)

    return compiled(name, text, make)


def _emit_forward(cell: Cell, training: bool, stage: int) -> str:
    output, *others = cell.taped
    early, last = cell.graph.saved_early, stage == cell.stages
    computed, taken = (cell.states, cell.arguments) if last else (("operand",), cell.first_arguments)
    saved = range(early, len(cell.graph.saved)) if last else range(early)

    results = [f"new_{name}" for name in computed] + [f"value_{k}" for k in saved]
    stores = [f"at_{name}[u] = new_{name}" for name in computed]
    if last:
        stores += [f"y[u] = new_{output}"] + [f"tape_{name}[u] = new_{name}" for name in others if training]
    stores += [f"saved_{k}[u] = value_{k}" for k in saved if training]
    call = f"{'forward' if last else 'operand'}({', '.join(f'at_{name}[u]' for name in taken)})"
    return _emit_loops(FORWARD, _forward_arrays(cell, training), results, call, stores)


def _forward_arrays(cell: Cell, training: bool) -> dict[str, str]:
    """Where each row's arrays begin."""
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
        for k, _ in enumerate(cell.graph.saved):
            arrays[f"saved_{k}"] = f"offset(saved, b * saved_row + {k} * H)"
    return arrays


def _emit_backward(cell: Cell, stage: int) -> str:
    inputs = [f"d_{name}[u] + dy[u]" if name == cell.output else f"d_{name}[u]" for name in cell.states]
    inputs += [f"saved_{k}[u]" for k, _ in enumerate(cell.graph.saved)]
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
    return _emit_loops(BACKWARD, _backward_arrays(cell), results, call, stores)


def _backward_arrays(cell: Cell) -> dict[str, str]:
    """Where each row's arrays begin."""
    output, *others = cell.taped
    arrays = {}
    for k, name in enumerate(cell.states):
        arrays[f"d_{name}"] = f"offset(d_state, {k} * d_state_plane + b * d_state_row)"
    arrays["dy"] = "offset(dy, b * dy_row)"
    for k, _ in enumerate(cell.graph.saved):
        arrays[f"saved_{k}"] = f"offset(saved, b * saved_row + {k} * H)"
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


def _emit_loops(arguments, arrays: dict[str, str], results, call: str, stores) -> str:
    """A function for one row, whose arrays are promised not to overlap, and one that walks the rows."""
    lines = "".join(f"        {store}\n" for store in stores)
    comma = "," if len(results) == 1 else ""
    pointers = "".join(f"            {pointer},  # {name}\n" for name, pointer in arrays.items())
    return (
        f"@inlined\ndef one_row(units, {', '.join(arrays)}):\n    distinct()\n    for u in range(units):\n"
        f"        {', '.join(results)}{comma} = {call}\n{lines}\n\n"
        f"def rows({', '.join(arguments)}):\n    for b in range(rows):\n"
        f"        one_row(\n            units,\n{pointers}        )\n"
    )

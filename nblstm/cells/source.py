"""Source that is generated from a cell: functions of scalars, and of rows for the CPU; `cuda_source` has CUDA's.

Source is a cell's identity too: its hash names compiled kernels, so cells that differ in a constant differ in name, and
a changed cell never meets an old kernel.

Each stage of a step, see `stages.py`, is a function: forward ``forward_1``, ``forward_2`` and so on, the last
``forward``; backward ``backward_1`` is the first, ``backward`` the last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from nblstm.cells.stages import Program, Row, backward_program, forward_program, saved_names, saved_row
from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.emit import emit_function
from nblstm.symbolic.graph import Value, topological

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell

#: Arguments of forward ``rows``; strides and sizes are int64, counted in elements. Of each row's H units so many
#: ``units`` are computed, from ``first`` on, to which the addresses point.
FORWARD = (
    "rows", "first", "units", "H",
    "z", "z_row",  # the workspace, see `Program.row`
    "state", "state_plane", "state_row",  # states, one plane each: previous in, new out
    "vectors",  # and scalars, one block of H each
    "y", "y_row",  # out: the state that is the output
    "tape", "tape_plane", "tape_row",  # out, when training: the other states, see Cell.taped
    "saved", "saved_row",  # out, when training, see `saved_row`
)  # fmt: skip

#: Arguments of backward ``rows``.
BACKWARD = (
    "rows", "first", "units", "H",
    "d_state", "d_state_plane", "d_state_row",  # gradient of new states in, of previous states out
    "dy", "dy_row",  # gradient of the output
    "saved", "saved_row",
    "y", "y_row", "tape", "tape_plane", "tape_row",  # states at this step
    "y_all", "tape_all", "previous",  # states of all steps, and for each row where its previous state lies
    "vectors",
    "d_vectors", "d_vectors_row",  # sums over time, one block of H per vector
    "dz", "dz_row",  # likewise; first the gradients of the pre-activations
)  # fmt: skip


# --- scalars ------------------------------------------------------------------------------------------


class Function(NamedTuple):
    """A stage as a function of scalars: its name, those of its arguments and of its results, and its source."""

    name: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    text: str


def forward_functions(cell: Cell, saving: bool = True, name: str = "forward", keep: bool = True) -> list[Function]:
    """The stages of a step: each returns operands, or the new states, and then what BPTT saves."""
    program = forward_program(cell, keep)
    order = [*cell.arguments, *(argument for stage in program.stages for argument in stage.known.values())]
    return [_function(name, cell, program, k, order, saving, {}) for k in range(len(program.stages))]


def backward_functions(cell: Cell, keep: bool = True) -> list[Function]:
    """The stages of a step's gradient: each returns gradients, the last also the operands once more."""
    graph, program = cell.graph, backward_program(cell, keep)
    new = [f"new_{name}" for name in cell.states]
    order = [d.args[0] for link, d in zip(graph.links, graph.d_operands, strict=True) if link.name]
    order += [f"d{name}" for name in cell.states]
    order += [*saved_names(cell), *cell.states, *new, *cell.vectors, *cell.scalars]
    order += [argument for stage in program.stages for argument in stage.known.values()]
    hints = {}
    if len(program.stages) == 1:  # a new state has two users, the next step and other new states
        totals = gradients(graph.states, graph.d_states, graph.states)
        hints = {node: f"d{name}_total" for name, node in zip(cell.states, totals, strict=True)}
    return [_function("backward", cell, program, k, order, False, hints) for k in range(len(program.stages))]


def _function(name: str, cell: Cell, program: Program, k: int, order: Iterable[str], saving: bool, hints) -> Function:
    stage, last = program.stages[k], k == len(program.stages) - 1
    results = stage.results | {f"saved_{own}": value for own, value in stage.saved.items() if saving}
    used = {
        stage.known[node] for node in topological(list(results.values()), leaves=stage.known) if node in stage.known
    }
    own, arguments = name if last else f"{name}_{k + 1}", tuple(dict.fromkeys(a for a in order if a in used))
    # A saved value is called by its meaning.
    called = [(result.removeprefix("saved_"), value) for result, value in results.items()]
    of_units, of_rows = {*cell.vectors, *cell.scalars}, {*program.row.numbers, *saved_row(cell).numbers, *cell.scalars}
    rounded = _rounded(results.values(), stage.known, (of_units, of_rows))
    text = emit_function(own, arguments, stage.known, called, hints=hints, rounded=rounded) if results else ""
    return Function(own, arguments, tuple(results), text)


def _rounded(results: Iterable[Value], known: Mapping[Value, str], unchanging: Iterable[set[str]]) -> set[Value]:
    """Products of the arguments of one set alone, which stay the same through a loop, over rows or over units.

    LLVM may compute such a product before the loop, in some of the loop's copies (several units at once; the rest).
    Fused with a sum where it is not, it would have other bits there: those of a unit would depend on where threads
    share the units of a row. So it is rounded everywhere.
    """
    own: dict[Value, set[str]] = {}
    for node in topological(list(results), leaves=known):
        own[node] = {known[node]} if node in known else set().union(*(own[operand] for operand in node.operands))
    return {node for node, used in own.items() if node.op == "mul" and any(used <= names for names in unchanging)}


def header(cell: Cell, dtype: str) -> str:
    """The first line of generated source."""
    return f"# Generated by nblstm from the cell {cell.name!r}, for {dtype}."


# --- rows ---------------------------------------------------------------------------------------------


def forward_rows_source(cell: Cell, dtype: str, training: bool, stage: int, taping: bool = False) -> str:
    """Source of ``rows``, which applies a stage of a cell to rows of a batch; see `FORWARD` for its arguments.

    With ``taping`` it writes the tape without training too.
    """
    output, *others = cell.taped
    function = forward_functions(cell, training)[stage]
    arrays = _forward_arrays(cell, training, taping)
    numbers = {*forward_program(cell).row.numbers, *(f"saved_{name}" for name in saved_row(cell).numbers)}
    stores = []

    def index(name: str) -> str:
        return "0" if name in numbers else "u"

    for result in function.results:
        name = result.removeprefix("new_")
        array = f"at_{name}" if name != result else result if result.startswith("saved_") else _array(result)
        stores.append(f"{array}[{index(result)}] = to_{result}")
        if result == f"new_{output}":
            stores.append(f"y[u] = to_{result}")
        if name in others and (training or taping):
            stores.append(f"tape_{name}[u] = to_{result}")
    places = {name: f"{_array(name)}[0]" for name in numbers}
    return _rows_source(cell, dtype, FORWARD, arrays, function, stores, places)


def backward_rows_source(cell: Cell, dtype: str, stage: int) -> str:
    """Source of ``rows``, which applies a stage of a cell's gradient to rows; see `BACKWARD` for its arguments."""
    program, function = backward_program(cell), backward_functions(cell)[stage]
    places = {f"d{name}": f"state_d{name}[u]{' + dy[u]' * (name == cell.output)}" for name in cell.states}
    places |= {f"new_{name}": f"new_{name}[u]" for name in cell.states}
    places |= {name: f"{_array(name)}[0]" for name in program.row.numbers}
    places |= {name: f"saved_{name}[u]" for name in saved_row(cell).blocks}
    places |= {name: f"saved_{name}[0]" for name in saved_row(cell).numbers}
    # What the next stage's products add to begins as 0.
    following = program.stages[stage + 1].links if stage + 1 < len(program.stages) else []
    stores = [f"{link.operand}[u] = real(0.0)" for link in following if link.kind == "product"]
    for result in function.results:
        name = result.removesuffix("_previous")[1:]
        target = f"state_d{name}" if result != f"d{name}" and name in cell.states else _array(result)
        adds = name in (*cell.vectors, *cell.scalars) and result == f"d{name}"
        stores.append(f"{target}[{'0' if result in program.row.numbers else 'u'}] {'+=' if adds else '='} to_{result}")
    return _rows_source(cell, dtype, BACKWARD, _backward_arrays(cell), function, stores, places)


def _forward_arrays(cell: Cell, training: bool, taping: bool) -> dict[str, str]:
    """Start of each array in row b."""
    arrays = _row_arrays(forward_program(cell).row, "z", _array)
    arrays["y"] = "offset(y, b * y_row)"
    for k, name in enumerate(cell.states):
        arrays[f"at_{name}"] = f"offset(state, {k} * state_plane + b * state_row)"
    for k, name in enumerate((*cell.vectors, *cell.scalars)):
        arrays[f"at_{name}"] = f"offset(vectors, {k} * H)"
    if training or taping:
        for k, name in enumerate(cell.taped[1:]):
            arrays[f"tape_{name}"] = f"offset(tape, {k} * tape_plane + b * tape_row)"
    if training:
        arrays |= _row_arrays(saved_row(cell), "saved", lambda name: f"saved_{name}")
    return arrays


def _row_arrays(row: Row, array: str, named: Callable[[str], str]) -> dict[str, str]:
    """Start of each block and number of a row b; the row's address is that of its unit ``first``."""
    start, N = f"offset({array}, b * {array}_row + ", len(row.blocks)
    return {named(name): f"{start}{k} * H)" for k, name in enumerate(row.blocks)} | {
        named(name): f"{start}{N} * H + {k} - first)" for k, name in enumerate(row.numbers)
    }


def _backward_arrays(cell: Cell) -> dict[str, str]:
    """Start of each array in row b."""
    output, *others = cell.taped
    arrays = {}
    for k, name in enumerate(cell.states):
        arrays[f"state_d{name}"] = f"offset(d_state, {k} * d_state_plane + b * d_state_row)"
    arrays["dy"] = "offset(dy, b * dy_row)"
    arrays |= _row_arrays(saved_row(cell), "saved", lambda name: f"saved_{name}")
    arrays[f"at_{output}"] = "offset(y_all, previous[b] * y_row)"
    arrays[f"new_{output}"] = "offset(y, b * y_row)"
    for k, name in enumerate(others):
        arrays[f"at_{name}"] = f"offset(tape_all, {k} * tape_plane + previous[b] * tape_row)"
        arrays[f"new_{name}"] = f"offset(tape, {k} * tape_plane + b * tape_row)"
    for k, name in enumerate((*cell.vectors, *cell.scalars)):
        arrays[f"at_{name}"] = f"offset(vectors, {k} * H)"
        arrays[f"at_d{name}"] = f"offset(d_vectors, b * d_vectors_row + {k} * H)"
    return arrays | _row_arrays(backward_program(cell).row, "dz", _array)


def _rows_source(cell: Cell, dtype: str, kernel, arrays, function: Function, stores: list[str], places) -> str:
    """The function of a stage, and the loops around it; ``places`` has where arguments are that are not ``at_...``."""
    given = [places.get(name) or f"{_array(name)}[u]" for name in function.arguments]
    results = [f"to_{result}" for result in function.results]
    call = f"{function.name}({', '.join(given)})"
    used = set(re.findall(r"\w+", " ".join([*given, *stores])))
    arrays = {name: pointer for name, pointer in arrays.items() if name in used}
    return "\n\n".join([header(cell, dtype), *inlined([function.text]), _loops(kernel, arrays, results, call, stores)])


def _array(name: str) -> str:
    """The array of an argument, of a block's own name if generated code has given it."""
    return name if re.fullmatch(r"(kept|d?operand)_\d+", name) else f"at_{name}"


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


def inlined(functions: Iterable[str]) -> list[str]:
    """Functions that disappear into the kernels that call them."""
    return [f"@inlined\n{function}" for function in functions]


# --- all ----------------------------------------------------------------------------------------------


def source(cell: Cell, kind: str | None, dtype: str) -> str:
    """Source of a kind but "cuda", see `Cell.source`."""
    if kind == "rows":
        forward = [forward_rows_source(cell, dtype, True, stage) for stage in computing(forward_program(cell))]
        backward = [backward_rows_source(cell, dtype, stage) for stage in computing(backward_program(cell))]
        return "\n\n".join([*forward, *backward])
    functions = forward_functions(cell) if kind != "backward" else []
    functions += backward_functions(cell) if kind != "forward" else []
    return "\n\n".join([header(cell, dtype), *(function.text for function in functions if function.text)])


def computing(program: Program, saving: bool = True) -> list[int]:
    """The stages that compute anything, beside links: in inference nothing is computed to be saved."""
    return [k for k, stage in enumerate(program.stages) if stage.results or (stage.saved and saving)]

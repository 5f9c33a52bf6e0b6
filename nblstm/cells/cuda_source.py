"""Source of CUDA's kernels: functions of tuples, for kernels of a whole sequence; kernels of one step, for any cell.

A step has a kernel for each of its parts, see `step_parts`. A thread computes a unit of a row. Where units are added
up, a block has a row and its threads add up, with barriers; whatever else passes from stage to stage, a thread reads
only what it has written itself.

Names are those of `nblstm.cuda.kernels.arguments`; ``fed_f``, ``product_f`` and ``bias_f`` are the terms of the
pre-activation f, ``at_...`` other arrays, ``value_...`` numbers that are the same for all units.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from nblstm.cells.source import Function, backward_functions, forward_functions, header, inlined
from nblstm.cells.stages import Program, backward_program, forward_program, saved_names
from nblstm.cells.step_parts import (
    Part,
    backward_parts,
    device_saved_row,
    forward_parts,
    given_names,
    is_plain,
    operands,
    work_planes,
)

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell

#: Functions that add up over the units of a row, by the kind of a link.
REDUCTIONS = {"sum": "sum_over_block", "mean": "sum_over_block", "maximum": "maximum_over_block"}

#: Most of these results that a block computes at a time, each of which takes shared memory and registers.
AT_ONCE = 16


# --- tuples -------------------------------------------------------------------------------------------


def tuple_source(cell: Cell, dtype: str) -> str:
    """Source of a plain cell's equations on tuples, with the functions of scalars in front.

    ``cell_forward(z, state, vector) -> new, saved`` is the step, and ``cell_backward(d_new, saved, state, new, vector)
    -> dz, d_state, d_vector`` its gradient; scalars are vectors here.
    """
    [forward], [backward] = forward_functions(cell), backward_functions(cell)
    vectors, saved = (*cell.vectors, *cell.scalars), saved_names(cell)
    before = {name: f"z[{k}]" for k, name in enumerate(cell.preactivations)}
    after: dict[str, str] = {}
    groups = {"d_new": [f"d{name}" for name in cell.states], "saved": saved, "state": cell.states,
              "new": [f"new_{name}" for name in cell.states], "vector": vectors}  # fmt: skip
    for group, names in groups.items():
        after |= {name: f"{group}[{k}]" for k, name in enumerate(names)}
        before |= {name: f"{group}[{k}]" for k, name in enumerate(names) if group in ("state", "vector")}

    def call(function: Function, places: dict[str, str]) -> str:
        given = ", ".join(places[name] for name in function.arguments)
        return f"    {_listed(function.results)}= {function.name}({given})\n"

    functions = [
        forward.text,
        backward.text,
        f"def cell_forward(z, state, vector):\n{call(forward, before)}"
        f"    return ({_listed(f'new_{name}' for name in cell.states)}), "
        f"({_listed(f'saved_{name}' for name in saved)})\n",
        f"def cell_backward(d_new, saved, state, new, vector):\n{call(backward, after)}"
        f"    return ({_listed(f'd{name}' for name in cell.preactivations)}), "
        f"({_listed(f'd{name}_previous' for name in cell.states)}), ({_listed(f'd{name}' for name in vectors)})\n",
    ]  # fmt: skip
    return "\n\n".join([header(cell, dtype), *inlined(functions)])


def _listed(names: Iterable[str]) -> str:
    return "".join(f"{name}, " for name in names)


def cuda_source(cell: Cell, dtype: str) -> str:
    """Functions of tuples of a plain cell; of others the kernels of a step, in training, and of its gradient."""
    if is_plain(cell):
        return tuple_source(cell, dtype)
    made = [*forward_sources(cell, dtype, True), *backward_sources(cell, dtype)]
    return "\n\n".join(source.text for source in made if source.text)


# --- kernels ------------------------------------------------------------------------------------------


class StepSource(NamedTuple):
    """A part's kernel.

    Attributes
    ----------
    text : str
        Functions, the last of which is ``kernel(a)``; empty where there is nothing to do.
    over_units : int
        Results over units that a block computes at a time; 0 where a thread needs no other.
    """

    text: str
    over_units: int


@dataclass
class _Arrays:
    """Where a kernel finds things: pointers by the names of local variables, expressions by names of arguments."""

    pointers: dict[str, str]
    places: dict[str, str]
    numbers: tuple[str, ...]

    def place(self, name: str) -> str:
        """The expression of an argument, for a unit u."""
        if name in self.numbers:
            return f"value_{name}"
        return self.places.get(name) or f"at_{name}[u]"


@cache
def forward_sources(cell: Cell, dtype: str, training: bool) -> list[StepSource]:
    """The kernel of each of `forward_parts`."""
    functions, arrays = forward_functions(cell, training), _forward_arrays(cell)
    saved = device_saved_row(cell).numbers

    def stores(result: str) -> list[str]:
        state = result.removeprefix("new_")
        if result.removeprefix("saved_") != result:
            number = result.removeprefix("saved_") in saved
            return [f"if u == 0: {result}[0] = to_{result}" if number else f"{result}[u] = to_{result}"]
        if state == result:
            return [f"at_{result}[u] = to_{result}"]
        lines = [f"at_{state}[u] = to_{result}"]
        lines += [f"y[u] = to_{result}"] * (state == cell.output)
        return lines + [f"tape_{state}[u] = to_{result}"] * (training and state in cell.taped[1:])

    return _sources(cell, dtype, forward_program(cell), forward_parts(cell), functions, arrays, stores, False)


@cache
def backward_sources(cell: Cell, dtype: str) -> list[StepSource]:
    """The kernel of each of `backward_parts`."""
    arrays = _backward_arrays(cell)

    def stores(result: str) -> list[str]:
        name = result.removesuffix("_previous")[1:]
        if result != f"d{name}" and name in cell.states:
            return [f"at_d{name}[u] = to_{result}"]
        adds = result[1:] in (*cell.vectors, *cell.scalars) and result[0] == "d"
        return [f"at_{result}[u] {'+=' if adds else '='} to_{result}"]

    functions = backward_functions(cell)
    return _sources(cell, dtype, backward_program(cell), backward_parts(cell), functions, arrays, stores, True)


def _sources(
    cell: Cell, dtype: str, program: Program, parts: list[Part], functions: list[Function], arrays: _Arrays,
    stores: Callable[[str], list[str]], backward: bool,
) -> list[StepSource]:  # fmt: skip
    made = []
    for nth, part in enumerate(parts):
        stages = [(program.stages[k], functions[k]) for k in part.stages]
        later = {name for other in parts[nth + 1 :] for k in other.stages for name in functions[k].arguments}
        lines: list[str] = []
        reduced: list[tuple[str, str, str]] = []
        most = 0
        for stage, function in stages:
            links = [link for link in stage.links if link.kind != "product"]
            own = [(k.kind, *((k.feeds[0], k.operand) if backward else (k.operand, k.feeds[0]))) for k in links]
            lines += _over_units(own, arrays, later)
            reduced += own
            at_once = [sum(REDUCTIONS[kind] == name for kind, _, _ in own) for name in REDUCTIONS.values()]
            most = max(most, min(AT_ONCE, max(at_once)))
            if function.results:
                lines += _stage(function, arrays, stores, later)
        if part.copied:
            lines += ["UNITS", *(f"    copy_{name}[u] = {arrays.place(name)}" for name in part.copied)]
        # Numbers that the stages are given: of a part before, or a variable that the units set.
        used, here = _words(lines), {name for _, function in stages for name in function.results}
        first = [
            f"value_{name} = {'real(0.0)' if name in here else f'number_{name}[0]'}" for name in arrays.numbers
            if f"value_{name}" in used and name not in {target for _, _, target in reduced}
        ]  # fmt: skip
        pointers = _used(arrays.pointers, [*first, *lines])
        texts = [function.text for _, function in stages if function.results]
        text = "\n\n".join([header(cell, dtype), *inlined(texts), _kernel([*pointers, *first, *lines], most)])
        made.append(StepSource(text if lines else "", most))
    return made


def _words(lines: Iterable[str]) -> set[str]:
    return {*re.findall(r"\w+", " ".join(lines))}


def _used(pointers: dict[str, str], lines: list[str]) -> list[str]:
    """The assignments of pointers that lines use, and those that these use, in order."""
    used, found = _words(lines), []
    for name, pointer in reversed(pointers.items()):
        if name in used:
            found.append(f"{name} = {pointer}")
            used |= _words([pointer])
    return found[::-1]


def _over_units(links: list[tuple[str, str, str]], arrays: _Arrays, later: set[str]) -> list[str]:
    """Lines that compute sums, means and maxima, (kind, source, target) each."""
    lines: list[str] = []
    for name in dict.fromkeys(REDUCTIONS.values()):
        of_kind = [link for link in links if REDUCTIONS[link[0]] == name]
        start = "real(0.0)" if name == "sum_over_block" else "lowest"
        for own in (of_kind[k : k + AT_ONCE] for k in range(0, len(of_kind), AT_ONCE)):
            lines += [f"value_{target} = {start}" for _, _, target in own] + ["UNITS"]
            for _, source, target in own:
                place = arrays.place(source)
                more = f"value_{target} + {place}" if start != "lowest" else f"maximum(value_{target}, {place})"
                lines.append(f"    value_{target} = {more}")
            values = "".join(f"value_{target}, " for _, _, target in own)
            lines.append(f"{values}= {name}_{len(own)}(shared, {values.removesuffix(', ')})")
            lines += [f"value_{target} = value_{target} / real(H)" for kind, _, target in own if kind == "mean"]
            lines += [
                f"if thread() == 0: number_{target}[0] = value_{target}" for _, _, target in own if target in later
            ]
    return lines


def _stage(function: Function, arrays: _Arrays, stores: Callable[[str], list[str]], later: set[str]) -> list[str]:
    """Lines that apply a stage's function to units."""
    results = "".join(f"to_{result}, " for result in function.results)
    given = ", ".join(map(arrays.place, function.arguments))
    lines = ["UNITS", f"    {results}= {function.name}({given})"]
    for result in function.results:
        if result in arrays.numbers:
            lines.append(f"    value_{result} = to_{result}")
            lines += [f"    if u == 0: number_{result}[0] = to_{result}"] * (result in later)
        else:
            lines += [f"    {line}" for line in stores(result)]
    return lines


def _kernel(lines: list[str], over_units: int) -> str:
    """The kernel: a thread has a row's unit, or, where units are added up, a block has a row."""
    if over_units:
        head = ["b, H, shared = block(), a.H, shared_memory()"]
        units, indent = "for u in range(thread(), H, block_size()):", "    "
    else:
        head = ["k, H = block() * block_size() + thread(), a.H", "if k < a.rows * H:"]
        head += ["    b, u = k // H, k % H"]
        units, indent = "", "        "
    body = [line.removeprefix("    ") if not over_units else line for line in lines]
    body = [units if line == "UNITS" else line for line in body]
    written = [f"    {line}" for line in head] + [f"{indent}{line}" for line in body if line]
    return "\n".join(["def kernel(a):", *written, ""])


def _work(cell: Cell, backward: bool) -> dict[str, str]:
    planes, numbers = work_planes(cell, backward)
    given = {} if backward else given_names(cell)
    pointers = {
        f"{'copy' if name in given else 'at'}_{name}": f"offset(numbers(a.work), ({k} * a.B + b) * H)"
        for k, name in enumerate(planes)
    }
    return pointers | {
        f"number_{name}": f"offset(numbers(a.work), {len(planes)} * a.B * H + {k} * a.B + b)"
        for k, name in enumerate(numbers)
    }


def _saved(cell: Cell) -> dict[str, str]:
    row = device_saved_row(cell)
    N = len(row.blocks)
    start = f"offset(numbers(a.saved), (a.first + b) * ({N} * H + {len(row.numbers)}) + "
    pointers = {f"saved_{name}": f"{start}{k} * H)" for k, name in enumerate(row.blocks)}
    return pointers | {f"saved_{name}": f"{start}{N} * H + {k})" for k, name in enumerate(row.numbers)}


def _forward_arrays(cell: Cell) -> _Arrays:
    G, start = len(cell.input_gates), cell.recurrent_start
    pointers, places = _work(cell, False), {}
    pointers["nth_step"] = "integers(a.lengths)[b] - a.t if a.reversed else a.t + 1"
    planes = {}  # the pointer to the product of each block of the recurrent weights
    for part in forward_parts(cell):
        for _, first, count, _ in part.products:
            for k in range(count):
                planes[first + k] = f"offset(numbers(a.r), ({first} * a.B + b * {count} + {k}) * H)"
    for p, name in enumerate(cell.preactivations):
        terms = {}
        if p >= start:
            terms[f"product_{name}"] = planes[p - start]
        if p < G:
            terms[f"fed_{name}"] = f"offset(numbers(a.z), ((a.first + b) * {G} + {p}) * H)"
        terms[f"bias_{name}"] = f"offset(numbers(a.bias), {p} * H)"
        pointers |= terms
        places[name] = " + ".join(f"{term}[u]" for term in terms)
    for k, name in enumerate(cell.signals):
        pointers[f"at_{name}"] = f"offset(numbers(a.signals), {k} * a.signals_plane + (a.row + b) * H)"
    if cell.takes_x:
        pointers["at_x"] = "offset(numbers(a.x), (a.row + b) * H)"
    for k, noise in enumerate(cell.graph.noise, len(cell.given)):
        limit = min(round(noise.p * 2**32), 2**32 - 1)
        more = f", {limit}" if noise.kind == "bernoulli" else ""
        draw = f"{'ones' if noise.kind == 'bernoulli' else noise.kind}(key_{noise.name}, u{more})"
        places[noise.name] = draw
        pointers[f"key_{noise.name}"] = f"row_key(a.seed, {k}, {'nth_step' if noise.per == 'step' else 0}, b)"
    for k, name in enumerate(cell.states):
        pointers[f"at_{name}"] = f"offset(numbers(a.state), {k} * a.state_plane + b * H)"
    for k, name in enumerate((*cell.vectors, *cell.scalars)):
        pointers[f"at_{name}"] = f"offset(numbers(a.vectors), {k} * H)"
    pointers["y"] = "offset(numbers(a.y), (a.B + a.first + b) * a.y_row)"
    for k, name in enumerate(cell.taped[1:]):
        at = f"{k} * a.other_states_plane + (a.B + a.first + b) * H"
        pointers[f"tape_{name}"] = f"offset(numbers(a.other_states), {at})"
    return _Arrays(pointers | _saved(cell), places, forward_program(cell).row.numbers)


def _backward_arrays(cell: Cell) -> _Arrays:
    output, *others = cell.taped
    pointers = _work(cell, True) | _saved(cell)
    pointers["before"], pointers["here"] = "integers(a.previous)[a.first + b]", "a.B + a.first + b"
    numbers, blocks = device_saved_row(cell).numbers, device_saved_row(cell).blocks
    places = {name: f"saved_{name}[u]" for name in blocks} | {name: f"saved_{name}[0]" for name in numbers}
    for k, name in enumerate(cell.states):
        pointers[f"at_d{name}"] = f"offset(numbers(a.d_state), {k} * a.d_state_plane + b * H)"
        places[f"d{name}"] = f"at_d{name}[u]"
        places[f"new_{name}"] = f"new_{name}[u]"
    places[f"d{output}"] += " + dy[u]"
    pointers["dy"] = "offset(numbers(a.dy), (a.row + b) * a.dy_row)"
    for prefix, row in (("at", "before"), ("new", "here")):
        pointers[f"{prefix}_{output}"] = f"offset(numbers(a.y), {row} * a.y_row)"
        for k, name in enumerate(others):
            at = f"{k} * a.other_states_plane + {row} * H"
            pointers[f"{prefix}_{name}"] = f"offset(numbers(a.other_states), {at})"
    V = len(cell.vectors) + len(cell.scalars)
    for k, name in enumerate((*cell.vectors, *cell.scalars)):
        pointers[f"at_{name}"] = f"offset(numbers(a.vectors), {k} * H)"
        pointers[f"at_d{name}"] = f"offset(numbers(a.d_vectors), (b * {V} + {k}) * H)"
    fed = (*cell.preactivations, *cell.given)
    for k, name in enumerate(fed):
        pointers[f"at_d{name}"] = f"offset(numbers(a.dz), ((a.first + b) * {len(fed)} + {k}) * H)"
    for k, name in enumerate(operands(cell)):
        pointers[f"at_{name}"] = f"offset(numbers(a.operands), {k} * a.operands_plane + (a.first + b) * H)"
        pointers[f"at_d{name}"] = f"offset(numbers(a.d_operands), ({k} * a.B + b) * H)"
    return _Arrays(pointers, places, backward_program(cell).row.numbers)

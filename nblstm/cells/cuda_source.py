"""Source of CUDA's kernels: functions of tuples, for kernels of a whole sequence; kernels of one step, for any cell.

A step is in parts, each a kernel behind products.

A part begins where a stage needs a product, which a library computes; its kernel does all stages up to the next one. A
thread computes a row's unit. Where units are added up, a block has a row, and its threads add up with a barrier: what
they exchange else is in planes (B, H) of a workspace, of which a thread reads what it has written itself.

Names are those of `nblstm.cuda.kernels.arguments`; ``fed_f``, ``product_f`` and ``bias_f`` are the terms of the
pre-activation f, ``at_...`` other arrays, ``value_...`` numbers that are the same for all units.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from nblstm.cells.source import Function, backward_functions, forward_functions, header, inlined
from nblstm.cells.stages import (
    Program,
    Row,
    Step,
    backward_program,
    forward_program,
    runs,
    saved_names,
    saved_row,
)

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell

#: Functions that add up over the units of a row, by the kind of a link.
REDUCTIONS = {"sum": "sum_over_block", "mean": "sum_over_block", "maximum": "maximum_over_block"}


class Product(NamedTuple):
    """A library's product within a step.

    Attributes
    ----------
    operand : str
        Forward, the plane that is multiplied; backward, what the result is: empty for the first state.
    first, count : int
        Blocks of H rows of the recurrent weights, in the order of `Cell.preactivations`.
    adds : bool
        Backward, whether it adds to the result of another one.
    """

    operand: str
    first: int
    count: int
    adds: bool


@dataclass
class Part:
    """Products, then a kernel.

    Attributes
    ----------
    products : list of Product
    stages : list of int
        Numbers of the program's stages.
    copied : list of str
        What the kernel was given and the products behind it multiply: put in planes.
    """

    products: list[Product]
    stages: list[int] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)


def is_plain(cell: Cell) -> bool:
    """Say if a step is one product, with the first state, and one stage, of nothing but gates and states."""
    graph = cell.graph
    return [link.name for link in graph.links] == [""] and not cell.given and not graph.noise


@cache
def device_saved_row(cell: Cell) -> Row:
    """Names in a row of saved values on a GPU: as on the CPU, but for plain cells all are blocks."""
    return Row(tuple(saved_names(cell)), ()) if is_plain(cell) else saved_row(cell)


def saved_size(cell: Cell, H: int) -> int:
    """Numbers of a row of saved values."""
    row = device_saved_row(cell)
    return len(row.blocks) * H + len(row.numbers)


def _given(cell: Cell) -> set[str]:
    """What a step begins with, beside states: arguments that lie in no plane."""
    return {*cell.preactivations, *cell.given, *(noise.name for noise in cell.graph.noise)}


@cache
def forward_parts(cell: Cell) -> list[Part]:
    """The parts of a step."""
    return _parts(cell, forward_program(cell), _given(cell))


@cache
def backward_parts(cell: Cell) -> list[Part]:
    """The parts of a step's gradient; the last may have products alone."""
    return _parts(cell, backward_program(cell), set())


def _parts(cell: Cell, program: Program, given: set[str]) -> list[Part]:
    made = [Part([])]
    for k, stage in enumerate(program.stages):
        products = _products(cell, program, stage.links)
        if products:
            made[-1].copied += {product.operand: None for product in products if product.operand in given}
            made.append(Part(products))
        made[-1].stages.append(k)
    made.append(Part(_products(cell, program, program.last)))
    return [part for part in made if part.products or part.stages or part.copied]


def _products(cell: Cell, program: Program, links: Iterable[Step]) -> list[Product]:
    blocks = program.row.blocks
    return [
        Product(link.operand, first, count, bool(k)) for link in links if link.kind == "product"
        for k, (first, count) in enumerate(runs(sorted(blocks.index(f) - cell.recurrent_start for f in link.feeds)))
    ]  # fmt: skip


def work_planes(cell: Cell, backward: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the workspace's planes (B, H), and of its numbers behind them, (B,) each."""
    if not backward:
        row, copied = forward_program(cell).row, [name for part in forward_parts(cell) for name in part.copied]
        return tuple(name for name in row.blocks if name not in _given(cell) or name in copied), row.numbers
    row = backward_program(cell).row
    elsewhere = {f"d{name}" for name in (*cell.preactivations, *cell.given)}
    elsewhere |= {name for own in operands(cell) for name in (own, f"d{own}")}
    return tuple(name for name in row.blocks if name not in elsewhere), row.numbers


def operands(cell: Cell) -> tuple[str, ...]:
    """Names of the operands of the called gates' products."""
    return tuple(link.name for link in cell.graph.links if link.kind == "product" and link.name)


@cache
def recurrent_runs(cell: Cell) -> list[tuple[str, int, int]]:
    """Consecutive blocks of the recurrent weights with one operand, as (operand, first, count), in order."""
    fed, found = cell.preactivations[cell.recurrent_start :], []
    for link in cell.graph.links:
        if link.kind == "product":
            found += [(link.name, *run) for run in runs(sorted(map(fed.index, link.targets)))]
    return sorted(found, key=lambda run: run[1])


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
        f"    return ({_listed(f'new_{name}' for name in cell.states)}), ({_listed(f'saved_{name}' for name in saved)})\n",
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
            most = max(most, *(sum(REDUCTIONS[kind] == name for kind, _, _ in own) for name in REDUCTIONS.values()))
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
    for name in dict.fromkeys(REDUCTIONS[kind] for kind, _, _ in links):
        own = [link for link in links if REDUCTIONS[link[0]] == name]
        start = "real(0.0)" if name == "sum_over_block" else "lowest"
        lines += [f"value_{target} = {start}" for _, _, target in own] + ["UNITS"]
        for _, source, target in own:
            place = arrays.place(source)
            more = f"value_{target} + {place}" if start != "lowest" else f"maximum(value_{target}, {place})"
            lines.append(f"    value_{target} = {more}")
        values = "".join(f"value_{target}, " for _, _, target in own)
        lines.append(f"{values}= {name}_{len(own)}(shared, {values.removesuffix(', ')})")
        lines += [f"value_{target} = value_{target} / real(H)" for kind, _, target in own if kind == "mean"]
        lines += [f"if thread() == 0: number_{target}[0] = value_{target}" for _, _, target in own if target in later]
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
    given = {} if backward else _given(cell)
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
        draw = f"ones(key_{noise.name}, u, {limit})" if noise.kind == "bernoulli" else f"normal(key_{noise.name}, u)"
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
    row = (*cell.preactivations, *cell.given)
    for k, name in enumerate(row):
        pointers[f"at_d{name}"] = f"offset(numbers(a.dz), ((a.first + b) * {len(row)} + {k}) * H)"
    for k, name in enumerate(operands(cell)):
        pointers[f"at_{name}"] = f"offset(numbers(a.operands), {k} * a.operands_plane + (a.first + b) * H)"
        pointers[f"at_d{name}"] = f"offset(numbers(a.d_operands), ({k} * a.B + b) * H)"
    return _Arrays(pointers, places, backward_program(cell).row.numbers)

"""Cells as what other processes make them of: in pickles by name or by equations, in files by equations alone."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, Any

from nblstm.cells.recurrent_matrix import matrix_from_data
from nblstm.symbolic.as_text import DIALECT, check_text, equations_from, known, remember
from nblstm.symbolic.emit import emit_function
from nblstm.symbolic.graph import Value, topological
from nblstm.symbolic.importable import found_at, imported, is_found_elsewhere
from nblstm.symbolic.recorder import PER

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell


#: What `as_data` has as ``more`` for a cell of gates, states and vectors alone.
NOTHING_MORE = {"names": [[], [], [], []], "takes_x": False, "matrix": None, "noisy": True}


def reduce(cell: Cell) -> tuple:
    """The result of ``cell.__reduce__``."""
    if is_found_elsewhere(cell, cell.place):
        return _by_name, (type(cell), *cell.place)
    value = _value(cell)
    remember(value, cell)
    return _by_value, (type(cell), *value, cell.place, cell.__doc__)


def alike(one, other) -> bool:
    """Say if two objects are one, or cells with the same equations, of which a file may take one for the other."""
    return one is other or (type(one) is type(other) and _value(one) == _value(other))


def _value(cell: Cell) -> tuple:
    declared = cell.name, cell.gates, cell.states, cell.split, cell.called, cell.vectors, cell.output, cell.initial
    more = cell.input_only, cell.recurrent_only, cell.scalars, cell.signals, cell.takes_x, cell.matrix, cell.noisy
    return (declared, more), equations_text(cell)


def _by_name(kind: type[Cell], module: str, name: str) -> Cell:
    """Import the cell."""
    return imported(kind, "a cell", module, name)


def _by_value(kind: Any, declared: tuple, text: str, place: tuple[str, str], doc: str | None) -> Cell:
    """The cell of this process with the same equations, known or of the same place; else a new one."""
    value = declared, text
    same = known.get(value)
    if same is None:
        held = found_at(*place)
        same = held if isinstance(held, kind) and _value(held) == value else None
    if same is None:
        first, more = declared
        same = kind(*first, equations_from(text, first[0]), place, doc, *more)
    remember(value, same)
    return same


def as_data(cell: Cell) -> dict[str, Any]:
    """Lists, texts and numbers, for JSON, of which `from_data` makes the cell."""
    value = (declared, (*names, takes_x, matrix, noisy)), text = _value(cell)
    remember(value, cell)
    more = {"names": names, "takes_x": takes_x, "matrix": None if matrix is None else matrix.as_data(), "noisy": noisy}
    return {"declared": declared, "more": more, "equations": text, "doc": cell.__doc__}


def from_data(kind: type[Cell], data: dict[str, Any]) -> Cell:
    """The cell of this process with those equations, else a new one; a file can have no other code run.

    Raises
    ------
    ValueError
        If the equations are not such as `as_data` writes.
    """
    check_text(data["equations"])
    (name, *names, output, initial), more = data["declared"], data["more"]
    for own in (*[each for group in (*names, *more["names"]) for each in group], output):
        if not isinstance(own, str) or not own.isidentifier() or keyword.iskeyword(own) or own == "__debug__":
            raise ValueError(f"a cell in a file has {own!r} where a name is; make the file anew")
    matrix = None if more["matrix"] is None else matrix_from_data(more["matrix"])
    declared = (
        (name, *map(tuple, names), output, tuple(map(float, initial))),
        (*map(tuple, more["names"]), bool(more["takes_x"]), matrix, bool(more["noisy"])),
    )
    return _by_value(kind, declared, data["equations"], ("", ""), data["doc"])


def equations_text(cell: Cell) -> str:
    """The traced equations of a cell as the source of a function ``equations``, like the one that was traced."""
    graph = cell.graph
    known = {node: node.args[0] for node in graph.inputs}
    for noise in graph.noise:
        known[Value("input", noise.name)] = noise.name
    functions, lines = [], [
        f"    {own.name} = new_{own.kind}({own.p!r}, {PER.index(own.per)})\n" for own in graph.noise
    ]  # fmt: skip
    given = list(cell.arguments)
    ready = {name for name in given if name not in cell.functions} | {noise.name for noise in graph.noise}
    waiting = [link for link in graph.links if link.kind != "product" or {*link.targets} & {*cell.functions}]
    while waiting:
        link = next(own for own in waiting if ready.issuperset(_read(own.operand)))
        used = _used([link.operand], known)
        waiting = [own for own in waiting if own is not link]
        own = link.name or "operand_0"
        functions.append(emit_function(own, used, known, [(f"new_{own}", link.operand)], DIALECT))
        lines.append(f"    new_{own} = {own}({', '.join(used)})\n")
        for target in link.targets:
            if link.kind != "product":
                lines.append(f"    {target} = new_{link.kind}(new_{own})\n")
                known[Value("input", target)] = target
            elif target in cell.functions:
                lines.append(f"    {target} = {target}(new_{own})\n")
            ready.add(target)
    results = list(zip((f"new_{name}" for name in cell.states), graph.states, strict=True))
    used = _used(graph.states, known)
    if not lines:
        return emit_function("equations", cell.arguments, known, results, DIALECT)
    functions += [
        emit_function("new_states", used, known, results, DIALECT),
        f"def equations({', '.join(given)}):\n{''.join(lines)}    return new_states({', '.join(used)})\n",
    ]
    return "\n\n".join(functions)


def _read(value: Value) -> set[str]:
    """Names of all inputs that a value is computed from."""
    return {node.args[0] for node in topological([value]) if node.op == "input"}


def _used(values: list[Value], known: dict[Value, str]) -> list[str]:
    """Names of the inputs that values are computed from."""
    found = {*topological(values)}
    return [name for node, name in known.items() if node in found]

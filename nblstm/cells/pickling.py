"""Cells as what other processes make them of: in pickles by name or by equations, in files by equations alone."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, Any

from nblstm.symbolic.as_text import DIALECT, check_text, equations_from, known, remember
from nblstm.symbolic.emit import emit_function
from nblstm.symbolic.importable import found_at, imported, is_found_elsewhere

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell


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
    declared = cell.name, cell.gates, cell.states, cell.split, cell.second, cell.vectors, cell.output, cell.initial
    return declared, equations_text(cell)


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
        same = kind(*declared, equations_from(text, declared[0]), place, doc)
    remember(value, same)
    return same


def as_data(cell: Cell) -> dict[str, Any]:
    """Lists, texts and numbers, for JSON, of which `from_data` makes the cell."""
    declared, text = value = _value(cell)
    remember(value, cell)
    return {"declared": declared, "equations": text, "doc": cell.__doc__}


def from_data(kind: type[Cell], data: dict[str, Any]) -> Cell:
    """The cell of this process with those equations, else a new one; a file can have no other code run.

    Raises
    ------
    ValueError
        If the equations are not such as `as_data` writes.
    """
    check_text(data["equations"])
    name, *names, output, initial = data["declared"]
    declared = (name, *map(tuple, names), output, tuple(map(float, initial)))
    for own in (*[each for group in declared[1:6] for each in group], output):
        if not isinstance(own, str) or not own.isidentifier() or keyword.iskeyword(own) or own.startswith("_"):
            raise ValueError(f"a cell in a file has {own!r} where a name is; make the file anew")
    return _by_value(kind, declared, data["equations"], ("", ""), data["doc"])


def equations_text(cell: Cell) -> str:
    """The traced equations of a cell as the source of a function ``equations``, like the one that was traced."""
    graph = cell.graph
    inputs = {node: node.args[0] for node in graph.inputs}
    results = list(zip((f"new_{name}" for name in cell.states), graph.states, strict=True))
    if graph.operand is None:
        return emit_function("equations", cell.arguments, inputs, results, DIALECT)
    given = ", ".join(f"{name}(new_operand)" if name in cell.second else name for name in cell.arguments)
    return "\n\n".join([
        emit_function("operand", cell.first_arguments, inputs, [("new_operand", graph.operand)], DIALECT),
        emit_function("new_states", cell.arguments, inputs, results, DIALECT),
        f"def equations({', '.join(cell.arguments)}):\n"
        f"    new_operand = operand({', '.join(cell.first_arguments)})\n"
        f"    return new_states({given})\n",
    ])  # fmt: skip

"""Checks of a cell's declaration: what is wrong gets one sentence, before anything is traced."""

from __future__ import annotations

import inspect
import keyword
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from numbers import Real
from typing import TYPE_CHECKING

from nblstm.cells.recurrent_matrix import RecurrentMatrix
from nblstm.symbolic.graph import NUMERIC
from nblstm.symbolic.unsupported import CellError

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell

#: Names of values in generated code.
RESERVED = r"v\d+|(saved|new|kept|to|at)_.*|d?(operand|sum|mean|maximum|noise)_\d+"

#: Kinds of gates that exclude each other.
EXCLUSIVE = (
    ("split", "input_only"), ("split", "recurrent_only"), ("input_only", "recurrent_only"), ("called", "input_only"),
)  # fmt: skip


def names_of(cell_name: str, kind: str, names: str) -> tuple[str, ...]:
    """The names in a string."""
    if not isinstance(names, str):
        raise CellError(f"cell {cell_name!r} has {kind} {names!r}; write the names in one string, as {kind}='a b'")
    parts = tuple(unicodedata.normalize("NFKC", names).split())  # as Python reads identifiers
    bad = [name for name in parts if not name.isidentifier() or keyword.iskeyword(name) or name == "__debug__"]
    if bad:
        raise CellError(f"cell {cell_name!r} has {kind} named {bad[0]!r}; use Python identifiers")
    return parts


def initial_values_of(cell_name: str, states: tuple[str, ...], initial) -> tuple[float, ...]:
    """The value of each state before the first step."""
    given = {} if initial is None else initial
    if not isinstance(given, Mapping) or set(given) - set(states):
        raise CellError(
            f"cell {cell_name!r} has initial {initial!r}; give a dict from states, {' '.join(states)}, to numbers"
        )
    for name, value in given.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise CellError(f"cell {cell_name!r} has the initial value {value!r} of {name!r}; give a finite number")
    return tuple(float(given.get(name, 0)) for name in states)


def takes_x(equations: Callable, declared: tuple[str, ...]) -> bool:
    """Say if the equations have an argument ``x`` that is nothing else."""
    return "x" in inspect.signature(equations).parameters and not any("x" in names.split() for names in declared)


def check_recurs(what: str, base: Cell, gates: tuple[str, ...]) -> None:
    """Raise CellError if there are no recurrent products, those of ``gates``, which ``what`` would change."""
    if not gates:
        raise CellError(f"{what} is of recurrent weights, and no gate of the cell {base.name!r} has any; leave it out")


def check_declaration(made: Cell) -> None:
    """Raise CellError if names and arguments do not fit together."""
    if not made.gates and not made.given:
        raise CellError(f"cell {made.name!r} needs at least one gate, a signal or x, and one state")
    if not made.states:
        raise CellError(f"cell {made.name!r} needs at least one gate and one state")
    kinds = {
        "split": made.split, "called": made.called, "input_only": made.input_only, "recurrent_only": made.recurrent_only
    }  # fmt: skip
    for kind, names in kinds.items():
        unknown = [g for g in names if g not in made.gates]
        if unknown:
            raise CellError(f"cell {made.name!r} has {kind}={unknown[0]!r}, which is not one of its gates {made.gates}")
    for one, other in EXCLUSIVE:
        both = [g for g in kinds[one] if g in kinds[other]]
        if both:
            raise CellError(f"cell {made.name!r} has {both[0]!r} in {one} and in {other}, which exclude each other")
    if made.output not in made.states:
        raise CellError(
            f"cell {made.name!r} has the output {made.output!r}; name one of its states, {' '.join(made.states)}"
        )
    if made.matrix is not None and not isinstance(made.matrix, RecurrentMatrix):
        raise CellError(
            f"cell {made.name!r} has matrix={made.matrix!r}; give one of nblstm.cells, such as antisymmetric(0.01)"
        )
    if made.matrix is not None:
        check_recurs("matrix", made, made.recurrent_gates)
    expected = made.arguments
    if len(set(expected)) != len(expected):
        raise CellError(f"cell {made.name!r} uses a name twice among {' '.join(expected)}; give each its own")
    # Names that generated code gives to functions and to values of its own.
    taken = {*NUMERIC, "real", *(f"d{state}" for state in made.states)}
    reserved = [name for name in expected if name in taken or re.fullmatch(RESERVED, name)]
    # BPTT reads these arrays, and writes the gradient of each argument.
    gradients = {f"d{name}" for name in expected}
    reserved += [name for name in (*made.states, *made.vectors, *made.scalars) if name in gradients]
    if reserved:
        raise CellError(f"cell {made.name!r} uses the name {reserved[0]!r}, which generated code needs; choose another")
    parameters = {"weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"} & {*made.vectors, *made.scalars}
    if parameters:
        raise CellError(
            f"cell {made.name!r} has a vector or scalar {min(parameters)!r}, as networks name a parameter of theirs"
        )
    given = tuple(inspect.signature(made.equations).parameters)
    if len(given) != len(expected):
        raise CellError(
            f"cell {made.name!r} takes {len(given)} arguments ({' '.join(given)}), but its gates, states, signals, "
            f"vectors and scalars make {len(expected)}: {' '.join(expected)}"
        )
    if given != expected and set(given) == set(expected):
        raise CellError(
            f"cell {made.name!r} takes its arguments as {' '.join(given)}; the order is {' '.join(expected)}"
        )

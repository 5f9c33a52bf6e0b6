"""Cells called on numbers inside users' ``@njit`` functions: ``h, c = nblstm.cells.lstm(i, f, g, o, h, c)``.

To Numba a cell is a compiled function of its arguments, whose body is emitted from the cell's graph.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numba
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload, typeof_impl

from nblstm.cells.cell import Cell
from nblstm.cells.cell_graph import SecondGate
from nblstm.cells.source import inference_functions
from nblstm.numba_extension.functions import OPTIONS, dtype_of, scope_of
from nblstm.numba_extension.stamp import Stamp, hash_of
from nblstm.symbolic.emit import functions_from, symbol
from nblstm.symbolic.graph import Value


@typeof_impl.register(Cell)
def _typeof(cell: Cell, context) -> types.Type:
    cell.check()
    return numba.typeof(_function_of(cell))


@cache
def _function_of(cell: Cell):
    """The compiled function that stands for a cell; its overload casts the arguments to one dtype, by their types."""

    def new_states(*arguments):
        """Equations of the cell."""

    @overload(new_states, jit_options=OPTIONS, strict=False)
    def typed(*kinds):
        given = dict(zip(cell.arguments, kinds, strict=True))
        for name in cell.second:
            if not isinstance(kind := given.pop(name), types.Callable | types.FunctionType):
                raise TypingError(
                    f"the cell {cell.name!r} got {kind} for its second gate {name!r}; give a function compiled by "
                    "@njit, from its operand to its pre-activation"
                )
        return _compilable(cell, dtype_of(f"the cell {cell.name!r}", given.values()))

    arguments, name = ", ".join(cell.arguments), f"cell_{symbol(cell.name)}"
    source = f"def {name}({arguments}):\n    return new_states({arguments})\n"
    scope = {"new_states": new_states, "__name__": __name__}
    return numba.njit(**OPTIONS)(functions_from(source, f"cell {symbol(cell.name)} on numbers", scope)[name])


@cache
def _compilable(cell: Cell, dtype: str) -> Callable:
    """The equations of a cell for Numba to compile, from numbers of any type to ``dtype``."""
    # With names of its own: Numba's linker takes functions of equal names for equal ones.
    own = f"cell_{symbol(cell.name)}_{dtype}_{hash_of(cell)}"
    cast, operand = {name: f"real({name})" for name in cell.arguments}, ""
    if cell.second:
        operand = f"    operand = {own}_operand({', '.join(cast[name] for name in cell.first_arguments)})[0]\n"
        cast |= {name: f"real({name}(operand))" for name in cell.second}
    step = (
        f"def {own}({', '.join(cell.arguments)}):\n    new_stamp()\n{operand}"
        f"    return {own}_states({', '.join(cast.values())}){'' if _returns_tuple(cell) else '[0]'}\n"
    )
    source = "\n\n".join([*inference_functions(cell, own), step])
    return functions_from(source, f"cell {own}", scope_of(dtype, Stamp(cell)))[own]


def _returns_tuple(cell: Cell) -> bool:
    """True unless the equations return a single number, as those of most cells with one state do."""
    symbols = [SecondGate(name) if name in cell.second else Value("input", name) for name in cell.arguments]
    return isinstance(cell.equations(*symbols), tuple | list)

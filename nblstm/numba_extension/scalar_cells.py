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
from nblstm.cells.cell_graph import returns_tuple
from nblstm.cells.source import forward_functions, inlined
from nblstm.cells.stages import forward_program
from nblstm.numba_extension.functions import OPTIONS, dtype_of, scope_of
from nblstm.numba_extension.stamp import Stamp, hash_of
from nblstm.symbolic.emit import functions_from, symbol


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
        for name in cell.functions:
            if not isinstance(kind := given.pop(name), types.Callable | types.FunctionType):
                raise TypingError(
                    f"the cell {cell.name!r} got {kind} for its called gate {name!r}; give a function compiled by "
                    "@njit, from its operand to its pre-activation"
                )
        if any(link.kind != "product" for link in cell.graph.links):
            raise TypingError(f"the cell {cell.name!r} has sums over units, and is called on the numbers of one unit")
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
    cell = cell.without_noise
    values = {name: f"real({name})" for name in cell.arguments if name not in cell.functions}
    functions, lines = forward_functions(cell, False, own), ["new_stamp()"]
    for function, stage in zip(functions, forward_program(cell).stages, strict=True):
        for link in stage.links:
            operand = values.get(link.operand or cell.states[0], link.operand)
            values |= {name: f"real({name}({operand}))" for name in link.feeds if name in cell.functions}
        results = [f"to_{name}" for name in function.results]
        if results:
            given = ", ".join(values[name] for name in function.arguments)
            lines.append(f"{', '.join(results)}, = {function.name}({given})")
            values |= dict(zip(function.results, results, strict=True))
    returned = ", ".join(f"to_new_{name}" for name in cell.states)
    comma = "," if len(cell.states) == 1 and returns_tuple(cell) else ""
    body = "".join(f"    {line}\n" for line in lines)
    step = f"def {own}_step({', '.join(cell.arguments)}):\n{body}    return {returned}{comma}\n"
    source = "\n\n".join([*inlined(function.text for function in functions if function.text), step])
    return functions_from(source, f"cell {own}", scope_of(dtype, Stamp(cell)))[f"{own}_step"]

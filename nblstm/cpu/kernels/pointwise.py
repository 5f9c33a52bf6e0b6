"""A cell applied to rows of a batch: the kernels whose source is in `nblstm.cells.source`, compiled.

Source is generated, one line per array, because the number of arrays differs by cell. Sequence kernels call these
kernels by address, so those are compiled once for all cells.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.cells.cell import Cell
from nblstm.cells.source import BACKWARD, FORWARD, backward_rows_source, forward_rows_source
from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import distinct, offset
from nblstm.codegen.scalar import scalar_functions
from nblstm.codegen.target import inlined
from nblstm.symbolic.emit import functions_from, symbol

_POINTERS = {"z", "state", "vectors", "y", "tape", "saved", "d_state", "dy", "y_all", "tape_all", "d_vectors", "dz"}


@cache
def forward_rows(cell: Cell, dtype: str, training: bool, stage: int, taping: bool = False) -> int:
    """Address of the kernel that applies a stage of a cell to rows; its arguments are `FORWARD`."""
    name = f"{symbol(cell.name)}_{stage}_{'tape' if training else 'states' if taping else 'forward'}_{dtype}"
    return _compile(name, forward_rows_source(cell, dtype, training, stage, taping), FORWARD, dtype)


@cache
def backward_rows(cell: Cell, dtype: str, stage: int) -> int:
    """Address of the kernel that applies a stage of a cell's gradient to rows; its arguments are `BACKWARD`."""
    name = f"{symbol(cell.name)}_{stage}_backward_{dtype}"
    return _compile(name, backward_rows_source(cell, dtype, stage), BACKWARD, dtype)


def _compile(name: str, source: str, arguments: tuple[str, ...], dtype: str) -> int:
    def make():
        real = getattr(types, dtype)
        kinds = {**dict.fromkeys(_POINTERS, types.CPointer(real)), "previous": types.CPointer(types.int64)}
        scope = {**scalar_functions(dtype), "real": real, "distinct": distinct, "offset": offset, "inlined": inlined}
        rows = functions_from(source, f"cell {name}", scope)["rows"]
        return rows, types.void(*(kinds.get(argument, types.int64) for argument in arguments))

    return compiled(name, source, make)

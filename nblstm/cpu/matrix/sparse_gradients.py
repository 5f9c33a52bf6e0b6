"""dW_ih where inputs are mostly zeros: a row of dz for each number that is not 0.

Few programs need it, and it takes 0.2 s to compile: `gradients.py` asks for it when it has seen such inputs.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.instructions import smaller
from nblstm.codegen.pointers import local, offset
from nblstm.cpu.matrix.sparse import sparse_functions
from nblstm.cpu.matrix.vector import vector_unit

#: The most rows of a weight matrix that a part has.
WEIGHT_ROWS = 96


@cache
def sparse_weight_block(dtype: str) -> int:
    """Address of ``block(rows, units, N, dz, dz_row, x, x_row, start, start_row, target)``.

    ``target[u, k] = start[u, k] + sum over r of dz[r, u] * x[r, k]`` for ``k < N`` and ``u < units``, at most
    `WEIGHT_ROWS`, in ascending r; an ``x[r, k]`` of 0 is skipped.
    """

    def make():
        real, size = getattr(types, dtype), types.int64
        _, next_nonzero, add_multiple = sparse_functions(dtype)
        COLUMNS = 4 * vector_unit().lanes(dtype)
        NUMBERS = COLUMNS * WEIGHT_ROWS

        def block(rows, units, N, dz, dz_row, x, x_row, start, start_row, target):
            # Some columns at a time, transposed, in 24 KB on the stack: what a nonzero adds to then lies side by side.
            sums = local(real, NUMBERS)
            k0 = 0
            while k0 < N:
                columns = smaller(COLUMNS, N - k0)
                for k in range(columns):
                    for u in range(units):
                        sums[k * WEIGHT_ROWS + u] = start[u * start_row + k0 + k]
                for r in range(rows):
                    row = offset(x, r * x_row + k0)
                    k = next_nonzero(row, 0, columns)
                    while k < columns:
                        column = offset(sums, k * WEIGHT_ROWS)
                        add_multiple(units, row[k], offset(dz, r * dz_row), column, column)
                        k = next_nonzero(row, k + 1, columns)
                for k in range(columns):
                    for u in range(units):
                        target[u * N + k0 + k] = sums[k * WEIGHT_ROWS + u]
                k0 += columns

        pointer = types.CPointer(real)
        return block, types.void(size, size, size, pointer, size, pointer, size, pointer, size, pointer)

    return compiled(f"sparse_weight_block_{dtype}", "", make)

"""Rows that are mostly zeros, as one-hot rows are: found, and multiplied without the zeros.

A term 0 w changes no bit of a sum, so a product without them is the dense one, bit by bit, but where w is infinite or
NaN (then 0 w is NaN) or the sum is 0 (then its sign may differ). `thresholds.sparse_limit` decides which rows have few.

`kernels/inputs.py` computes ``W_ih x`` row by row with `sparse_functions`; `sparse_weight_block` is a block of
``dW_ih = dz^T x``. Few programs need that, and it takes 0.2 s to compile: `kernels/gradients.py` asks for it when it
has seen such inputs.
"""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba import types
from numba.core import cgutils

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import in_llvm, local, offset, smaller
from nblstm.cpu import thresholds
from nblstm.cpu.matrix.blocks import vector_unit
from nblstm.cpu.matrix.microkernel import Vectors

_INDEX = ir.IntType(64)


@cache
def sparse_functions(dtype: str):
    """Make ``nonzeros(x, n)``, ``next_nonzero(x, k, n)`` and ``add_multiple(n, a, x, start, y)``, for kernels."""
    real = getattr(types, dtype)
    integer, pointer, LANES = types.int64, types.CPointer(real), vector_unit().lanes(dtype)

    def vectors(builder, n):
        """Compute ``ceil(n / LANES)``."""
        return builder.sdiv(builder.add(n, _INDEX(LANES - 1)), _INDEX(LANES))

    def not_zero(builder, x, k, n):
        """Make an integer of which bit j is ``k + j < n and x[k + j] != 0``."""
        on = Vectors(builder, dtype)
        values = on.load(x, k, on.first(builder.sub(n, k)))
        bits = builder.fcmp_unordered("!=", values, ir.Constant(on.type, [0.0] * LANES))
        return builder.zext(builder.bitcast(bits, ir.IntType(LANES)), _INDEX)

    @in_llvm(integer(pointer, integer))
    def nonzeros(builder, x, n):
        """Count the k < n with ``x[k] != 0``; NaN is one."""
        total = cgutils.alloca_once_value(builder, _INDEX(0))
        with cgutils.for_range(builder, vectors(builder, n)) as loop:
            bits = not_zero(builder, x, builder.mul(loop.index, _INDEX(LANES)), n)
            builder.store(builder.add(builder.load(total), builder.ctpop(bits)), total)
        return builder.load(total)

    @in_llvm(integer(pointer, integer, integer))
    def next_nonzero(builder, x, k, n):
        """Find the smallest k of ``k ... n - 1`` with ``x[k] != 0``; n if there is none."""
        place = cgutils.alloca_once_value(builder, n)
        with cgutils.for_range(builder, vectors(builder, builder.sub(n, k))) as loop:
            first = builder.add(k, builder.mul(loop.index, _INDEX(LANES)))
            bits = not_zero(builder, x, first, n)
            with builder.if_then(builder.icmp_unsigned("!=", bits, _INDEX(0))):
                builder.store(builder.add(first, builder.cttz(bits, ir.IntType(1)(1))), place)
                loop.do_break()
        return builder.load(place)

    @in_llvm(types.void(integer, real, pointer, pointer, pointer))
    def add_multiple(builder, n, a, x, start, y):
        """Compute ``y[:n] = start[:n] + a x[:n]``, rounded as in the microkernel; ``start`` may be ``y``."""
        on = Vectors(builder, dtype)
        factor, full = on.splat(a), builder.sdiv(n, _INDEX(LANES))

        def vector(k, mask=None):
            on.store(on.multiply_add(factor, on.load(x, k, mask), on.load(start, k, mask)), y, k, mask)

        with cgutils.for_range(builder, full) as loop:
            vector(builder.mul(loop.index, _INDEX(LANES)))
        done = builder.mul(full, _INDEX(LANES))
        vector(done, on.first(builder.sub(n, done)))

    return nonzeros, next_nonzero, add_multiple


@cache
def sparse_weight_block(dtype: str) -> int:
    """Address of ``block(rows, units, N, dz, dz_row, x, x_row, start, start_row, target)``.

    ``target[u, k] = start[u, k] + sum over r of dz[r, u] * x[r, k]`` for ``k < N`` and ``u < units``, at most
    `thresholds.WEIGHT_GRADIENT_ROWS`, in ascending r; an ``x[r, k]`` of 0 is skipped.
    """

    def make():
        real, size = getattr(types, dtype), types.int64
        _, next_nonzero, add_multiple = sparse_functions(dtype)
        COLUMNS, UNITS = 4 * vector_unit().lanes(dtype), thresholds.WEIGHT_GRADIENT_ROWS
        NUMBERS = COLUMNS * UNITS

        def block(rows, units, N, dz, dz_row, x, x_row, start, start_row, target):
            # Columns k0 to k0 + columns at a time, transposed, in 24 KB on the stack: sums[k, u] is target[u, k0 + k],
            # so that what a nonzero adds to lies side by side.
            sums = local(real, NUMBERS)
            k0 = 0
            while k0 < N:
                columns = smaller(COLUMNS, N - k0)
                # sums = start^T
                for k in range(columns):
                    for u in range(units):
                        sums[k * UNITS + u] = start[u * start_row + k0 + k]
                # sums[k] += x[r, k] dz[r], for every x[r, k] that is not 0
                for r in range(rows):
                    row = offset(x, r * x_row + k0)
                    k = next_nonzero(row, 0, columns)
                    while k < columns:
                        column = offset(sums, k * UNITS)
                        add_multiple(units, row[k], offset(dz, r * dz_row), column, column)
                        k = next_nonzero(row, k + 1, columns)
                # target = sums^T
                for k in range(columns):
                    for u in range(units):
                        target[u * N + k0 + k] = sums[k * UNITS + u]
                k0 += columns

        pointer = types.CPointer(real)
        return block, types.void(size, size, size, pointer, size, pointer, size, pointer, size, pointer)

    return compiled(f"sparse_weight_block_{dtype}", "", make)

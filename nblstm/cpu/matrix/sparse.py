"""Rows that are mostly zeros, as one-hot rows are: found, and multiplied without the zeros.

A term 0 w changes no bit of a sum, so a product without them is the dense one, bit by bit, but where w is infinite or
NaN (then 0 w is NaN) or the sum is 0 (then its sign may differ).
"""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nblstm.cpu.matrix.microkernel import Vectors
from nblstm.cpu.matrix.vector import vector_unit

_INDEX = ir.IntType(64)


def sparse_limit(n: int, columns: int) -> int:
    """How many nonzeros rows of n numbers may have, on average, to be multiplied one by one, with so many columns.

    About half as many as where that takes as long as the dense product: on a Zen 4, in float32, rows of 103 numbers
    break even with 11 nonzeros of 64 columns, 15 of 128, 20 of 512 and 22 of 2048, rows of 512 numbers with 31, 50, 85
    and 90. Below 0, not even rows of zeros are worth looking for.
    """
    return n // (8 + 1024 // columns) - 1


@cache
def sparse_functions(dtype: str):
    """``nonzeros(x, n)``, ``next_nonzero(x, k, n)`` and ``add_multiple(n, a, x, start, y)``, for kernels."""
    real = getattr(types, dtype)
    integer, pointer, LANES = types.int64, types.CPointer(real), vector_unit().lanes(dtype)

    def vectors(builder, n):
        """How many vectors n numbers take."""
        return builder.sdiv(builder.add(n, _INDEX(LANES - 1)), _INDEX(LANES))

    def not_zero(builder, x, k, n):
        """A bit for each of a vector of numbers from k on, 1 where it is not 0 and before n."""
        on = Vectors(builder, dtype)
        values = on.load(x, k, on.first(builder.sub(n, k)))
        bits = builder.fcmp_unordered("!=", values, ir.Constant(on.type, [0.0] * LANES))
        return builder.zext(builder.bitcast(bits, ir.IntType(LANES)), _INDEX)

    @intrinsic
    def nonzeros(typingctx, x, n):
        """How many of n numbers are not 0, as NaN is not."""

        def codegen(context, builder, signature, args):
            x, n = args
            total = cgutils.alloca_once_value(builder, _INDEX(0))
            with cgutils.for_range(builder, vectors(builder, n)) as loop:
                bits = not_zero(builder, x, builder.mul(loop.index, _INDEX(LANES)), n)
                builder.store(builder.add(builder.load(total), builder.ctpop(bits)), total)
            return builder.load(total)

        return integer(pointer, integer), codegen

    @intrinsic
    def next_nonzero(typingctx, x, k, n):
        """Place of the first nonzero of n numbers from k on; n if there is none."""

        def codegen(context, builder, signature, args):
            x, k, n = args
            place = cgutils.alloca_once_value(builder, n)
            with cgutils.for_range(builder, vectors(builder, builder.sub(n, k))) as loop:
                first = builder.add(k, builder.mul(loop.index, _INDEX(LANES)))
                bits = not_zero(builder, x, first, n)
                with builder.if_then(builder.icmp_unsigned("!=", bits, _INDEX(0))):
                    builder.store(builder.add(first, builder.cttz(bits, ir.IntType(1)(1))), place)
                    loop.do_break()
            return builder.load(place)

        return integer(pointer, integer, integer), codegen

    @intrinsic
    def add_multiple(typingctx, n, a, x, start, y):
        """``y = start + a x`` for n numbers, rounded as in the microkernel; ``start`` may be ``y``."""

        def codegen(context, builder, signature, args):
            n, a, x, start, y = args
            on = Vectors(builder, dtype)
            factor, full = on.splat(a), builder.sdiv(n, _INDEX(LANES))

            def vector(k, mask=None):
                on.store(on.multiply_add(factor, on.load(x, k, mask), on.load(start, k, mask)), y, k, mask)

            with cgutils.for_range(builder, full) as loop:
                vector(builder.mul(loop.index, _INDEX(LANES)))
            done = builder.mul(full, _INDEX(LANES))
            vector(done, on.first(builder.sub(n, done)))
            return context.get_dummy_value()

        return types.void(integer, real, pointer, pointer, pointer), codegen

    return nonzeros, next_nonzero, add_multiple

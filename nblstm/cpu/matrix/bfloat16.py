"""Matrix products of bfloat16 operands with sums in float32, out of blocks of the microkernel.

A *pair* is two numbers that follow each other in the inner dimension, rounded to bfloat16, in the 32 bits of one number
of float32: ``pair = bits(a[k]) >> 16 | bits(a[k + 1]) & 0xffff0000``. So pairs lie in arrays of float32 as numbers do,
half as many, and the microkernel only multiplies them otherwise. An odd inner dimension is filled up with a 0.

Weights are rounded when they are packed, see `weights.py`; what they are multiplied with here, a few rows at a time.
"""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba import types
from numba.core import cgutils

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import distinct, in_llvm, larger, offset, smaller
from nblstm.codegen.target import inlined
from nblstm.cpu.matrix.blocks import panel_columns, register_block, vector_unit
from nblstm.cpu.matrix.microkernel import microkernel

#: Numbers of the inner dimension that are rounded at once, and rows of A: 96 KB of pairs, beside 64 KB of a panel.
K_BLOCK, ROWS = 512, 96


def pairs_of(K: int) -> int:
    """Pairs of an inner dimension."""
    return (K + 1) // 2


def _rounded(builder, x):
    """The bits of a float32 whose upper half is the nearest bfloat16, of two the even one; NaN stays NaN."""
    integer = ir.IntType(32)
    bits = builder.bitcast(x, integer)
    odd = builder.and_(builder.lshr(bits, ir.Constant(integer, 16)), ir.Constant(integer, 1))
    near = builder.add(builder.add(bits, ir.Constant(integer, 0x7FFF)), odd)
    return builder.select(builder.fcmp_unordered("uno", x, x), builder.or_(bits, ir.Constant(integer, 0x400000)), near)


@in_llvm(types.float32(types.float32, types.float32))
def pair(builder, first, second):
    """Two numbers of float32 as a pair of bfloat16."""
    integer = ir.IntType(32)
    lower = builder.lshr(_rounded(builder, first), ir.Constant(integer, 16))
    upper = builder.and_(_rounded(builder, second), ir.Constant(integer, 0xFFFF0000))
    return builder.bitcast(builder.or_(lower, upper), ir.FloatType())


@in_llvm(types.float32(types.float32, types.int64))
def of_pair(builder, value, k):
    """Number k, 0 or 1, of a pair."""
    integer = ir.IntType(32)
    bits = builder.bitcast(value, integer)
    first = builder.shl(bits, ir.Constant(integer, 16))
    second = builder.and_(bits, ir.Constant(integer, 0xFFFF0000))
    is_first = builder.icmp_signed("==", k, ir.Constant(ir.IntType(64), 0))
    return builder.bitcast(builder.select(is_first, first, second), ir.FloatType())


def _scratch(numbers: int):
    """The intrinsic ``scratch()``: memory for so many numbers of float32, for as long as the function runs."""

    @in_llvm(types.CPointer(types.float32)())
    def scratch(builder):
        memory = cgutils.alloca_once(builder, ir.FloatType(), size=ir.Constant(ir.IntType(64), numbers))
        memory.align = 64
        return memory

    return scratch


def _rounding():
    """The functions that round what products are made of: a row, two rows, and a last one alone."""
    real = types.float32

    @inlined
    def of_row(pairs, odd, row, target):
        """``target[p] = pair(row[2 p], row[2 p + 1])``."""
        distinct()
        for p in range(pairs - odd):
            target[p] = pair(row[2 * p], row[2 * p + 1])
        if odd:
            target[pairs - 1] = pair(row[2 * pairs - 2], real(0))

    @inlined
    def of_rows(n, first, second, target):
        """``target[i] = pair(first[i], second[i])``."""
        distinct()
        for i in range(n):
            target[i] = pair(first[i], second[i])

    @inlined
    def of_last_row(n, first, target):
        """``target[i] = pair(first[i], 0)``."""
        distinct()
        for i in range(n):
            target[i] = pair(first[i], real(0))

    return of_row, of_rows, of_last_row


def _rows_by_panel():
    """The function ``rows_by_panel(M, columns, pairs, a, a_row, a_k, b, b_k, init, init_row, c, c_row)``.

    One panel of C: in blocks of about as many rows each, see `gemm`.
    """
    block = microkernel("float32", pairs=True)
    MAX_ROWS, LANES = register_block()[0], vector_unit().lanes("float32")

    @inlined
    def rows_by_panel(M, columns, pairs, a, a_row, a_k, b, b_k, init, init_row, c, c_row):
        vectors, row_blocks, m = (columns + LANES - 1) // LANES, (M + MAX_ROWS - 1) // MAX_ROWS, 0
        for done in range(row_blocks):
            rows = (M - m + row_blocks - done - 1) // (row_blocks - done)
            block(
                rows, vectors, columns, pairs,
                offset(a, m * a_row), a_row, a_k,
                b, b_k,
                offset(init, m * init_row), init_row,
                offset(c, m * c_row), c_row,
            )  # fmt: skip
            m += rows

    return rows_by_panel


@cache
def bfloat16_gemm() -> int:
    """Address of a function as of `gemm`, for A by rows (``a_k = 1``) and packed weights of pairs.

    ``b_panel`` and ``b_k`` are the distances from panel to panel and from pair to pair, in numbers of float32.
    """

    def make():
        rows_by_panel, PANEL = _rows_by_panel(), panel_columns("float32")
        scratch, BLOCK_PAIRS = _scratch(ROWS * K_BLOCK // 2), K_BLOCK // 2
        of_row = _rounding()[0]

        def gemm(M, n0, n1, K, a, a_row, a_k, b, b_panel, b_k, init, init_row, c, c_row, descending):
            rounded = scratch()
            first, panels = n0 // PANEL, (n1 + PANEL - 1) // PANEL - n0 // PANEL
            for m0 in range(0, M, ROWS):
                count = smaller(M - m0, ROWS)
                start, start_row, k0 = init, init_row, 0
                while True:
                    # Rows m0 to m0 + count and inner numbers k0 to k0 + k of A, rounded.
                    k = smaller(K - k0, K_BLOCK)
                    pairs = (k + 1) // 2
                    for r in range(count):
                        row = offset(a, (m0 + r) * a_row + k0)
                        of_row(pairs, k % 2, row, offset(rounded, r * BLOCK_PAIRS))
                    for nth in range(panels):
                        panel = first + (panels - 1 - nth if descending else nth)
                        n = larger(n0, panel * PANEL)
                        columns = smaller(n1, (panel + 1) * PANEL) - n
                        b_block = offset(b, panel * b_panel + n - panel * PANEL + k0 // 2 * b_k)
                        rows_by_panel(
                            count, columns, pairs,
                            rounded, BLOCK_PAIRS, 1,
                            b_block, b_k,
                            offset(start, m0 * start_row + n), start_row,
                            offset(c, m0 * c_row + n), c_row,
                        )  # fmt: skip
                    k0 += k
                    if k0 >= K:
                        break
                    start, start_row = c, c_row

        return gemm, _signature()

    return compiled("gemm_bfloat16", "", make)


@cache
def bfloat16_columns_gemm() -> int:
    """Address of a function as of `gemm`, for A by columns (``a_row = 1``) and a plain row-major B."""

    def make():
        rows_by_panel, PANEL = _rows_by_panel(), panel_columns("float32")
        _, of_rows, of_last_row = _rounding()
        of_a, of_b = _scratch(ROWS * K_BLOCK // 2), _scratch(PANEL * K_BLOCK // 2)

        @inlined
        def rounded_rows(k, n, source, row, target, target_row):
            """Pairs of rows 0 and 1, 2 and 3, ..., k - 1 of a matrix with n columns."""
            for p in range(k // 2):
                above = offset(source, 2 * p * row)
                of_rows(n, above, offset(above, row), offset(target, p * target_row))
            if k % 2:
                of_last_row(n, offset(source, (k - 1) * row), offset(target, k // 2 * target_row))

        def gemm(M, n0, n1, K, a, a_row, a_k, b, b_panel, b_k, init, init_row, c, c_row, descending):
            columns_of_a, panel_of_b = of_a(), of_b()
            for m0 in range(0, M, ROWS):
                count = smaller(M - m0, ROWS)
                start, start_row, k0 = init, init_row, 0
                while True:
                    k = smaller(K - k0, K_BLOCK)
                    rounded_rows(k, count, offset(a, k0 * a_k + m0), a_k, columns_of_a, ROWS)
                    for n in range(n0, n1, PANEL):
                        columns = smaller(n1 - n, PANEL)
                        rounded_rows(k, columns, offset(b, k0 * b_k + n), b_k, panel_of_b, PANEL)
                        rows_by_panel(
                            count, columns, (k + 1) // 2,
                            columns_of_a, 1, ROWS,
                            panel_of_b, PANEL,
                            offset(start, m0 * start_row + n), start_row,
                            offset(c, m0 * c_row + n), c_row,
                        )  # fmt: skip
                    k0 += k
                    if k0 >= K:
                        break
                    start, start_row = c, c_row

        return gemm, _signature()

    return compiled("gemm_bfloat16_columns", "", make)


def _signature():
    size, pointer = types.int64, types.CPointer(types.float32)
    matrices = [pointer, size, size, pointer, size, size, pointer, size, pointer, size]
    return types.void(*[size] * 4, *matrices, size)

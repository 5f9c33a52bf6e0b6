"""Matrix products for the loops over time: C = init + A B, out of blocks of the microkernel.

Dimension letters: M rows of A and C, N columns of B and C, K inner. A *panel* is as many columns of B as one
block of the microkernel takes; `blocks.py` has the sizes.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import larger, offset, smaller
from nblstm.cpu.matrix.blocks import K_BLOCK, panel_columns, register_block, vector_unit
from nblstm.cpu.matrix.microkernel import microkernel


@cache
def gemm(dtype: str) -> int:
    """Address of ``gemm(M, n0, n1, K, a, a_row, a_k, b, b_panel, b_k, init, init_row, c, c_row, descending)``.

    ``c[m, n] = init[m, n] + sum over k of a[m, k] * b[k, n]`` for ``n0 <= n < n1``. ``a[m, k]`` is at
    ``a + m a_row + k a_k``; ``b[k, n]`` is at ``b + (n // P) b_panel + k b_k + n % P`` for panels of ``P`` columns,
    which describes packed weights (``b_panel = K P``, ``b_k = P``) and a plain row-major matrix (``b_panel = P``,
    ``b_k`` its row stride) alike. ``init_row = 0`` adds the same row to all; ``init`` may be ``c``. ``descending = 1``
    takes the panels from the last to the first: where a product is repeated with weights that exceed the L2 cache,
    turning round each time finds the last ones still there.
    """

    def make():
        block = microkernel(dtype)
        MAX_ROWS, LANES, PANEL = register_block()[0], vector_unit().lanes(dtype), panel_columns(dtype)

        def gemm(M, n0, n1, K, a, a_row, a_k, b, b_panel, b_k, init, init_row, c, c_row, descending):
            if M <= 0:
                return
            row_blocks = (M + MAX_ROWS - 1) // MAX_ROWS
            # C = init + A[:, :K_BLOCK] B[:K_BLOCK], then C += A[:, k0 : k0 + k] B[k0 : k0 + k]. One block of rows reads
            # B only once, so takes all of K at a time.
            k0 = 0
            while True:
                k = K - k0 if row_blocks == 1 else smaller(K - k0, K_BLOCK)
                # Columns n to n + columns: those of one panel that are within n0 ... n1.
                first, panels = n0 // PANEL, (n1 + PANEL - 1) // PANEL - n0 // PANEL
                for nth in range(panels):
                    panel = first + (panels - 1 - nth if descending else nth)
                    n = larger(n0, panel * PANEL)
                    columns = smaller(n1, (panel + 1) * PANEL) - n
                    vectors = (columns + LANES - 1) // LANES
                    b_block = offset(b, panel * b_panel + n - panel * PANEL + k0 * b_k)
                    # Rows m to m + rows, in blocks of about the same size: 32 are 6 6 5 5 5 5, not 6 6 6 6 6 2.
                    m = 0
                    for done in range(row_blocks):
                        rows = (M - m + row_blocks - done - 1) // (row_blocks - done)
                        block(
                            rows, vectors, columns, k,
                            offset(a, m * a_row + k0 * a_k), a_row, a_k,
                            b_block, b_k,
                            offset(init, m * init_row + n), init_row,
                            offset(c, m * c_row + n), c_row,
                        )  # fmt: skip
                        m += rows
                k0 += k
                if k0 >= K:
                    return
                init, init_row = c, c_row

        size, pointer = types.int64, types.CPointer(getattr(types, dtype))
        return gemm, types.void(
            size, size, size, size, pointer, size, size, pointer, size, size, pointer, size, pointer, size, size
        )  # fmt: skip

    return compiled(f"gemm_{dtype}", "", make)

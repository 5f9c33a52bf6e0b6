"""Matrix products for the sequence loops: C = init + A B, out of blocks of the microkernel.

Dimension letters: M rows of A and C, N columns of B and C, K inner. A *panel* is as many columns of B as one
block of the microkernel takes.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.instructions import larger, smaller
from nblstm.codegen.pointers import offset
from nblstm.cpu.matrix.microkernel import microkernel
from nblstm.cpu.matrix.vector import vector_unit

#: Inner dimension of one pass. A panel's slice (64 columns x 384 x 4 bytes = 96 KB) and the rows of A that it
#: meets stay in a 1 MB L2 cache.
K_BLOCK = 384


def panel_columns(dtype: str) -> int:
    """Columns of B that one block of the microkernel takes."""
    return vector_unit().tile[1] * vector_unit().lanes(dtype)


def padded(columns: int, dtype: str) -> int:
    """``columns`` rounded up to whole panels."""
    panel = panel_columns(dtype)
    return -(-columns // panel) * panel


def gemm_signature(dtype: str):
    """Arguments of `gemm`'s kernel, as Numba types."""
    size, pointer = types.int64, types.CPointer(getattr(types, dtype))
    return types.void(
        size, size, size, size, pointer, size, size, pointer, size, size, pointer, size, pointer, size, size
    )  # fmt: skip


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
        unit = vector_unit()
        MAX_ROWS, LANES, PANEL = unit.tile[0], unit.lanes(dtype), panel_columns(dtype)

        def gemm(M, n0, n1, K, a, a_row, a_k, b, b_panel, b_k, init, init_row, c, c_row, descending):
            if M <= 0:
                return
            tiles = (M + MAX_ROWS - 1) // MAX_ROWS
            k0 = 0
            while True:
                k = K - k0 if tiles == 1 else smaller(K - k0, K_BLOCK)
                first, panels = n0 // PANEL, (n1 + PANEL - 1) // PANEL - n0 // PANEL
                for walked in range(panels):
                    panel = first + (panels - 1 - walked if descending else walked)
                    n = larger(n0, panel * PANEL)
                    columns = smaller(n1, (panel + 1) * PANEL) - n
                    vectors = (columns + LANES - 1) // LANES
                    b_block = offset(b, panel * b_panel + n - panel * PANEL + k0 * b_k)
                    m = 0
                    for tile in range(tiles):  # 32 rows are 6 6 5 5 5 5 rather than 6 6 6 6 6 2
                        rows = (M - m + tiles - tile - 1) // (tiles - tile)
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

        return gemm, gemm_signature(dtype)

    return compiled(f"gemm_{dtype}", "", make)

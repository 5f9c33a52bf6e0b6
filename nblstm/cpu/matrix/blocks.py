"""Block sizes of the matrix kernel: what stays in registers, and what in the L2 cache.

Dimension letters: C (M, N) = init + A (M, K) B (K, N). A *vector* is as many numbers as one register holds; a *panel*
is as many columns of B as one block of C takes. ``asv run --quick -E existing -b FractionOfPeak`` measures what other
sizes do.
"""

from __future__ import annotations

from nblstm.cpu.matrix.vector import vector_unit

#: Rows, and vectors across, of the block of C that `microkernel` keeps in registers, by how many registers there are.
#: 6 x 4 vectors need 24 accumulators, 4 vectors of B and 1 for A: 29 of 32 registers; 6 x 2 need 15 of 16.
REGISTER_BLOCK = {32: (6, 4), 16: (6, 2)}

#: Inner dimension of one pass of `gemm`: a slice of a panel (64 columns x 384 x 4 bytes = 96 KB) and the rows of A that
#: it meets stay in a 1 MB L2 cache.
K_BLOCK = 384


def register_block() -> tuple[int, int]:
    """Look up `REGISTER_BLOCK` for this machine: rows, and vectors across."""
    return REGISTER_BLOCK[vector_unit().registers]


def panel_columns(dtype: str) -> int:
    """Columns of B that one block of C takes."""
    return register_block()[1] * vector_unit().lanes(dtype)


def padded(columns: int, dtype: str) -> int:
    """``columns`` rounded up to whole panels."""
    panel = panel_columns(dtype)
    return -(-columns // panel) * panel

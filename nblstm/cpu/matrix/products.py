"""Matrix products in a precision: the kernels, and how far panels of packed weights lie apart.

A precision is "float32", "float64", or "bfloat16": operands rounded to it, sums and all else in float32.
"""

from __future__ import annotations

from nblstm.cpu.matrix.bfloat16 import bfloat16_columns_gemm, bfloat16_gemm, pairs_of
from nblstm.cpu.matrix.blocks import panel_columns
from nblstm.cpu.matrix.gemm import gemm


def dtype_of(precision: str) -> str:
    """The dtype of sums, states and everything else."""
    return "float32" if precision == "bfloat16" else precision


def product(precision: str) -> int:
    """Address of the product with packed weights; see `gemm`."""
    return bfloat16_gemm() if precision == "bfloat16" else gemm(precision)


def product_of_columns(precision: str) -> int:
    """Address of the product of a matrix by columns with a plain row-major one; see `gemm`."""
    return bfloat16_columns_gemm() if precision == "bfloat16" else gemm(precision)


def panel_numbers(precision: str, K: int, run: int = 0) -> int:
    """Numbers from one panel of packed weights to the next, of K inner numbers; see `inner_numbers`."""
    return inner_numbers(precision, K, run) * panel_columns(dtype_of(precision))


def inner_numbers(precision: str, K: int, run: int = 0) -> int:
    """Rows of a panel: K, or pairs of them; each ``run`` of the K numbers, by default all, begins with a new pair."""
    run = run or K
    return K // max(1, run) * pairs_of(run) if precision == "bfloat16" else K

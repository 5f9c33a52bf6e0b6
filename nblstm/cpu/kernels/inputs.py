"""Input's share of the pre-activations: W x + b for some steps at once, before the recurrence adds its own.

A dense product, panel by panel; but of rows that are mostly zeros, as one-hot rows are, only what is not 0 is
multiplied, in the same order and with the same bits. See `sparse.py`.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.instructions import larger, smaller
from nblstm.codegen.pointers import call, offset, pointer_to
from nblstm.codegen.target import inlined
from nblstm.cpu.jobs import FORWARD, pointer_type
from nblstm.cpu.matrix.gemm import panel_columns
from nblstm.cpu.matrix.sparse import sparse_functions


@cache
def input_products(dtype: str) -> int:
    """Address of ``input_products(job, z, t0, steps, b0, b1, u0, u1)``; its job is one of `jobs.FORWARD`.

    For batch rows b0 to b1, hidden units u0 to u1 and ``steps`` steps from t0, into rows of z: b1 - b0 for each step.
    """

    def make():
        real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)
        nonzeros, next_nonzero, add_multiple = sparse_functions(dtype)

        @inlined
        def sparse_row(job, x, z, u0, width, blocks):
            """A row of weights for each number that is not 0, added to the bias."""
            I, start, k = job.I, pointer_to(job.bias, real), smaller(next_nonzero(x, 0, job.I), job.I - 1)
            while k < I:
                for block in range(blocks):
                    n = block * job.H + u0
                    end = n + width
                    while n < end:
                        panel = n // PANEL
                        until = smaller(end, (panel + 1) * PANEL)
                        weights = offset(pointer_to(job.w_x, real), (panel * I + k) * PANEL + n - panel * PANEL)
                        add_multiple(until - n, x[k], weights, offset(start, n), offset(z, n))
                        n = until
                start, k = z, next_nonzero(x, k + 1, I)

        def products(job, z, t0, steps, b0, b1, u0, u1):
            H, I, z_row, fed = job.H, job.I, job.z_row, job.input_columns
            active, first_row = pointer_to(job.active, integer), pointer_to(job.offset, integer)
            x, w_x, bias = pointer_to(job.x, real), pointer_to(job.w_x, real), pointer_to(job.bias, real)
            # All units are one block of columns, some are one in each block of H.
            blocks, width = (1, fed) if u1 - u0 == H else (fed // H, u1 - u0)
            # The first steps row by row, as long as they are mostly zeros.
            t = t0
            while t < t0 + steps:
                rows, x_t = smaller(larger(active[t] - b0, 0), b1 - b0), offset(x, (first_row[t] + b0) * job.x_row)
                left, r = rows * job.sparse, 0
                while r < rows and left >= 0:
                    left -= nonzeros(offset(x_t, r * job.x_row), I)
                    r += 1
                if left < 0:
                    break
                for r in range(rows):
                    z_r = offset(z, ((t - t0) * (b1 - b0) + r) * z_row)
                    sparse_row(job, offset(x_t, r * job.x_row), z_r, u0, width, blocks)
                t += 1
            # The others panel by panel, so that each panel of weights is fetched once for all steps.
            dense = t
            for block in range(blocks):
                start, end = block * H + u0, block * H + u0 + width
                while start < end:
                    until = smaller(end, (start // PANEL + 1) * PANEL)
                    t = dense
                    while t < t0 + steps:
                        rows, together = smaller(larger(active[t] - b0, 0), b1 - b0), 1
                        if rows == b1 - b0 and rows == active[t]:
                            # The part has all of the batch: rows of consecutive steps adjoin, take them at once.
                            while t + together < t0 + steps and active[t + together] == rows:
                                together += 1
                        call(job.gemm, (
                            rows * together, start, until, I,
                            offset(x, (first_row[t] + b0) * job.x_row), job.x_row, 1,
                            w_x, I * PANEL, PANEL,
                            bias, 0,
                            offset(z, (t - t0) * (b1 - b0) * z_row), z_row,
                            0,
                        ))  # fmt: skip
                        t += together
                    start = until
            for block in range(fed // H, (job.recurrent_start + job.recurrent_columns) // H):
                constant = offset(bias, block * H)  # of pre-activations that the input does not feed
                for r in range(steps * (b1 - b0)):
                    target = offset(z, r * z_row + block * H)
                    for u in range(u0, u1):
                        target[u] = constant[u]

        return products, types.void(pointer_type(FORWARD), types.CPointer(real), *[integer] * 6)

    return compiled(f"inputs_{dtype}", "", make)

"""Gradients of weights, biases and input, from the gradients of the pre-activations of many steps.

dW_ih = dz^T x, dW_hh = dz^T h_prev, db = sum of dz, dx = dz W_ih: ordinary matrix products whose inner dimension, for
the weights, is packed rows. A part owns a block of results, so sums over rows run in one order for any number
of threads.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.pointers import call, offset, pointer_to, record
from nblstm.cpu.gemm import panel_columns
from nblstm.cpu.jobs import GRADIENTS, pointer_type


@cache
def gradients_kernel(dtype: str) -> int:
    """Address of ``gradients(jobs, part)``; its jobs are `jobs.GRADIENTS`."""

    def make():
        real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)

        def gradients(jobs, part):
            parts = record(jobs, 0).parts
            job = record(jobs, part // parts)
            part = part % parts
            rows, I, H, block, dz_row = job.rows, job.I, job.H, job.block, job.dz_row
            dz = pointer_to(job.dz, real)

            if part >= job.weight_parts:  # dx, some packed rows
                r = (part - job.weight_parts) * job.row_block
                fed = job.gates * H
                call(job.gemm, (
                    min(job.row_block, rows - r), I, fed,
                    offset(dz, r * dz_row), dz_row, 1,
                    pointer_to(job.w_x, real), fed * PANEL, PANEL,
                    pointer_to(job.zeros, real), 0,
                    offset(pointer_to(job.dx, real), r * job.dx_row), job.dx_row,
                ))  # fmt: skip
                return

            blocks = (H + block - 1) // block
            kind, u = part // blocks, part % blocks * block
            units = min(block, H - u)
            column = kind * H + u
            if kind < job.gates:
                row = pointer_to(job.input_order, integer)[kind] * H + u
                call(job.gemm, (
                    units, I, rows,
                    offset(dz, column), 1, dz_row,
                    pointer_to(job.x, real), PANEL, job.x_row,
                    offset(pointer_to(job.d_weight_ih, real), row * I), I,
                    offset(pointer_to(job.d_weight_ih, real), row * I), I,
                ))  # fmt: skip
                if job.d_bias_ih != 0:
                    total = offset(pointer_to(job.d_bias_ih, real), row)
                    for r in range(rows):
                        for n in range(units):
                            total[n] += dz[r * dz_row + column + n]
            if kind * H >= job.recurrent_start:
                row = pointer_to(job.recurrent_order, integer)[kind - job.recurrent_start // H] * H + u
                call(job.gemm, (
                    units, H, rows,
                    offset(dz, column), 1, dz_row,
                    pointer_to(job.h, real), PANEL, job.h_row,
                    offset(pointer_to(job.d_weight_hh, real), row * H), H,
                    offset(pointer_to(job.d_weight_hh, real), row * H), H,
                ))  # fmt: skip
                if job.d_bias_hh != 0:
                    total = offset(pointer_to(job.d_bias_hh, real), row)
                    for r in range(rows):
                        for n in range(units):
                            total[n] += dz[r * dz_row + column + n]

        return gradients, types.void(pointer_type(GRADIENTS), integer)

    return compiled(f"gradients_{dtype}", "", make)

"""Gradients of weights, biases and input, from the gradients of the pre-activations of many steps.

dW_ih = dz^T x, dW_hh = dz^T h_prev (of second gates, dz^T operand), db = sum of dz, dx = dz W_ih: ordinary matrix
products whose inner dimension, for the weights, is packed rows. A part owns a block of results, so sums over rows run
in one order for any number of threads.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.instructions import larger, smaller
from nblstm.codegen.pointers import call, distinct, offset, pointer_to, record
from nblstm.codegen.target import called, inlined
from nblstm.cpu.jobs import GRADIENTS, pointer_type
from nblstm.cpu.matrix.gemm import panel_columns
from nblstm.cpu.matrix.sparse import sparse_functions


@cache
def gradients_kernel(dtype: str) -> int:
    """Address of ``gradients(jobs, part)``; its jobs are `jobs.GRADIENTS`."""

    def make():
        real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)
        ITEM = real.bitwidth // 8
        nonzeros = sparse_functions(dtype)[0]

        @inlined
        def add_rows(rows, units, dz, dz_row, total):
            """Add rows of dz to ``total``, one after the other; four in each walk, for fewer loads and stores of it."""
            distinct()
            r = 0
            while r + 4 <= rows:
                row = offset(dz, r * dz_row)
                for n in range(units):
                    total[n] = total[n] + row[n] + row[dz_row + n] + row[2 * dz_row + n] + row[3 * dz_row + n]
                r += 4
            while r < rows:
                row = offset(dz, r * dz_row)
                for n in range(units):
                    total[n] += row[n]
                r += 1

        @inlined
        def set_row(N, scale, row, target):
            """``scale`` times a row, plus 0, with which the product of matrices begins."""
            distinct()
            for k in range(N):
                target[k] = scale * row[k] + real(0)

        @inlined
        def mostly_zeros(job):
            """Whether rows of x have few nonzeros on average; it ends once the first have too many, even for 16."""
            x, found, r = pointer_to(job.x, real), 0, 0
            while r < job.rows and found <= job.sparse * larger(r, 16):
                found += nonzeros(offset(x, r * job.x_row), job.I)
                r += 1
            return r == job.rows and found <= job.sparse * r

        @inlined
        def sparse_block_made(job):
            """Whether there is the kernel that skips zeros; asks for it if not."""
            if job.sparse_block == 0:
                pointer_to(job.asked, integer)[0] = 1
            return job.sparse_block != 0

        @called
        def weight_block(job, units, N, dz, inputs, inputs_row, d_weight, d_bias, row):
            """Rows ``row`` to ``row + units`` of dW = dz^T inputs (.., N) and of db."""
            target = offset(pointer_to(d_weight, real), row * N)
            start, start_row = (target, N) if job.accumulate else (pointer_to(job.zeros, real), 0)
            if d_bias != 0:  # first, as it walks through dz in order, which then is in the L2 cache
                total = offset(pointer_to(d_bias, real), row)
                if not job.accumulate:
                    for n in range(units):
                        total[n] = 0
                add_rows(job.rows, units, dz, job.dz_row, total)
            if N == 1:  # a column: as a row, dz^T fills vectors of which it would use one lane
                call(job.gemm, (
                    1, 0, units, job.rows,
                    pointer_to(inputs, real), 1, inputs_row,
                    dz, PANEL, job.dz_row,
                    start, 0,
                    target, 0,
                    0,
                ))  # fmt: skip
            elif job.rows == 1 and not job.accumulate:
                # There is nothing to do but to write, so row by row, as they lie in memory: 285 us for one step of
                # I = H = 512 on two threads, and 414 block by block.
                for r in range(units):
                    set_row(N, dz[r], pointer_to(inputs, real), offset(target, r * N))
            elif inputs == job.x and mostly_zeros(job) and sparse_block_made(job):
                call(job.sparse_block, (
                    job.rows, units, N, dz, job.dz_row, pointer_to(inputs, real), inputs_row, start, start_row, target,
                ))  # fmt: skip
            else:
                call(job.gemm, (
                    units, 0, N, job.rows,
                    dz, 1, job.dz_row,
                    pointer_to(inputs, real), PANEL, inputs_row,
                    start, start_row,
                    target, N,
                    0,
                ))  # fmt: skip

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
                    smaller(job.row_block, rows - r), 0, I, fed,
                    offset(dz, r * dz_row), dz_row, 1,
                    pointer_to(job.w_x, real), fed * PANEL, PANEL,
                    pointer_to(job.zeros, real), 0,
                    offset(pointer_to(job.dx, real), r * job.dx_row), job.dx_row,
                    0,
                ))  # fmt: skip
                return

            blocks = (H + block - 1) // block
            kind, u = part // blocks, part % blocks * block
            units = smaller(block, H - u)
            dz_block = offset(dz, kind * H + u)
            if kind < job.gates:
                row = pointer_to(job.input_order, integer)[kind] * H + u
                weight_block(job, units, I, dz_block, job.x, job.x_row, job.d_weight_ih, job.d_bias_ih, row)
            if kind * H >= job.recurrent_start:
                row = pointer_to(job.recurrent_order, integer)[kind - job.recurrent_start // H] * H + u
                second = kind * H < job.recurrent_start + job.second_columns
                h, h_row = (job.dz + job.operand_start * ITEM, dz_row) if second else (job.h, job.h_row)
                weight_block(job, units, H, dz_block, h, h_row, job.d_weight_hh, job.d_bias_hh, row)

        return gradients, types.void(pointer_type(GRADIENTS), integer)

    return compiled(f"gradients_{dtype}", "", make)

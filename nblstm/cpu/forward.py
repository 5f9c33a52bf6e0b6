"""The loop over time, forward: one direction of one layer, rows of the batch split into parts.

T time, B batch, I input, H hidden. For a few steps at once the input's share of the pre-activations is computed as one
matrix product; then, step by step, the recurrence adds its share in place and the cell turns them into states. A
part runs all steps of its rows without waiting for any other.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.pointers import call, offset, pointer_to, record
from nblstm.cpu.gemm import panel_columns
from nblstm.cpu.jobs import FORWARD, pointer_type


@cache
def forward_kernel(dtype: str) -> int:
    """Address of ``forward(jobs, part)``; its jobs are `jobs.FORWARD`."""

    def make():
        real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)

        def forward(jobs, part):
            parts = record(jobs, 0).parts
            job = record(jobs, part // parts)
            part = part % parts
            b0, b1 = pointer_to(job.bounds, integer)[part], pointer_to(job.bounds, integer)[part + 1]
            T, I, H, z_row, x_row = job.T, job.I, job.H, job.z_row, job.x_row
            active, first_row = pointer_to(job.active, integer), pointer_to(job.offset, integer)
            x, w_x, bias = pointer_to(job.x, real), pointer_to(job.w_x, real), pointer_to(job.bias, real)
            z = offset(pointer_to(job.z, real), part * job.z_part)
            state, vectors = offset(pointer_to(job.state, real), b0 * H), pointer_to(job.vectors, real)
            w_h, y = pointer_to(job.w_h, real), pointer_to(job.y, real)
            tape, saved = pointer_to(job.tape, real), pointer_to(job.saved, real)
            fed, recurrent, start = job.input_columns, job.recurrent_columns, job.recurrent_start

            s0 = 0
            while s0 < T:  # not range(0, T, segment): that could raise, and a kernel that can raise needs Python
                steps = min(job.segment, T - s0)
                t0 = T - s0 - steps if job.reverse else s0  # the segment is t0 ... t0 + steps - 1 either way
                # Input products, panel by panel so that each panel of weights is fetched once for all steps.
                for n0 in range(0, fed, PANEL):
                    t = t0
                    while t < t0 + steps:
                        rows, together = min(max(active[t] - b0, 0), b1 - b0), 1
                        if rows == b1 - b0 and rows == active[t]:
                            # The part has all of the batch: rows of consecutive steps adjoin, take them at once.
                            while t + together < t0 + steps and active[t + together] == rows:
                                together += 1
                        call(job.gemm, (
                            rows * together, min(PANEL, fed - n0), I,
                            offset(x, (first_row[t] + b0) * x_row), x_row, 1,
                            offset(w_x, n0 * I), I * PANEL, PANEL,
                            offset(bias, n0), 0,
                            offset(z, (t - t0) * (b1 - b0) * z_row + n0), z_row,
                        ))  # fmt: skip
                        t += together
                if fed < start + recurrent:  # the constant of pre-activations that the input does not feed
                    for r in range(steps * (b1 - b0)):
                        for n in range(fed, start + recurrent):
                            z[r * z_row + n] = bias[n]
                for step in range(steps):
                    t = t0 + (steps - 1 - step if job.reverse else step)
                    rows = min(max(active[t] - b0, 0), b1 - b0)
                    if rows > 0:
                        row = first_row[t] + b0
                        z_t = offset(z, (t - t0) * (b1 - b0) * z_row)
                        call(job.gemm, (
                            rows, recurrent, H,
                            state, H, 1,
                            w_h, H * PANEL, PANEL,
                            offset(z_t, start), z_row,
                            offset(z_t, start), z_row,
                        ))  # fmt: skip
                        call(job.pointwise, (
                            rows, H,
                            z_t, z_row,
                            state, job.state_plane, H,
                            vectors,
                            offset(y, row * job.y_row), job.y_row,
                            offset(tape, row * job.tape_row), job.tape_plane, job.tape_row,
                            offset(saved, row * job.saved_row), job.saved_row,
                        ))  # fmt: skip
                s0 += steps

        return forward, types.void(pointer_type(FORWARD), integer)

    return compiled(f"forward_{dtype}", "", make)

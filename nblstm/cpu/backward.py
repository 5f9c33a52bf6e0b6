"""The loop over time, backward: from gradients of outputs and states to gradients of pre-activations.

The mirror of `forward.py`: per step the cell's derived gradient, then one matrix product that carries the
pre-activations' gradient back to the previous output. What is proportional to all steps at once (gradients of weights
and input) follows in `gradients.py`.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.pointers import call, offset, pointer_to, record
from nblstm.cpu.gemm import panel_columns
from nblstm.cpu.jobs import BACKWARD, pointer_type


@cache
def backward_kernel(dtype: str) -> int:
    """Address of ``backward(jobs, part)``; its jobs are `jobs.BACKWARD`."""

    def make():
        real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)

        def backward(jobs, part):
            parts = record(jobs, 0).parts
            job = record(jobs, part // parts)
            part = part % parts
            b0, b1 = pointer_to(job.bounds, integer)[part], pointer_to(job.bounds, integer)[part + 1]
            T, B, H = job.T, job.B, job.H
            active, first_row = pointer_to(job.active, integer), pointer_to(job.offset, integer)
            d_state = offset(pointer_to(job.d_state, real), b0 * H)
            dy, saved, dz = pointer_to(job.dy, real), pointer_to(job.saved, real), pointer_to(job.dz, real)
            y, tape = pointer_to(job.y, real), pointer_to(job.tape, real)
            vectors = pointer_to(job.vectors, real)
            d_vectors = offset(pointer_to(job.d_vectors, real), b0 * job.d_vectors_row)
            previous, w_h = pointer_to(job.previous, integer), pointer_to(job.w_h, real)

            for back in range(job.last - job.first):
                s = job.last - 1 - back
                t = T - 1 - s if job.reverse else s
                rows = min(max(active[t] - b0, 0), b1 - b0)
                if rows > 0:
                    row = first_row[t] + b0
                    dz_t = offset(dz, (row - job.dz_start) * job.dz_row)
                    call(job.pointwise, (
                        rows, H,
                        d_state, job.d_state_plane, H,
                        offset(dy, row * job.dy_row), job.dy_row,
                        offset(saved, row * job.saved_row), job.saved_row,
                        offset(y, (B + row) * job.y_row), job.y_row,
                        offset(tape, (B + row) * job.tape_row), job.tape_plane, job.tape_row,
                        y, tape, offset(previous, row),
                        vectors, d_vectors, job.d_vectors_row,
                        dz_t, job.dz_row,
                    ))  # fmt: skip
                    call(job.gemm, (
                        rows, H, job.recurrent_columns,
                        offset(dz_t, job.recurrent_start), job.dz_row, 1,
                        w_h, job.recurrent_columns * PANEL, PANEL,
                        d_state, H,
                        d_state, H,
                    ))  # fmt: skip

        return backward, types.void(pointer_type(BACKWARD), integer)

    return compiled(f"backward_{dtype}", "", make)

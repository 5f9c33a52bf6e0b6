"""The loop over time, backward: from gradients of outputs and states to gradients of pre-activations.

The mirror of `forward.py`, cut into parts in the same two ways: per step the cell's derived gradient, then a matrix
product that carries the pre-activations' gradient back to the previous output. What is proportional to all steps at
once (gradients of weights and input) follows in `gradients.py`. Where the cell has a second product, its gates come
first: from their gradients a product gives the operand's, and from that the cell's gradient goes on.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.instructions import larger, smaller
from nblstm.codegen.pointers import call, offset, pointer_to, record
from nblstm.codegen.target import inlined
from nblstm.cpu.jobs import BACKWARD, pointer_type
from nblstm.cpu.kernels.together import together
from nblstm.cpu.matrix.gemm import panel_columns


def _functions(dtype: str, stages: int):
    """The parts of a step, on batch rows from b0 and hidden units u0 to u1."""
    real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)

    @inlined
    def pointwise(job, kernel, t, b0, rows, u0, u1):
        """The cell's gradient, or a stage of it, for step t."""
        H, B, row = job.H, job.B, pointer_to(job.offset, integer)[t] + b0
        d_state, dy, saved = pointer_to(job.d_state, real), pointer_to(job.dy, real), pointer_to(job.saved, real)
        y, tape = pointer_to(job.y, real), pointer_to(job.tape, real)
        d_vectors, dz = pointer_to(job.d_vectors, real), pointer_to(job.dz, real)
        call(kernel, (
            rows, u1 - u0, H,
            offset(d_state, b0 * H + u0), job.d_state_plane, H,
            offset(dy, row * job.dy_row + u0), job.dy_row,
            offset(saved, row * job.saved_row + u0), job.saved_row,
            offset(y, (B + row) * job.y_row + u0), job.y_row,
            offset(tape, (B + row) * job.tape_row + u0), job.tape_plane, job.tape_row,
            offset(pointer_to(job.y_all, real), u0), offset(pointer_to(job.tape_all, real), u0),
            offset(pointer_to(job.previous, integer), row),
            offset(pointer_to(job.vectors, real), u0),
            offset(d_vectors, b0 * job.d_vectors_row + u0), job.d_vectors_row,
            offset(dz, (row - job.dz_start) * job.dz_row + u0), job.dz_row,
        ))  # fmt: skip

    @inlined
    def product(job, t, b0, rows, u0, u1, start, width, target, target_row):
        """Add to the target what step t's pre-activations say about what their weights multiplied: some columns'."""
        row = pointer_to(job.offset, integer)[t] + b0
        dz = offset(pointer_to(job.dz, real), (row - job.dz_start) * job.dz_row + job.recurrent_start + start)
        call(job.gemm, (
            rows, u0, u1, width,
            dz, job.dz_row, 1,
            offset(pointer_to(job.w_h, real), start * PANEL), job.recurrent_columns * PANEL, PANEL,
            target, target_row,
            target, target_row,
            t % 2,
        ))  # fmt: skip

    @inlined
    def second_gradient(job, t, b0, rows, u0, u1):
        """Gradient of the second gates' pre-activations at step t."""
        pointwise(job, job.pointwise_second, t, b0, rows, u0, u1)

    @inlined
    def cell_gradient(job, t, b0, rows, u0, u1):
        """Gradient of step t's pre-activations; that of the states changes in place, but for the recurrence."""
        if stages == 2:
            row = pointer_to(job.offset, integer)[t] + b0
            d_operand = offset(pointer_to(job.dz, real), (row - job.dz_start) * job.dz_row + job.operand_start)
            product(job, t, b0, rows, u0, u1, 0, job.second_columns, d_operand, job.dz_row)
        pointwise(job, job.pointwise, t, b0, rows, u0, u1)

    @inlined
    def recurrent_gradient(job, t, b0, rows, u0, u1):
        """Add what step t's pre-activations say about the outputs of the step before."""
        H = job.H
        d_h = offset(pointer_to(job.d_state, real), b0 * H)
        second = job.second_columns if stages == 2 else 0
        product(job, t, b0, rows, u0, u1, second, job.recurrent_columns - second, d_h, H)

    return second_gradient, cell_gradient, recurrent_gradient


@cache
def backward_kernel(dtype: str, stages: int) -> int:
    """Address of ``backward(jobs, part)`` with parts by rows; its jobs are `jobs.BACKWARD`."""

    def make():
        integer = types.int64
        second_gradient, cell_gradient, recurrent_gradient = _functions(dtype, stages)

        def backward(jobs, part):
            parts = record(jobs, 0).parts
            job = record(jobs, part // parts)
            part = part % parts
            b0, b1 = pointer_to(job.bounds, integer)[part], pointer_to(job.bounds, integer)[part + 1]
            for back in range(job.last - job.first):
                s = job.last - 1 - back
                t = job.T - 1 - s if job.reverse else s
                rows = smaller(larger(pointer_to(job.active, integer)[t] - b0, 0), b1 - b0)
                if rows > 0:
                    if stages == 2:
                        second_gradient(job, t, b0, rows, 0, job.H)
                    cell_gradient(job, t, b0, rows, 0, job.H)
                    recurrent_gradient(job, t, b0, rows, 0, job.H)

        return backward, types.void(pointer_type(BACKWARD), integer)

    return compiled(f"backward_{stages}_{dtype}", "", make)


@cache
def shared_backward_kernel(dtype: str, stages: int) -> int:
    """Address of ``backward(jobs, part)`` with parts by hidden units; its jobs are `jobs.BACKWARD`."""

    def make():
        integer = types.int64
        second_gradient, cell_gradient, recurrent_gradient = _functions(dtype, stages)

        @inlined
        def task(job, part, phase):
            """The last product of one step, which needs all units of what came before, and the first part of the next.

            With a second product, its gates' gradients are that first part, and the rest has a phase of its own.
            """
            active = pointer_to(job.active, integer)
            u0, u1 = pointer_to(job.bounds, integer)[part], pointer_to(job.bounds, integer)[part + 1]
            for half in range(2):
                s = job.last - phase // stages - half
                if job.first <= s < job.last:
                    t = job.T - 1 - s if job.reverse else s
                    if phase % stages == 1:
                        if half == 1:
                            cell_gradient(job, t, 0, active[t], u0, u1)
                    elif half == 0:
                        recurrent_gradient(job, t, 0, active[t], u0, u1)
                    elif stages == 2:
                        second_gradient(job, t, 0, active[t], u0, u1)
                    else:
                        cell_gradient(job, t, 0, active[t], u0, u1)

        work = together(task)

        def backward(jobs, part):
            parts = record(jobs, 0).parts
            job = record(jobs, part // parts)
            work(job, parts, part % parts, stages * (job.last - job.first) + 1)

        return backward, types.void(pointer_type(BACKWARD), integer)

    return compiled(f"shared_backward_{stages}_{dtype}", "", make)

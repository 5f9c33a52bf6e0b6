"""The loop over time, forward: one direction of one layer.

T time, B batch, I input, H hidden. For a few steps at once the input's share of the pre-activations is computed, see
`inputs.py`; then, step by step, the recurrence adds its share in place and the cell turns them into states. A cell
with second gates (`Cell.second`) takes two such stages in a step: the first gives the operand of the second's product.

Work is cut into parts in one of two ways. By rows of the batch: a part runs all steps of its rows without waiting for
any other. By hidden units, where rows are few: parts share every step (see `together.py`), and each thread reads its
share of the weights alone.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.instructions import larger, smaller
from nblstm.codegen.pointers import call, offset, pointer_to, record
from nblstm.codegen.target import inlined
from nblstm.cpu.jobs import FORWARD, pointer_type
from nblstm.cpu.kernels.together import together
from nblstm.cpu.matrix.gemm import panel_columns


def _functions(dtype: str, stages: int):
    """The parts of a step, on batch rows b0 to b1 and hidden units u0 to u1."""
    real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)
    LINE = 64 * 8 // real.bitwidth

    @inlined
    def columns(block, columns, H, u0, u1):
        """Columns of a block of H that belong to some units; of all blocks at once for all units."""
        return (0, columns) if u1 - u0 == H else (block * H + u0, block * H + u1)

    @inlined
    def all_zero(a, a_row, rows, H):
        """Whether nothing recurs yet: R 0 is 0. It ends at the first row that is not, so costs nothing later on.

        A number of each cache line is looked at first: what other threads have written is then fetched all at once, not
        line by line by the product. 300 steps of H = 112, one row, on two threads take 1.10 ms instead of 1.18 where
        cores are slow to hear from each other.
        """
        for r in range(rows):
            seen = a[r * a_row]
            for u in range(LINE, H, LINE):
                seen += a[r * a_row + u]
            if seen != 0:
                return False
            for u in range(H):
                if a[r * a_row + u] != 0:
                    return False
        return True

    @inlined
    def product(job, z, t, a, a_row, skipped, width, rows, u0, u1):
        """Add to z what the recurrent weights make of ``a``, in ``width`` columns behind the first ``skipped``."""
        H, z_row, start = job.H, job.z_row, job.recurrent_start
        if all_zero(a, a_row, rows, H):
            return
        blocks = 1 if u1 - u0 == H else width // H
        for walked in range(blocks):
            block = blocks - 1 - walked if t % 2 else walked
            first, last = columns(block, width, H, u0, u1)
            call(job.gemm, (
                rows, skipped + first, skipped + last, H,
                a, a_row, 1,
                pointer_to(job.w_h, real), H * PANEL, PANEL,
                offset(z, start), z_row,
                offset(z, start), z_row,
                t % 2,
            ))  # fmt: skip

    @inlined
    def pointwise(job, kernel, z, t, b0, rows, u0, u1):
        """The cell, or a stage of it, for the step whose pre-activations are in z."""
        H, z_row, row = job.H, job.z_row, pointer_to(job.offset, integer)[t] + b0
        state, y = pointer_to(job.state, real), pointer_to(job.y, real)
        tape, saved = pointer_to(job.tape, real), pointer_to(job.saved, real)
        call(kernel, (
            rows, u1 - u0, H,
            offset(z, u0), z_row,
            offset(state, b0 * H + u0), job.state_plane, H,
            offset(pointer_to(job.vectors, real), u0),
            offset(y, row * job.y_row + u0), job.y_row,
            offset(tape, row * job.tape_row + u0), job.tape_plane, job.tape_row,
            offset(saved, row * job.saved_row + u0), job.saved_row,
        ))  # fmt: skip

    @inlined
    def first_stage(job, z, t, h, b0, rows, u0, u1):
        """From the outputs ``h`` of the step before, the operand of the second product."""
        product(job, z, t, h, job.H, job.second_columns, job.recurrent_columns - job.second_columns, rows, u0, u1)
        pointwise(job, job.pointwise_first, z, t, b0, rows, u0, u1)

    @inlined
    def last_stage(job, z, t, h, b0, rows, u0, u1):
        """From the operand, or from ``h`` where there is one product, the states, which change in place."""
        if stages == 2:
            product(job, z, t, offset(z, job.operand_start), job.z_row, 0, job.second_columns, rows, u0, u1)
        else:
            product(job, z, t, h, job.H, 0, job.recurrent_columns, rows, u0, u1)
        pointwise(job, job.pointwise, z, t, b0, rows, u0, u1)

    return first_stage, last_stage


@cache
def forward_kernel(dtype: str, stages: int) -> int:
    """Address of ``forward(jobs, part)`` with parts by rows; its jobs are `jobs.FORWARD`."""

    def make():
        real, integer = getattr(types, dtype), types.int64
        first_stage, last_stage = _functions(dtype, stages)

        def forward(jobs, part):
            parts = record(jobs, 0).parts
            job = record(jobs, part // parts)
            part = part % parts
            T, H, active = job.T, job.H, pointer_to(job.active, integer)
            b0, b1 = pointer_to(job.bounds, integer)[part], pointer_to(job.bounds, integer)[part + 1]
            z = offset(pointer_to(job.z, real), part * job.z_part)
            h = offset(pointer_to(job.state, real), b0 * H)
            s0 = job.first
            while s0 < job.last:  # not range(first, last, segment): a kernel that could raise would need Python
                steps = smaller(job.segment, job.last - s0)
                t0 = T - s0 - steps if job.reverse else s0  # the segment is t0 ... t0 + steps - 1 either way
                call(job.input_products, (job, z, t0, steps, b0, b1, 0, H))
                for s in range(steps):
                    t = t0 + (steps - 1 - s if job.reverse else s)
                    rows = smaller(larger(active[t] - b0, 0), b1 - b0)
                    if rows > 0:
                        z_t = offset(z, (t - t0) * (b1 - b0) * job.z_row)
                        if stages == 2:
                            first_stage(job, z_t, t, h, b0, rows, 0, H)
                        last_stage(job, z_t, t, h, b0, rows, 0, H)
                s0 += steps

        return forward, types.void(pointer_type(FORWARD), integer)

    return compiled(f"forward_{stages}_{dtype}", "", make)


@cache
def shared_forward_kernel(dtype: str, stages: int) -> int:
    """Address of ``forward(jobs, part)`` with parts by hidden units; its jobs are `jobs.FORWARD`."""

    def make():
        real, integer = getattr(types, dtype), types.int64
        first_stage, last_stage = _functions(dtype, stages)

        @inlined
        def task(job, part, phase):
            """A stage of a step for some units. Outputs go through two planes in turn: others still read the last."""
            T, B, H, active = job.T, job.B, job.H, pointer_to(job.active, integer)
            u0, u1 = pointer_to(job.bounds, integer)[part], pointer_to(job.bounds, integer)[part + 1]
            z, state, h = pointer_to(job.z, real), pointer_to(job.state, real), pointer_to(job.h, real)
            done = phase // stages
            s, s0 = job.first + done, job.first + done // job.segment * job.segment
            steps = smaller(job.segment, job.last - s0)
            t0 = T - s0 - steps if job.reverse else s0
            if s == s0 and phase % stages == 0:
                call(job.input_products, (job, z, t0, steps, 0, B, u0, u1))
            t = T - 1 - s if job.reverse else s
            z_t, before = offset(z, (t - t0) * B * job.z_row), offset(h, done % 2 * B * H)
            if phase % stages < stages - 1:
                first_stage(job, z_t, t, before, 0, active[t], u0, u1)
                return
            last_stage(job, z_t, t, before, 0, active[t], u0, u1)
            following = offset(h, (done + 1) % 2 * B * H)
            for b in range(active[t]):
                for u in range(u0, u1):
                    following[b * H + u] = state[b * H + u]

        work = together(task)

        def forward(jobs, part):
            parts = record(jobs, 0).parts
            job = record(jobs, part // parts)
            work(job, parts, part % parts, stages * (job.last - job.first))

        return forward, types.void(pointer_type(FORWARD), integer)

    return compiled(f"shared_forward_{stages}_{dtype}", "", make)

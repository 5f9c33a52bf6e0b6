"""The loop over time, forward: one direction of one layer.

T time, B batch, H hidden, P pre-activations of a unit; t - 1 is t + 1 where the direction is reversed. For every step

    z[t]        =  W_ih x[t] + b        a segment of steps at once, see `inputs.py`
    z[t]       +=  W_hh h[t-1]          `product`
    states[t]   =  cell(z[t], states)   `pointwise`: the cell's own kernel, which changes the states in place

and in general the stages of the cell's program, see `nblstm.cells.stages`: each begins with links, which read what all
units have computed,

    z[t, gates]  +=  W_hh[gates] operand
    z[t, mean]    =  mean over units of z[t, source]

and goes on with pointwise work: the operands of the next links, in the last stage the states. A row of z has blocks of
H numbers, first the pre-activations (see `Cell.preactivations`). The recurrence adds to those from ``recurrent_start``
on.

Work is cut into parts in one of two ways. By rows of the batch: a part runs all steps of its rows without waiting for
any other. By hidden units, where rows are few: each thread reads its share of the weights alone, and all threads meet
at a barrier after every step, see `barrier.py`.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import call, larger, offset, pointer_to, record, smaller
from nblstm.codegen.target import inlined
from nblstm.cpu.arguments import ForwardArguments, pointer_type
from nblstm.cpu.kernels.barrier import phase_loop
from nblstm.cpu.kernels.over_units import over_units_function
from nblstm.cpu.kernels.program import FIRST, KERNEL, LENGTH, OPERATION, POINTWISE, PRODUCT, SOURCE, TARGET, WIDTH
from nblstm.cpu.matrix.blocks import panel_columns


def _stages(dtype: str):
    """A stage of a step, on batch rows b0 to b0 + rows and hidden units u0 to u1."""
    real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)
    LINE = 64 * 8 // real.bitwidth
    over_units = over_units_function(dtype)

    @inlined
    def all_zero(a, a_row, rows, H):
        """``(a[:rows, :H] == 0).all()``: then W_hh a is 0. It ends at the first row that is not, so it costs little.

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
    def product(args, z, t, a, a_row, skipped, width, rows, u0, u1):
        """``z[:rows, start:start + width] += a @ W[:, skipped:skipped + width]``, where W is W_hh^T (H, columns).

        start is recurrent_start + skipped. Of each gate's H columns only u0 to u1; all gates at once where these are
        all units. Odd steps go through the weights from the last panel to the first, as `gemm` explains.
        """
        H, z_row, start = args.H, args.z_row, args.recurrent_start
        if all_zero(a, a_row, rows, H):
            return
        everything = u1 - u0 == H
        blocks = 1 if everything else width // H
        for nth in range(blocks):
            block = blocks - 1 - nth if t % 2 else nth
            first, last = (0, width) if everything else (block * H + u0, block * H + u1)
            call(args.gemm, (
                rows, skipped + first, skipped + last, H,
                a, a_row, 1,
                pointer_to(args.w_h, real), args.w_h_panel, PANEL,
                offset(z, start), z_row,
                offset(z, start), z_row,
                t % 2,
            ))  # fmt: skip

    @inlined
    def pointwise(args, kernel, z, t, b0, rows, u0, u1):
        """``states, y[t], tape[t], saved[t] = cell(z, states)``, or a stage of it; see `pointwise.py`."""
        H, z_row, row = args.H, args.z_row, pointer_to(args.offset, integer)[t] + b0
        state, y = pointer_to(args.state, real), pointer_to(args.y, real)
        tape, saved = pointer_to(args.tape, real), pointer_to(args.saved, real)
        call(kernel, (
            rows, u0, u1 - u0, H,
            offset(z, u0), z_row,
            offset(state, b0 * H + u0), args.state_plane, H,
            offset(pointer_to(args.vectors, real), u0),
            offset(y, row * args.y_row + u0), args.y_row,
            offset(tape, row * args.tape_row + u0), args.tape_plane, args.tape_row,
            offset(saved, row * args.saved_row + u0), args.saved_row,
        ))  # fmt: skip

    @inlined
    def stage(args, s, z, t, h, b0, rows, u0, u1):
        """Stage s of a step: its instructions, see `program.py`."""
        program, starts = pointer_to(args.program, integer), pointer_to(args.stage_starts, integer)
        for n in range(starts[s], starts[s + 1]):
            own = offset(program, n * LENGTH)
            if own[OPERATION] == PRODUCT:
                if own[SOURCE] < 0:
                    product(args, z, t, h, args.H, own[FIRST], own[WIDTH], rows, u0, u1)
                else:
                    product(args, z, t, offset(z, own[SOURCE]), args.z_row, own[FIRST], own[WIDTH], rows, u0, u1)
            elif own[OPERATION] == POINTWISE:
                pointwise(args, own[KERNEL], z, t, b0, rows, u0, u1)
            else:
                over_units(own[OPERATION], args.H, rows, offset(z, own[SOURCE]), offset(z, own[TARGET]), args.z_row)

    return stage


@cache
def forward_by_rows(dtype: str) -> int:
    """Address of ``forward(arguments, part)``, a part being batch rows; see `ForwardArguments`."""

    def make():
        real, integer = getattr(types, dtype), types.int64
        stage = _stages(dtype)

        def forward(arguments, part):
            # Batch rows b0 to b1 of one direction, with pre-activations of their own.
            parts = record(arguments, 0).parts
            args = record(arguments, part // parts)
            part = part % parts
            T, H, active = args.T, args.H, pointer_to(args.active, integer)
            b0, b1 = pointer_to(args.bounds, integer)[part], pointer_to(args.bounds, integer)[part + 1]
            z = offset(pointer_to(args.z, real), part * args.z_part)
            h = offset(pointer_to(args.state, real), b0 * H)
            s0 = args.first
            while s0 < args.last:  # not range(first, last, segment): a kernel that could raise would need Python
                # z = W_ih x + b for a segment: steps t0 to t0 + steps, whichever way they are walked.
                steps = smaller(args.segment, args.last - s0)
                t0 = T - s0 - steps if args.reverse else s0
                call(args.input_products, (args, z, t0, steps, b0, b1, 0, H))
                # z[t] += W_hh h[t-1]; h[t] = cell(z[t]), for the part's rows that still run at step t.
                for s in range(steps):
                    t = t0 + (steps - 1 - s if args.reverse else s)
                    rows = smaller(larger(active[t] - b0, 0), b1 - b0)
                    if rows > 0:
                        z_t = offset(z, (t - t0) * (b1 - b0) * args.z_row)
                        for k in range(args.stages):
                            stage(args, k, z_t, t, h, b0, rows, 0, H)
                s0 += steps

        return forward, types.void(pointer_type(ForwardArguments), integer)

    return compiled(f"forward_by_rows_{dtype}", "", make)


@cache
def forward_by_units(dtype: str) -> int:
    """Address of ``forward(arguments, part)``, a part being hidden units; see `ForwardArguments`."""

    def make():
        real, integer = getattr(types, dtype), types.int64
        stage = _stages(dtype)

        @inlined
        def compute(args, part, phase):
            """Compute a stage of a step for units u0 to u1: phase p is stage p % stages of the step p // stages.

            Outputs alternate between two planes (B, H): other parts still read h[t-1] while this one writes h[t].
            """
            T, B, H, active = args.T, args.B, args.H, pointer_to(args.active, integer)
            u0, u1 = pointer_to(args.bounds, integer)[part], pointer_to(args.bounds, integer)[part + 1]
            z, state, h = pointer_to(args.z, real), pointer_to(args.state, real), pointer_to(args.h, real)
            stages = args.stages
            # The step t, and its segment: steps t0 to t0 + steps.
            done = phase // stages
            s, s0 = args.first + done, args.first + done // args.segment * args.segment
            steps = smaller(args.segment, args.last - s0)
            t0 = T - s0 - steps if args.reverse else s0
            # z = W_ih x + b, with the first step of a segment.
            if s == s0 and phase % stages == 0:
                call(args.input_products, (args, z, t0, steps, 0, B, u0, u1))
            t = T - 1 - s if args.reverse else s
            z_t, h_before = offset(z, (t - t0) * B * args.z_row), offset(h, done % 2 * B * H)
            # z[t] += W_hh h[t-1]; h[t] = cell(z[t]), or another stage.
            stage(args, phase % stages, z_t, t, h_before, 0, active[t], u0, u1)
            if phase % stages < stages - 1:
                return
            # h[t] into the other plane.
            h_after = offset(h, (done + 1) % 2 * B * H)
            for b in range(active[t]):
                for u in range(u0, u1):
                    h_after[b * H + u] = state[b * H + u]

        work = phase_loop(compute)

        def forward(arguments, part):
            parts = record(arguments, 0).parts
            args = record(arguments, part // parts)
            work(args, parts, part % parts, args.stages * (args.last - args.first))

        return forward, types.void(pointer_type(ForwardArguments), integer)

    return compiled(f"forward_by_units_{dtype}", "", make)

"""The loop over time, backward: from gradients of outputs and states to gradients of pre-activations.

T time, B batch, H hidden; the mirror of `forward.py`, cut into parts in the same two ways. From the last step to the
first, where d_states[t] has d_h and the other states' gradients (and h is an output, so dy[t] is added to d_h):

    dz[t], d_states[t-1]  =  cell's gradient (d_states[t], dy[t])   `pointwise`, in place
    d_h[t-1]             +=  dz[t] W_hh                             `product`

and in general the stages of the program of the cell's gradient, see `nblstm.cells.stages`, each of links, then
pointwise work:

    d_operand     +=  dz[t, gates] W_hh[gates]
    d_source       =  mean over units of d_mean

Before a step's first stage, `state_gradients.py` may change d_states[t], where a user asks for it.

The products of many steps at once, which give the gradients of weights and input, follow in `gradients.py`.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import call, larger, offset, pointer_to, record, smaller
from nblstm.codegen.target import inlined
from nblstm.cpu.arguments import BackwardArguments, pointer_type
from nblstm.cpu.kernels.barrier import phase_loop
from nblstm.cpu.kernels.over_units import over_units_function
from nblstm.cpu.kernels.program import (
    FIRST,
    KERNEL,
    LENGTH,
    OPERATION,
    POINTWISE,
    PRODUCT,
    SOURCE,
    TARGET,
    WEIGHTS,
    WIDTH,
)  # fmt: skip
from nblstm.cpu.matrix.blocks import panel_columns


def _gradients(dtype: str):
    """A stage of a step, on batch rows b0 to b0 + rows and hidden units u0 to u1."""
    real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)
    over_units = over_units_function(dtype)

    @inlined
    def pointwise(args, kernel, t, b0, rows, u0, u1):
        """``dz[t], d_states = cell's gradient (d_states, dy[t], saved[t])``, or a stage; see `pointwise.py`."""
        H, B, row = args.H, args.B, pointer_to(args.offset, integer)[t] + b0
        d_state, dy, saved = pointer_to(args.d_state, real), pointer_to(args.dy, real), pointer_to(args.saved, real)
        y, tape = pointer_to(args.y, real), pointer_to(args.tape, real)
        d_vectors, dz = pointer_to(args.d_vectors, real), pointer_to(args.dz, real)
        call(kernel, (
            rows, u0, u1 - u0, H,
            offset(d_state, b0 * H + u0), args.d_state_plane, H,
            offset(dy, row * args.dy_row + u0), args.dy_row,
            offset(saved, row * args.saved_row + u0), args.saved_row,
            offset(y, (B + row) * args.y_row + u0), args.y_row,
            offset(tape, (B + row) * args.tape_row + u0), args.tape_plane, args.tape_row,
            offset(pointer_to(args.y_all, real), u0), offset(pointer_to(args.tape_all, real), u0),
            offset(pointer_to(args.previous, integer), row),
            offset(pointer_to(args.vectors, real), u0),
            offset(d_vectors, b0 * args.d_vectors_row + u0), args.d_vectors_row,
            offset(dz, (row - args.dz_start) * args.dz_row + u0), args.dz_row,
        ))  # fmt: skip

    @inlined
    def product(args, t, b0, rows, u0, u1, start, width, weights, target, target_row):
        """``target[:rows, u0:u1] += dz[t, start:start + width] @ W_hh[start:start + width, u0:u1]``.

        Columns of dz count from recurrent_start; ``weights`` is where their rows begin in each panel of W_hh. Odd steps
        go through the weights from the last panel to the first.
        """
        row = pointer_to(args.offset, integer)[t] + b0
        dz = offset(pointer_to(args.dz, real), (row - args.dz_start) * args.dz_row + args.recurrent_start + start)
        call(args.gemm, (
            rows, u0, u1, width,
            dz, args.dz_row, 1,
            offset(pointer_to(args.w_h, real), weights), args.w_h_panel, PANEL,
            target, target_row,
            target, target_row,
            t % 2,
        ))  # fmt: skip

    @inlined
    def stage(args, s, t, b0, rows, u0, u1):
        """Stage s of a step's gradient: its instructions, see `program.py`."""
        if s == 0 and args.state_gradients != 0:
            call(args.state_gradients, (args, t, b0, rows, u0, u1))
        program, starts = pointer_to(args.program, integer), pointer_to(args.stage_starts, integer)
        row = pointer_to(args.offset, integer)[t] + b0
        dz = offset(pointer_to(args.dz, real), (row - args.dz_start) * args.dz_row)
        for n in range(starts[s], starts[s + 1]):
            own = offset(program, n * LENGTH)
            if own[OPERATION] == PRODUCT:
                if own[TARGET] < 0:  # d_h, the first plane of d_state
                    d_h = offset(pointer_to(args.d_state, real), b0 * args.H)
                    product(args, t, b0, rows, u0, u1, own[FIRST], own[WIDTH], own[WEIGHTS], d_h, args.H)
                else:
                    target = offset(dz, own[TARGET])
                    product(args, t, b0, rows, u0, u1, own[FIRST], own[WIDTH], own[WEIGHTS], target, args.dz_row)
            elif own[OPERATION] == POINTWISE:
                pointwise(args, own[KERNEL], t, b0, rows, u0, u1)
            else:
                over_units(own[OPERATION], args.H, rows, offset(dz, own[SOURCE]), offset(dz, own[TARGET]), args.dz_row)

    return stage


@cache
def backward_by_rows(dtype: str) -> int:
    """Address of ``backward(arguments, part)``, a part being batch rows; see `BackwardArguments`."""

    def make():
        integer = types.int64
        stage = _gradients(dtype)

        def backward(arguments, part):
            # Batch rows b0 to b1 of one direction.
            parts = record(arguments, 0).parts
            args = record(arguments, part // parts)
            part = part % parts
            b0, b1 = pointer_to(args.bounds, integer)[part], pointer_to(args.bounds, integer)[part + 1]
            # From the last step to the first: the part's rows that run at step t.
            for back in range(args.last - args.first):
                s = args.last - 1 - back
                t = args.T - 1 - s if args.reverse else s
                rows = smaller(larger(pointer_to(args.active, integer)[t] - b0, 0), b1 - b0)
                if rows > 0:
                    for k in range(args.stages + 1):
                        stage(args, k, t, b0, rows, 0, args.H)

        return backward, types.void(pointer_type(BackwardArguments), integer)

    return compiled(f"backward_by_rows_{dtype}", "", make)


@cache
def backward_by_units(dtype: str) -> int:
    """Address of ``backward(arguments, part)``, a part being hidden units; see `BackwardArguments`."""

    def make():
        integer = types.int64
        stage = _gradients(dtype)

        @inlined
        def compute(args, part, phase):
            """Compute what needs all units of the phase before: the end of a step, then the beginning of the next.

            A product reads all units of dz[t], pointwise needs only its own of d_h. So with one stage, phase p is

                d_h += dz[s+1] W_hh;  dz[s] = pointwise          s = last - 1 - p

            and with two stages, phases 2p and 2p + 1 are

                d_h += dz[s+1, others] W_hh[others];  dz[s, called] = pointwise
                d_operand = dz[s, called] W_hh[called];  dz[s, others] = pointwise
            """
            active, stages = pointer_to(args.active, integer), args.stages
            u0, u1 = pointer_to(args.bounds, integer)[part], pointer_to(args.bounds, integer)[part + 1]
            for half in range(2):  # step s + 1, then step s; the first phase and the last have one of them
                s = args.last - phase // stages - half
                if args.first <= s < args.last:
                    t = args.T - 1 - s if args.reverse else s
                    if half == 1:
                        stage(args, phase % stages, t, 0, active[t], u0, u1)
                    elif phase % stages == 0:
                        stage(args, stages, t, 0, active[t], u0, u1)

        work = phase_loop(compute)

        def backward(arguments, part):
            parts = record(arguments, 0).parts
            args = record(arguments, part // parts)
            work(args, parts, part % parts, args.stages * (args.last - args.first) + 1)

        return backward, types.void(pointer_type(BackwardArguments), integer)

    return compiled(f"backward_by_units_{dtype}", "", make)

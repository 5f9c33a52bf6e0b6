"""The loop over time, backward: from gradients of outputs and states to gradients of pre-activations.

T time, B batch, H hidden; the mirror of `forward.py`, cut into parts in the same two ways. From the last step to the
first, where d_states[t] has d_h and the other states' gradients (and h is an output, so dy[t] is added to d_h):

    dz[t], d_states[t-1]  =  cell's gradient (d_states[t], dy[t])   `pointwise`, in place
    d_h[t-1]             +=  dz[t] W_hh                             `product`

and with second gates, whose recurrent weights multiply an operand,

    dz[t, second]                 =  cell's gradient, stage 2 (d_states[t], dy[t])
    d_operand                     =  dz[t, second] W_hh[second]
    dz[t, others], d_states[t-1]  =  cell's gradient, stage 1 (d_operand, d_states[t], dy[t])
    d_h[t-1]                     +=  dz[t, others] W_hh[others]

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
from nblstm.cpu.matrix.blocks import panel_columns


def _gradients(dtype: str, stages: int):
    """The three parts of a step, on batch rows b0 to b0 + rows and hidden units u0 to u1."""
    real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)

    @inlined
    def pointwise(args, kernel, t, b0, rows, u0, u1):
        """``dz[t], d_states = cell's gradient (d_states, dy[t], saved[t])``, or a stage; see `pointwise.py`."""
        H, B, row = args.H, args.B, pointer_to(args.offset, integer)[t] + b0
        d_state, dy, saved = pointer_to(args.d_state, real), pointer_to(args.dy, real), pointer_to(args.saved, real)
        y, tape = pointer_to(args.y, real), pointer_to(args.tape, real)
        d_vectors, dz = pointer_to(args.d_vectors, real), pointer_to(args.dz, real)
        call(kernel, (
            rows, u1 - u0, H,
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
    def product(args, t, b0, rows, u0, u1, start, width, target, target_row):
        """``target[:rows, u0:u1] += dz[t, start:start + width] @ W_hh[start:start + width, u0:u1]``.

        Columns of dz count from recurrent_start. Odd steps go through the weights from the last panel to the first.
        """
        row = pointer_to(args.offset, integer)[t] + b0
        dz = offset(pointer_to(args.dz, real), (row - args.dz_start) * args.dz_row + args.recurrent_start + start)
        call(args.gemm, (
            rows, u0, u1, width,
            dz, args.dz_row, 1,
            offset(pointer_to(args.w_h, real), start * PANEL), args.recurrent_columns * PANEL, PANEL,
            target, target_row,
            target, target_row,
            t % 2,
        ))  # fmt: skip

    @inlined
    def second_gradient(args, t, b0, rows, u0, u1):
        """``dz[t, second]``; d_operand becomes 0."""
        pointwise(args, args.pointwise_second, t, b0, rows, u0, u1)

    @inlined
    def cell_gradient(args, t, b0, rows, u0, u1):
        """``d_operand += dz[t, second] W_hh[second]`` if there is one, then dz[t], and d_states without `product`."""
        if stages == 2:
            row = pointer_to(args.offset, integer)[t] + b0
            d_operand = offset(pointer_to(args.dz, real), (row - args.dz_start) * args.dz_row + args.operand_start)
            product(args, t, b0, rows, u0, u1, 0, args.second_columns, d_operand, args.dz_row)
        pointwise(args, args.pointwise, t, b0, rows, u0, u1)

    @inlined
    def recurrent_gradient(args, t, b0, rows, u0, u1):
        """``d_h += dz[t] W_hh``, without the second gates: d_h is the first plane of d_state."""
        H = args.H
        d_h = offset(pointer_to(args.d_state, real), b0 * H)
        second = args.second_columns if stages == 2 else 0
        product(args, t, b0, rows, u0, u1, second, args.recurrent_columns - second, d_h, H)

    return second_gradient, cell_gradient, recurrent_gradient


@cache
def backward_by_rows(dtype: str, stages: int) -> int:
    """Address of ``backward(arguments, part)``, a part being batch rows; see `BackwardArguments`."""

    def make():
        integer = types.int64
        second_gradient, cell_gradient, recurrent_gradient = _gradients(dtype, stages)

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
                    if stages == 2:
                        second_gradient(args, t, b0, rows, 0, args.H)
                    cell_gradient(args, t, b0, rows, 0, args.H)
                    recurrent_gradient(args, t, b0, rows, 0, args.H)

        return backward, types.void(pointer_type(BackwardArguments), integer)

    return compiled(f"backward_by_rows_{stages}_{dtype}", "", make)


@cache
def backward_by_units(dtype: str, stages: int) -> int:
    """Address of ``backward(arguments, part)``, a part being hidden units; see `BackwardArguments`."""

    def make():
        integer = types.int64
        second_gradient, cell_gradient, recurrent_gradient = _gradients(dtype, stages)

        @inlined
        def compute(args, part, phase):
            """Compute what needs all units of the phase before: `recurrent_gradient` of a step, then the next step's.

            A product reads all units of dz[t], pointwise needs only its own of d_h. So with one stage, phase p is

                d_h += dz[s+1] W_hh;  dz[s] = pointwise          s = last - 1 - p

            and with two stages, phases 2p and 2p + 1 are

                d_h += dz[s+1, others] W_hh[others];  dz[s, second] = pointwise
                d_operand = dz[s, second] W_hh[second];  dz[s, others] = pointwise
            """
            active = pointer_to(args.active, integer)
            u0, u1 = pointer_to(args.bounds, integer)[part], pointer_to(args.bounds, integer)[part + 1]
            for half in range(2):  # step s + 1, then step s; the first phase and the last have one of them
                s = args.last - phase // stages - half
                if args.first <= s < args.last:
                    t = args.T - 1 - s if args.reverse else s
                    if phase % stages == 1:
                        if half == 1:
                            cell_gradient(args, t, 0, active[t], u0, u1)
                    elif half == 0:
                        recurrent_gradient(args, t, 0, active[t], u0, u1)
                    elif stages == 2:
                        second_gradient(args, t, 0, active[t], u0, u1)
                    else:
                        cell_gradient(args, t, 0, active[t], u0, u1)

        work = phase_loop(compute)

        def backward(arguments, part):
            parts = record(arguments, 0).parts
            args = record(arguments, part // parts)
            work(args, parts, part % parts, stages * (args.last - args.first) + 1)

        return backward, types.void(pointer_type(BackwardArguments), integer)

    return compiled(f"backward_by_units_{stages}_{dtype}", "", make)

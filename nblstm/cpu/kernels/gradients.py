"""Gradients of weights, biases and input, from the gradients dz of the pre-activations of many steps.

With N packed rows, I input, H hidden, and one row of dz, x and h_prev (h[t-1]) for each of them:

    dW_ih = dz^T x          (G H, I)
    dW_hh = dz^T h_prev     (G H, H), of called gates dz^T operand
    db    = sum of dz       (G H,)
    dx    = dz W_ih         (N, I), beside what equations that use x itself give

These are ordinary matrix products, whose inner dimension is packed rows but for dx. A part owns a block of results, so
sums over rows run in one order for any number of threads.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import call, distinct, larger, offset, pointer_to, record, smaller
from nblstm.codegen.target import called, inlined
from nblstm.cpu.arguments import GradientArguments, pointer_type
from nblstm.cpu.matrix.blocks import panel_columns
from nblstm.cpu.matrix.sparse import sparse_functions


@cache
def gradients_kernel(dtype: str) -> int:
    """Address of ``gradients(arguments, part)``; see `GradientArguments`."""

    def make():
        real, integer, PANEL = getattr(types, dtype), types.int64, panel_columns(dtype)
        ITEM = real.bitwidth // 8
        nonzeros = sparse_functions(dtype)[0]

        @inlined
        def add_rows(rows, units, dz, dz_row, total):
            """``total += dz[r]`` for r = 0, 1, ...; four in each walk, for fewer loads and stores of the total."""
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
            """``target = scale * row + 0``: the 0 with which the product of matrices begins."""
            distinct()
            for k in range(N):
                target[k] = scale * row[k] + real(0)

        @inlined
        def mostly_zeros(args):
            """``(x != 0).sum() <= sparse * rows``; it ends once the first rows have too many, even for 16."""
            x, found, r = pointer_to(args.x, real), 0, 0
            while r < args.rows and found <= args.sparse * larger(r, 16):
                found += nonzeros(offset(x, r * args.x_row), args.I)
                r += 1
            return r == args.rows and found <= args.sparse * r

        @inlined
        def sparse_block_made(args):
            """Tell whether there is a kernel that skips zeros; ask for it if not."""
            if args.sparse_block == 0:
                pointer_to(args.asked, integer)[0] = 1
            return args.sparse_block != 0

        @called
        def weight_block(args, units, N, dz, inputs, inputs_row, d_weight, d_bias, row):
            """``dW[row:row + units] = dz[:, :units]^T inputs`` (.., N), and those of db if there is one."""
            target = offset(pointer_to(d_weight, real), row * N)
            start, start_row = (target, N) if args.accumulate else (pointer_to(args.zeros, real), 0)
            # db first, as it walks through dz in order, which then is in the L2 cache.
            if d_bias != 0:
                total = offset(pointer_to(d_bias, real), row)
                if not args.accumulate:
                    for n in range(units):
                        total[n] = 0
                add_rows(args.rows, units, dz, args.dz_row, total)
            if N == 1:
                # A column, computed as the row inputs^T dz: dz^T fills vectors of which it would use one lane.
                call(args.columns_gemm, (
                    1, 0, units, args.rows,
                    pointer_to(inputs, real), 1, inputs_row,
                    dz, PANEL, args.dz_row,
                    start, 0,
                    target, 0,
                    0,
                ))  # fmt: skip
            elif args.rows == 1 and not args.accumulate:
                # An outer product. There is nothing to do but to write, so row by row, as they lie in memory: 285 us
                # for one step of I = H = 512 on two threads, and 414 block by block.
                for r in range(units):
                    set_row(N, dz[r], pointer_to(inputs, real), offset(target, r * N))
            elif inputs == args.x and mostly_zeros(args) and sparse_block_made(args):
                # dz^T x without the zeros of x.
                call(args.sparse_block, (
                    args.rows, units, N,
                    dz, args.dz_row,
                    pointer_to(inputs, real), inputs_row,
                    start, start_row,
                    target,
                ))  # fmt: skip
            else:
                # dz^T inputs: A is dz, read by columns; B is a plain row-major matrix.
                call(args.columns_gemm, (
                    units, 0, N, args.rows,
                    dz, 1, args.dz_row,
                    pointer_to(inputs, real), PANEL, inputs_row,
                    start, start_row,
                    target, N,
                    0,
                ))  # fmt: skip

        def gradients(arguments, part):
            parts = record(arguments, 0).parts
            args = record(arguments, part // parts)
            part = part % parts
            rows, I, H, block, dz_row = args.rows, args.I, args.H, args.block, args.dz_row
            dz = pointer_to(args.dz, real)

            # dx[r:r + row_block] = dz[r:r + row_block] W_ih, in the last parts.
            if part >= args.weight_parts:
                r = (part - args.weight_parts) * args.row_block
                fed, start, start_row = args.gates * H, pointer_to(args.zeros, real), 0
                if args.dx_start >= 0:  # where equations use x itself
                    start, start_row = offset(dz, r * dz_row + args.dx_start), dz_row
                call(args.gemm, (
                    smaller(args.row_block, rows - r), 0, I, fed,
                    offset(dz, r * dz_row), dz_row, 1,
                    pointer_to(args.w_x, real), args.w_x_panel, PANEL,
                    start, start_row,
                    offset(pointer_to(args.dx, real), r * args.dx_row), args.dx_row,
                    0,
                ))  # fmt: skip
                return

            # Units u to u + units of the block ``kind`` of H pre-activations, in the first parts.
            blocks = (H + block - 1) // block
            kind, u = part // blocks, part % blocks * block
            units = smaller(block, H - u)
            dz_block = offset(dz, kind * H + u)
            # dW_ih and db_ih of those that the input feeds; `input_order` has each block's place among the parameters.
            if kind < args.gates:
                row = pointer_to(args.input_order, integer)[kind] * H + u
                weight_block(args, units, I, dz_block, args.x, args.x_row, args.d_weight_ih, args.d_bias_ih, row)
            # dW_hh and db_hh of those that the recurrence feeds, from h_prev or from the operand, which lies behind dz.
            if kind * H >= args.recurrent_start:
                row = pointer_to(args.recurrent_order, integer)[kind - args.recurrent_start // H] * H + u
                operand = pointer_to(args.operands, integer)[kind - args.recurrent_start // H]
                h, h_row = (args.h, args.h_row) if operand < 0 else (args.dz + operand * ITEM, dz_row)
                weight_block(args, units, H, dz_block, h, h_row, args.d_weight_hh, args.d_bias_hh, row)

        return gradients, types.void(pointer_type(GradientArguments), integer)

    return compiled(f"gradients_{dtype}", "", make)

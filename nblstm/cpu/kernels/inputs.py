"""Input's share of the pre-activations: z = W_ih x + b for some steps at once, before the recurrence adds its own.

T time, B batch, I input, H hidden; z has ``input_columns`` that the input feeds, then those that only the recurrence
does. A dense product, panel by panel; but of rows that are mostly zeros, as one-hot rows are, only what is not 0 is
multiplied, in the same order and with the same bits, see `matrix/sparse.py`.

Behind them a row of z has what else the cell is given with each step, copied from the user's arrays or drawn: a table
`given` has four numbers for each: its kind; of a signal the address of an array of packed rows, counted from
``signals``, and the distances between its rows and between units; of noise the probability of 1 times 2**32, and 1
where each step has numbers of its own.

Noise is a hash of seed, step, sequence and unit, see `nblstm.codegen.hashing`. Normal numbers are made of two by the
formula of Box & Muller (1958).
"""

from __future__ import annotations

import math
from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.hashing import hash_functions
from nblstm.codegen.intrinsics import call, distinct, larger, offset, pointer_to, smaller
from nblstm.codegen.scalar import scalar_functions
from nblstm.codegen.target import inlined
from nblstm.cpu.arguments import ForwardArguments, pointer_type
from nblstm.cpu.matrix.blocks import panel_columns
from nblstm.cpu.matrix.products import dtype_of
from nblstm.cpu.matrix.sparse import sparse_functions

#: Kinds of what is given: the input's own features, an array, 1 with a probability, normal and uniform numbers.
X, SIGNAL, BERNOULLI, NORMAL, UNIFORM = range(5)
#: Numbers of a line of the table.
GIVEN = 4


@cache
def input_products(precision: str) -> int:
    """Address of ``input_products(args, z, t0, steps, b0, b1, u0, u1)``; ``args`` is one of `ForwardArguments`.

    For steps t0 to t0 + steps, batch rows b0 to b1 and units u0 to u1; z has b1 - b0 rows for each step.
    """
    dtype = dtype_of(precision)

    def make():
        real, PANEL, paired = getattr(types, dtype), panel_columns(dtype), precision == "bfloat16"
        integer, uint32, uint64, int32 = types.int64, types.uint32, types.uint64, types.int32
        log, sqrt, cos = (scalar_functions(dtype)[name] for name in ("log", "sqrt", "cos"))
        nonzeros, next_nonzero, add_multiple = sparse_functions(dtype)
        row_key, hashed = hash_functions(inlined, uint32, uint64)

        @inlined
        def sparse_row(args, x, z, u0, width, blocks):
            """``z = b + sum over x[k] != 0 of x[k] W_ih[:, k]`` for one row; the first term (of any x[k]) sets z."""
            I, start, k = args.I, pointer_to(args.bias, real), smaller(next_nonzero(x, 0, args.I), args.I - 1)
            while k < I:
                for block in range(blocks):
                    n = block * args.H + u0
                    end = n + width
                    while n < end:
                        # Columns n to until, those of one panel.
                        panel = n // PANEL
                        until = smaller(end, (panel + 1) * PANEL)
                        weights = offset(pointer_to(args.w_x, real), (panel * I + k) * PANEL + n - panel * PANEL)
                        add_multiple(until - n, x[k], weights, offset(start, n), offset(z, n))
                        n = until
                start, k = z, next_nonzero(x, k + 1, I)

        @inlined
        def sparse_row_of_pairs(args, x, z, u0, width, blocks):
            """``z = b + sum over x[k:k + 2] != 0 of x[k:k + 2] W_ih[:, k:k + 2]`` for one row, of pairs of bfloat16."""
            I, start, k = args.I, pointer_to(args.bias, real), smaller(next_nonzero(x, 0, args.I), args.I - 1)
            while k < I:
                k -= k % 2
                weights = offset(pointer_to(args.w_x, real), k // 2 * PANEL)
                for block in range(blocks):
                    n = block * args.H + u0
                    call(args.gemm, (
                        1, n, n + width, smaller(2, I - k),
                        offset(x, k), I, 1,
                        weights, args.w_x_panel, PANEL,
                        start, 0,
                        z, 0,
                        0,
                    ))  # fmt: skip
                start, k = z, next_nonzero(x, k + 2, I)

        @inlined
        def copy(units, source, target):
            """``target[u] = source[u]``."""
            distinct()
            for u in range(units):
                target[u] = source[u]

        @inlined
        def ones(units, u0, key, limit, target):
            """``target[u]`` is 1 with probability ``limit / 2**32``, else 0."""
            distinct()
            for u in range(units):
                target[u] = real(1) if hashed(key, u0 + u) < limit else real(0)

        @inlined
        def normal_numbers(units, u0, key, target):
            """``target[u] = sqrt(-2 log(1 - p)) cos(2 pi q)`` for p and q in [0, 1)."""
            distinct()
            for u in range(units):
                p = real(int32(hashed(key, u0 + u) >> uint32(8))) * real(2.0**-24)
                q = real(int32(hashed(key >> uint64(32), u0 + u) >> uint32(8))) * real(2.0**-24)
                target[u] = sqrt(real(-2.0) * log(real(1.0) - p)) * cos(real(2 * math.pi) * q)

        @inlined
        def uniform_numbers(units, u0, key, target):
            """``target[u]`` in [0, 1), of 24 bits."""
            distinct()
            for u in range(units):
                target[u] = real(int32(hashed(key, u0 + u) >> uint32(8))) * real(2.0**-24)

        @inlined
        def row_of_given(args, told, number, t, b, u0, u1, z):
            """``z[u0:u1]`` of one row: what is copied or drawn."""
            row = pointer_to(args.offset, integer)[t] + b
            if told[0] == X:
                copy(u1 - u0, offset(pointer_to(args.x, real), row * args.x_row + u0), offset(z, u0))
            elif told[0] == SIGNAL:
                source = offset(pointer_to(args.signals + told[1], real), row * told[2])
                if told[3]:
                    copy(u1 - u0, offset(source, u0), offset(z, u0))
                else:
                    for u in range(u0, u1):
                        z[u] = source[0]
            else:
                step = t + 1 if told[2] else 0
                key = row_key(args.seed, number, step, b)
                if told[0] == BERNOULLI:
                    ones(u1 - u0, u0, key, uint32(told[1]), offset(z, u0))
                elif told[0] == UNIFORM:
                    uniform_numbers(u1 - u0, u0, key, offset(z, u0))
                else:
                    normal_numbers(u1 - u0, u0, key, offset(z, u0))

        def products(args, z, t0, steps, b0, b1, u0, u1):
            H, I, z_row, fed = args.H, args.I, args.z_row, args.input_columns
            active, first_row = pointer_to(args.active, integer), pointer_to(args.offset, integer)
            x, w_x, bias = pointer_to(args.x, real), pointer_to(args.w_x, real), pointer_to(args.bias, real)
            # All units are one block of columns, some are one in each block of H.
            blocks, width = (1, fed) if u1 - u0 == H else (fed // H, u1 - u0)

            # Sparse: the first steps row by row, as long as a step's rows have at most ``sparse`` nonzeros on average.
            t = t0
            while t < t0 + steps:
                rows, x_t = smaller(larger(active[t] - b0, 0), b1 - b0), offset(x, (first_row[t] + b0) * args.x_row)
                left, r = rows * args.sparse, 0
                while r < rows and left >= 0:
                    left -= nonzeros(offset(x_t, r * args.x_row), I)
                    r += 1
                if left < 0:
                    break
                for r in range(rows):
                    z_r = offset(z, ((t - t0) * (b1 - b0) + r) * z_row)
                    if paired:
                        sparse_row_of_pairs(args, offset(x_t, r * args.x_row), z_r, u0, width, blocks)
                    else:
                        sparse_row(args, offset(x_t, r * args.x_row), z_r, u0, width, blocks)
                t += 1

            # Dense: z = x W_ih^T + b for the other steps, panel by panel: each panel of weights is fetched once.
            dense = t
            for block in range(blocks):
                start, end = block * H + u0, block * H + u0 + width
                while start < end:
                    # Columns start to until, those of one panel.
                    until = smaller(end, (start // PANEL + 1) * PANEL)
                    t = dense
                    while t < t0 + steps:
                        # Steps t to t + joined: where the part has all rows of the batch, those of steps adjoin.
                        rows, joined = smaller(larger(active[t] - b0, 0), b1 - b0), 1
                        if rows == b1 - b0 and rows == active[t]:
                            while t + joined < t0 + steps and active[t + joined] == rows:
                                joined += 1
                        call(args.gemm, (
                            rows * joined, start, until, I,
                            offset(x, (first_row[t] + b0) * args.x_row), args.x_row, 1,
                            w_x, args.w_x_panel, PANEL,
                            bias, 0,
                            offset(z, (t - t0) * (b1 - b0) * z_row), z_row,
                            0,
                        ))  # fmt: skip
                        t += joined
                    start = until

            # z = b in the columns that the input does not feed.
            for block in range(fed // H, (args.recurrent_start + args.recurrent_columns) // H):
                constant = offset(bias, block * H)
                for r in range(steps * (b1 - b0)):
                    target = offset(z, r * z_row + block * H)
                    for u in range(u0, u1):
                        target[u] = constant[u]

            # z[given] = x, signals, noise.
            for number in range(args.givens):
                told = offset(pointer_to(args.given, integer), number * GIVEN)
                column = args.given_start + number * H
                for s in range(steps):
                    for b in range(b0, smaller(b1, active[t0 + s])):
                        target = offset(z, (s * (b1 - b0) + b - b0) * z_row + column)
                        row_of_given(args, told, number, t0 + s, b, u0, u1, target)

        return products, types.void(pointer_type(ForwardArguments), types.CPointer(real), *[integer] * 6)

    return compiled(f"inputs_{precision}", "", make)

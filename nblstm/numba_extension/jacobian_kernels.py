"""Kernels of a compiled network's Jacobian: the driver, and the stage that is a recurrent layer.

See `jacobian_arguments` for the matrix J. A stage is ``jacobian(arguments, x, s, t, work)``: the addresses of its
input, of the state before the step, of that after it, which has pre-activations and outputs, and of the workspace,
which begins with J.
"""

from __future__ import annotations

import ctypes
from functools import cache

from numba import types

from nblstm.cells.cell import Cell
from nblstm.cells.local_jacobian import LOCAL_JACOBIAN, local_jacobian_source
from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import call, distinct, offset, pointer_to
from nblstm.codegen.scalar import scalar_functions
from nblstm.codegen.target import inlined
from nblstm.cpu.arguments import ForwardArguments, pointer_type
from nblstm.cpu.matrix.bfloat16 import of_pair
from nblstm.cpu.matrix.blocks import panel_columns
from nblstm.cpu.matrix.products import dtype_of
from nblstm.numba_extension.block import NetworkHeader
from nblstm.numba_extension.implementation import implementation
from nblstm.numba_extension.jacobian_arguments import MEAN, STATE, SUM, JacobianArguments
from nblstm.numba_extension.kernels import STATE_AT, Z_AT
from nblstm.symbolic.emit import functions_from, symbol

#: What a stage's kernel takes: its `JacobianArguments`, and the addresses x, s, t and work.
STAGE = pointer_type(JacobianArguments), types.int64, types.int64, types.int64, types.int64

KERNEL, OUTPUTS = ([field for field, *_ in JacobianArguments._fields_].index(name) for name in ("kernel", "outputs"))
SIZE = ctypes.sizeof(JacobianArguments)

_I, _H, _W_X, _W_H, _VECTORS, _PLANE, _START = map(
    [field for field, *_ in ForwardArguments._fields_].index,
    ("I", "H", "w_x", "w_h", "vectors", "state_plane", "recurrent_start"),
)


@cache
def row_addition():
    """``add_row(columns, factor, row, target)``: ``target += factor * row``, of rows that don't overlap."""

    @inlined
    def add_row(columns, factor, row, target):
        distinct()
        for c in range(columns):
            target[c] += factor * row[c]

    return add_row


@cache
def jacobian_kernel(dtype: str) -> int:
    """Address of ``jacobian(header, x, s, t, work, A, B, C, D)``: J by all stages, and its four blocks."""

    def make():
        real, integer = getattr(types, dtype), types.int64

        @inlined
        def block(J, columns, height, width, at):
            """Copy a block of J, whose first number is given."""
            target = pointer_to(at, real)
            for k in range(height):
                for c in range(width):
                    target[k * width + c] = J[k * columns + c]

        def jacobian(header, x, s, t, work, A, B, C, D):
            # The input's rows: (0 | 1).
            J, n, columns = pointer_to(work, real), header.recurrent_size, header.jacobian_columns
            I, O = columns - n, header.output_size
            for k in range(I):
                for c in range(columns):
                    J[(n + k) * columns + c] = 0
                J[(n + k) * columns + n + k] = 1
            # The rows of all stages.
            stages = header.jacobian_stages
            for k in range(header.num_stages):
                own = pointer_to(stages + k * SIZE, integer)
                call(own[KERNEL], (own, x, s, t, work))
                x = t + own[OUTPUTS]
            # A = ds'/ds, B = ds'/dx, C = dy/ds, D = dy/dx
            outputs = offset(J, header.jacobian_y * columns)
            block(J, columns, n, n, A)
            block(offset(J, n), columns, n, I, B)
            block(outputs, columns, O, n, C)
            block(offset(outputs, n), columns, O, I, D)

        return jacobian, types.void(pointer_type(NetworkHeader), *[integer] * 8)

    return compiled(f"compiled_jacobian_{dtype}", implementation(), make)


@cache
def local_jacobian(cell: Cell, dtype: str) -> int:
    """Address of the kernel of a cell's local derivatives; its arguments are `LOCAL_JACOBIAN`."""
    name, source = f"{symbol(cell.name)}_jacobian_{dtype}", local_jacobian_source(cell, dtype)

    def make():
        real, integer = getattr(types, dtype), types.int64
        pointers = {"z", "state", "vectors", "derivatives"}
        scope = {**scalar_functions(dtype), "real": real, "distinct": distinct, "inlined": inlined}
        kinds = [types.CPointer(real) if argument in pointers else integer for argument in LOCAL_JACOBIAN]
        return functions_from(source, f"cell {name}", scope)["rows"], types.void(*kinds)

    return compiled(name, source, make)


@cache
def layer_jacobian(precision: str) -> int:
    """Address of the stage that is a recurrent layer.

    With the local derivatives d of what unit u computes, operands of links and new states, and the rows X of the input,

        row  =  sum_p d[p, u] W_ih[p, u] X  +  sum_p d[p, u] W_hh[p, u] operand's rows
                +  d[states, u]  +  d[x, u] X[u]  +  d[signals, u] signals' rows  +  d[sums, u] sums' rows

    where a state, an operand too, is a 1 in its column. The row of a sum is that of its operand, added up over units.
    """
    dtype, paired = dtype_of(precision), precision == "bfloat16"

    def make():
        real, integer, PANEL, add_row = getattr(types, dtype), types.int64, panel_columns(dtype), row_addition()

        @inlined
        def panel_rows(K):
            return (K + 1) // 2 if paired else K

        @inlined
        def add_multiple(K, factor, w, sums):
            """``sums += factor w[:K]`` of a column of a panel."""
            for k in range(K):
                sums[k] += factor * w[k * PANEL]

        @inlined
        def add_multiple_of_pairs(K, factor, w, sums):
            for k in range(K):
                sums[k] += factor * of_pair(w[k // 2 * PANEL], k % 2)

        @inlined
        def combined(d, u, H, weights, K, first, last, sums):
            """``sums = sum_p d[p, u] W[p, u]`` over blocks p of the panels' columns, with whose first d begins."""
            for k in range(K):
                sums[k] = 0
            for p in range(first, last):
                factor, column = d[p * H + u], p * H + u
                if factor != 0:
                    w = offset(weights, column // PANEL * PANEL * panel_rows(K) + column % PANEL)
                    if paired:
                        add_multiple_of_pairs(K, factor, w, sums)
                    else:
                        add_multiple(K, factor, w, sums)

        @inlined
        def add_input(own, k, factor, J, target):
            """Add the row of the input's feature k, in the first stage a 1 in its column."""
            if own.first:
                target[own.n + k] += factor
            elif factor != 0:
                add_row(own.columns, factor, offset(J, (own.x + k) * own.columns), target)

        @inlined
        def add_products(own, args, d, u, J, target, sums, of_states):
            """Add the recurrent products, of the first state or of operands."""
            H, products = args[_H], pointer_to(own.products, integer)
            start = offset(d, args[_START])
            for n in range(own.num_products):
                told = offset(products, 3 * n)
                if (told[2] < 0) == of_states:
                    combined(start, u, H, pointer_to(args[_W_H], real), H, told[0], told[1], sums)
                    for k in range(H):
                        if of_states:
                            target[own.states + k] += sums[k]
                        elif sums[k] != 0:
                            row = offset(J, (own.own + told[2] + k) * own.columns)
                            add_row(own.columns, sums[k], row, target)

        @inlined
        def add(own, args, d, u, J, target, sums):
            """Add the row of what unit u computes."""
            I, H = args[_I], args[_H]
            combined(d, u, H, pointer_to(args[_W_X], real), I, 0, own.fed, sums)
            for k in range(I):
                add_input(own, k, sums[k], J, target)
            add_products(own, args, d, u, J, target, sums, True)
            # States of the unit itself
            at = own.preactivations
            for j in range(own.count):
                target[own.states + j * own.plane + u] += d[(at + j) * H + u]
            add_products(own, args, d, u, J, target, sums, False)
            # x itself and signals
            at += own.count
            if own.takes_x:
                add_input(own, u, d[at * H + u], J, target)
                at += 1
            for j in range(own.num_signals):
                if own.signals >= 0:
                    row = offset(J, (own.signals + j * H + u) * own.columns)
                    add_row(own.columns, d[(at + j) * H + u], row, target)
            # Sums and means
            at += own.num_signals
            table = pointer_to(own.computed, integer)
            for n in range(own.num_computed):
                if table[2 * n] == SUM or table[2 * n] == MEAN:
                    if d[at * H + u] != 0:
                        row = offset(J, (own.own + table[2 * n + 1]) * own.columns)
                        add_row(own.columns, d[at * H + u], row, target)
                    at += 1

        def layer(own, x, s, t, work):
            args, J, columns = pointer_to(own.step, integer), pointer_to(work, real), own.columns
            H, table, d = args[_H], pointer_to(own.computed, integer), offset(pointer_to(work, real), own.scratch)
            sums = offset(d, own.num_computed * own.variables * H)
            call(own.local, (
                H, pointer_to(t + args[Z_AT], real), pointer_to(s + args[STATE_AT], real), args[_PLANE],
                pointer_to(args[_VECTORS], real), d,
            ))  # fmt: skip
            for n in range(own.num_computed):
                kind, first = table[2 * n], own.own + table[2 * n + 1]
                if kind == STATE:
                    first = own.states + table[2 * n + 1] * own.plane
                joined = kind in (SUM, MEAN)
                # Rows of each unit's number, or one of them all.
                target = offset(J, first * columns)
                for c in range((1 if joined else H) * columns):
                    target[c] = 0
                for u in range(H):
                    row = offset(target, 0 if joined else u * columns)
                    add(own, args, offset(d, n * own.variables * H), u, J, row, sums)
                if kind == MEAN:
                    for c in range(columns):
                        target[c] /= real(H)

        return layer, types.void(*STAGE)

    return compiled(f"compiled_layer_jacobian_{precision}", implementation(), make)

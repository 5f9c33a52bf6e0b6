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
from nblstm.cpu.matrix.blocks import panel_columns
from nblstm.numba_extension.block import NetworkHeader
from nblstm.numba_extension.implementation import implementation
from nblstm.numba_extension.jacobian_arguments import JacobianArguments
from nblstm.numba_extension.kernels import STATE_AT, Z_AT
from nblstm.symbolic.emit import functions_from, symbol

#: What a stage's kernel takes: its `JacobianArguments`, and the addresses x, s, t and work.
STAGE = pointer_type(JacobianArguments), types.int64, types.int64, types.int64, types.int64

KERNEL, OUTPUTS = ([field for field, *_ in JacobianArguments._fields_].index(name) for name in ("kernel", "outputs"))
SIZE = ctypes.sizeof(JacobianArguments)

_I, _H, _W_X, _W_H, _VECTORS, _SECOND, _PLANE = map(
    [field for field, *_ in ForwardArguments._fields_].index,
    ("I", "H", "w_x", "w_h", "vectors", "second_columns", "state_plane"),
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
def layer_jacobian(dtype: str) -> int:
    """Address of the stage that is a recurrent layer.

    With the local derivatives d of a new state, for its unit u, and the rows X of the input,

        row  =  sum_p d[p, u] W_ih[p, u] X  +  (sum_p d[p, u] W_hh[p, u] at h  +  d[states, u]  in the states' columns)

    and where the second product multiplies an operand, whose rows are computed likewise,

        row +=  sum_p d[p, u] W_hh[p, u] operand's rows,  over second gates p.
    """

    def make():
        real, integer, PANEL, add_row = getattr(types, dtype), types.int64, panel_columns(dtype), row_addition()

        @inlined
        def combined(own, d, u, H, weights, K, first, last, skipped, sums):
            """``sums = sum_p d[p, u] W[p, u]`` over pre-activations p; the panels' columns begin with ``skipped``."""
            for k in range(K):
                sums[k] = 0
            for p in range(first, last):
                factor, column = d[p * H + u], (p - skipped) * H + u
                if factor != 0:
                    w = offset(weights, column // PANEL * PANEL * K + column % PANEL)
                    for k in range(K):
                        sums[k] += factor * w[k * PANEL]

        @inlined
        def row(own, args, d, u, J, target, sums):
            """Write a row without its second product."""
            I, H, columns = args[_I], args[_H], own.columns
            for c in range(columns):
                target[c] = 0
            # W_ih X
            combined(own, d, u, H, pointer_to(args[_W_X], real), I, 0, own.fed, 0, sums)
            for k in range(I):
                if own.first:
                    target[own.n + k] = sums[k]
                elif sums[k] != 0:
                    add_row(columns, sums[k], offset(J, (own.x + k) * columns), target)
            # W_hh h, where it is of the first product
            first = own.split + args[_SECOND] // H
            combined(own, d, u, H, pointer_to(args[_W_H], real), H, first, own.preactivations, own.split, sums)
            for k in range(H):
                target[own.states + k] += sums[k]
            # States of the unit itself
            for j in range(own.count):
                target[own.states + j * own.plane + u] += d[(own.preactivations + j) * H + u]

        def layer(own, x, s, t, work):
            args, J, columns = pointer_to(own.step, integer), pointer_to(work, real), own.columns
            H, block = args[_H], (own.preactivations + own.count) * args[_H]
            d = offset(J, own.scratch)
            second, sums = args[_SECOND] // H, offset(d, (own.count + 1) * block)
            call(own.local, (
                H, pointer_to(t + args[Z_AT], real), pointer_to(s + args[STATE_AT], real), args[_PLANE],
                pointer_to(args[_VECTORS], real), d,
            ))  # fmt: skip
            # Rows of the operand.
            if second:
                for u in range(H):
                    row(own, args, offset(d, own.count * block), u, J, offset(J, (own.own + u) * columns), sums)
            # Rows of each new state.
            for i in range(own.count):
                for u in range(H):
                    target = offset(J, (own.states + i * own.plane + u) * columns)
                    row(own, args, offset(d, i * block), u, J, target, sums)
                    if second:
                        combined(
                            own, offset(d, i * block), u, H, pointer_to(args[_W_H], real), H, own.split,
                            own.split + second, own.split, sums,
                        )  # fmt: skip
                        for k in range(H):
                            if sums[k] != 0:
                                add_row(columns, sums[k], offset(J, (own.own + k) * columns), target)

        return layer, types.void(*STAGE)

    return compiled(f"compiled_layer_jacobian_{dtype}", implementation(), make)

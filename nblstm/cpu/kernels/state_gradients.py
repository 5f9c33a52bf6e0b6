"""Gradients of a step's states before BPTT goes on with them: cut, clipped, added to, measured.

For step t of a sequence, the n-th of its steps in the order of processing, and for each state, with d the gradient that
came through it from behind: the sum of what step n + 1 gave, behind the last step that of the final state.

    d         =  0                 if n + 1 is a multiple of `truncate`, and step n + 1 exists
    d         =  clip(d)           by unit: min(max(d, -limit), limit);  by norm: d min(1, limit / |d|)
    d        +=  given[t]          what the loss has of the state at t itself, dy[t] for the output: d is dL/d state_t
    norms[t]  =  |d|               over the units; squares are added as float64, in which those of 1e-150 are not 0

A table ``told`` has six numbers for each state, by the constants below. With recurrent dropout, whose cell has the
state mask * h beside h, the gradient of h is first made whole: d_h += mask * d(mask * h).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types

from nblstm.buffers.batch import Batch
from nblstm.buffers.each_step import EachStep
from nblstm.cells.cell import Cell
from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import distinct, local, offset, pointer_to
from nblstm.codegen.scalar import scalar_functions
from nblstm.codegen.target import inlined
from nblstm.cpu.arguments import BackwardArguments, address, pointer_type

#: A line of the table: the plane of d_state, the address of packed rows and the distance between them, the kind of clip
#: and the address of its limits, that of the norms of packed rows. Addresses are 0 for none.
PLANE, GIVEN, GIVEN_ROW, CLIP, LIMITS, NORMS = range(6)
LENGTH = 6
#: Kinds of clips.
NONE, BY_UNIT, BY_NORM = range(3)

PARTIAL = 16


def state_arguments(
    each: EachStep | None, cell: Cell, dtype: str, H: int, batch: Batch, dy: np.ndarray | None, direction: int
) -> dict[str, Any]:
    """Fields of `BackwardArguments` for one direction; ``dy`` (N, D H) is given of the output. Nothing for None."""
    if each is None:
        return {"state_gradients": 0, "told": None, "lengths": None, "mask": None}
    first = int(each.mask is not None)  # recurrent dropout has another state before these
    names = cell.states[first : len(cell.states) - first]
    table = np.zeros((len(names), LENGTH), np.int64)
    for k, name in enumerate(names):
        given, clip = each.given[k] if each.given else None, each.clips[k]
        if name == cell.output and dy is not None:
            given = dy
        table[k, PLANE] = first + k
        if given is not None:
            table[k, GIVEN] = address(given) + direction * H * given.itemsize
            table[k, GIVEN_ROW] = given.shape[1]
        if clip is not None:
            table[k, CLIP], table[k, LIMITS] = BY_NORM if clip.by_norm else BY_UNIT, address(clip.limits)
        if each.norms is not None:
            table[k, NORMS] = address(each.norms[k, direction])
    return {
        "state_gradients": state_gradients_kernel(dtype), "told": table, "told_states": len(table),
        "truncate": each.truncate, "lengths": batch.lengths,
        "mask": None if each.mask is None else each.mask[direction],
    }  # fmt: skip


@cache
def state_gradients_kernel(dtype: str) -> int:
    """Address of ``state_gradients(args, t, b0, rows, u0, u1)``; ``args`` is one of `BackwardArguments`.

    For batch rows b0 to b0 + rows, and units u0 to u1, which are all where norms are wanted.
    """

    def make():
        real, integer, double = getattr(types, dtype), types.int64, types.float64
        sqrt = scalar_functions("float64")["sqrt"]

        @inlined
        def make_whole(units, mask, d_masked, d):
            """``d += mask d_masked; d_masked = 0``."""
            distinct()
            for u in range(units):
                d[u] += mask[u] * d_masked[u]
                d_masked[u] = real(0)

        @inlined
        def add(units, given, d):
            """``d += given``."""
            distinct()
            for u in range(units):
                d[u] += given[u]

        @inlined
        def clip_units(units, limits, d):
            """``d = min(max(d, -limits), limits)``; NaN stays."""
            distinct()
            for u in range(units):
                value, limit = d[u], limits[u]
                value = limit if value > limit else value
                d[u] = -limit if value < -limit else value

        @inlined
        def add_squares(H, d, partial):
            """``partial[k] += d[u]**2`` for k = u % 16."""
            distinct()
            u = 0
            while u + PARTIAL <= H:
                for k in range(PARTIAL):
                    partial[k] += double(d[u + k]) * double(d[u + k])
                u += PARTIAL
            for k in range(H - u):
                partial[k] += double(d[u + k]) * double(d[u + k])

        @inlined
        def norm_of(H, d, partial):
            """``|d|``, with sums in one order."""
            for k in range(PARTIAL):
                partial[k] = double(0)
            add_squares(H, d, partial)
            for k in range(1, PARTIAL):
                partial[0] += partial[k]
            return sqrt(partial[0])

        @inlined
        def scale(units, factor, d):
            """``d *= factor``."""
            distinct()
            for u in range(units):
                d[u] = real(factor * double(d[u]))

        def state_gradients(args, t, b0, rows, u0, u1):
            H, units, plane = args.H, u1 - u0, args.d_state_plane
            d_state, lengths = pointer_to(args.d_state, real), pointer_to(args.lengths, integer)
            row, partial = pointer_to(args.offset, integer)[t] + b0, local(double, PARTIAL)
            for b in range(rows):
                at, length = (b0 + b) * H + u0, lengths[b0 + b]
                if args.mask != 0:
                    mask = offset(pointer_to(args.mask, real), at)
                    make_whole(units, mask, offset(d_state, at), offset(d_state, plane + at))
                # The number of the next step, in the order of processing.
                following = length - t if args.reverse else t + 1
                cut = args.truncate > 0 and following < length and following % args.truncate == 0
                for k in range(args.told_states):
                    own = offset(pointer_to(args.told, integer), k * LENGTH)
                    d = offset(d_state, own[PLANE] * plane + at)
                    if cut:
                        for u in range(units):
                            d[u] = real(0)
                    if own[CLIP] == BY_UNIT:
                        clip_units(units, offset(pointer_to(own[LIMITS], real), u0), d)
                    elif own[CLIP] == BY_NORM:
                        norm, limit = norm_of(H, d, partial), double(pointer_to(own[LIMITS], real)[0])
                        if norm > limit:
                            scale(units, limit / norm, d)
                    if own[GIVEN] != 0:
                        add(units, offset(pointer_to(own[GIVEN], real), (row + b) * own[GIVEN_ROW] + u0), d)
                    if own[NORMS] != 0:
                        pointer_to(own[NORMS], real)[row + b] = real(norm_of(H, d, partial))

        return state_gradients, types.void(pointer_type(BackwardArguments), *[integer] * 5)

    return compiled(f"state_gradients_{dtype}", "", make)

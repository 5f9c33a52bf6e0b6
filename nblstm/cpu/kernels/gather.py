"""Rows of arrays copied to other places, on all threads: as they are, gathered by an index, packed and unpacked.

NumPy copies on one thread, and in two passes where it writes zeros first: T=64, B=64, H=256 are unpacked in 150 us so,
and in 79 here. Dimension letters: T steps, B rows of the batch, K numbers of a row.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import types

from nblstm.buffers import memory
from nblstm.buffers.batch import Batch
from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import distinct, larger, offset, pointer_to, record, smaller
from nblstm.codegen.target import inlined
from nblstm.cpu import threads, thresholds
from nblstm.cpu.arguments import DTYPES, Arguments, Array, Launch, pointer_type, structure


@structure
class CopyArguments(Arguments):
    """Arguments of `copy_kernel`."""

    n: int
    block: int  # numbers of one part
    source: Array
    target: Array


@structure
class GatherArguments(Arguments):
    """Arguments of `gather_kernel`."""

    rows: int
    block: int  # target rows of one part
    K: int
    index: Array
    source: Array
    source_row: int
    target: Array


@structure
class PackRowsArguments(Arguments):
    """Arguments of `pack_rows_kernel`."""

    T: int
    B: int
    block: int  # rows of the padded batch of one part
    K: int
    packing: int  # 0 for unpacking
    order: Array
    active: Array
    padded: Array
    padded_t: int
    padded_b: int
    packed: Array


def _copy(K, source, target):
    """``target[:K] = source[:K]``."""
    distinct()
    for k in range(K):
        target[k] = source[k]


@cache
def copy_kernel(dtype: str) -> int:
    """Address of ``copy(arguments, part)``: ``target[i] = source[i]``; see `CopyArguments`."""

    def make():
        real, copied = getattr(types, dtype), inlined(_copy)

        def copy(arguments, part):
            args = record(arguments, 0)
            i = part * args.block
            n = larger(smaller(args.n - i, args.block), 0)
            copied(n, offset(pointer_to(args.source, real), i), offset(pointer_to(args.target, real), i))

        return copy, types.void(pointer_type(CopyArguments), types.int64)

    return compiled(f"copy_{dtype}", "", make)


@cache
def gather_kernel(dtype: str) -> int:
    """Address of ``gather(arguments, part)``: ``target[r] = source[index[r]]``; see `GatherArguments`."""

    def make():
        real, copy = getattr(types, dtype), inlined(_copy)

        def gather(arguments, part):
            args = record(arguments, 0)
            K, index = args.K, pointer_to(args.index, types.int64)
            source, target = pointer_to(args.source, real), pointer_to(args.target, real)
            for r in range(part * args.block, smaller(args.rows, (part + 1) * args.block)):
                copy(K, offset(source, index[r] * args.source_row), offset(target, r * K))

        return gather, types.void(pointer_type(GatherArguments), types.int64)

    return compiled(f"gather_{dtype}", "", make)


@cache
def pack_rows_kernel(dtype: str) -> int:
    """Address of ``pack(arguments, part)``: ``packed[t][r] = padded[t, order[r]]``, or back."""

    def make():
        real, integer, copy = getattr(types, dtype), types.int64, inlined(_copy)

        def pack(arguments, part):
            args = record(arguments, 0)
            B, K, packed_t = args.B, args.K, pointer_to(args.packed, real)
            order, active = pointer_to(args.order, integer), pointer_to(args.active, integer)
            for t in range(args.T):
                # Those rows of step t that are in the part: t B + r from part * block on.
                before = part * args.block - t * B
                for r in range(larger(before, 0), smaller(before + args.block, B)):
                    padded = offset(pointer_to(args.padded, real), t * args.padded_t + order[r] * args.padded_b)
                    if r < active[t]:
                        packed = offset(packed_t, r * K)
                        if args.packing:
                            copy(K, padded, packed)
                        else:
                            copy(K, packed, padded)
                    elif args.packing == 0:
                        # Beyond the sequence's end: zeros.
                        for k in range(K):
                            padded[k] = 0
                packed_t = offset(packed_t, active[t] * K)  # the packed rows of the next step

        return pack, types.void(pointer_type(PackRowsArguments), integer)

    return compiled(f"pack_rows_{dtype}", "", make)


def copy_numbers(target: np.ndarray, source: np.ndarray) -> None:
    """Compute ``target[...] = source``, of one dtype."""
    parts, block = _parts(target.size, 1)
    if parts == 1 or source.shape != target.shape or not (source.flags.c_contiguous and target.flags.c_contiguous):
        np.copyto(target, source)
        return
    arguments = Launch(CopyArguments)
    arguments[0].set(n=target.size, block=block, source=source, target=target)
    threads.run(copy_kernel(DTYPES[target.itemsize]), arguments, parts)


def gather_rows(source: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Compute ``source[index]``.

    Parameters
    ----------
    source : ndarray, shape (n, K)
        Each row contiguous.
    index : ndarray of int64, shape (m,)

    Returns
    -------
    ndarray, shape (m, K)
    """
    rows, K, item = len(index), source.shape[1], source.itemsize
    target = memory.empty((rows, K), source.dtype)
    parts, block = _parts(rows, K)
    arguments = Launch(GatherArguments)
    arguments[0].set(
        rows=rows, block=block, K=K, index=index, source=source, source_row=source.strides[0] // item, target=target
    )
    threads.run(gather_kernel(DTYPES[item]), arguments, parts, serial=parts == 1)
    return target


def pack_rows(batch: Batch, packing: bool, padded: np.ndarray, packed: np.ndarray) -> None:
    """Copy the rows of a padded batch (T, B, K) to the packed rows (N, K), or back and 0 beyond each sequence's end.

    Each row is contiguous.
    """
    T, B, K = padded.shape
    (by_t, by_b, _), item = padded.strides, padded.itemsize
    parts, block = _parts(T * B, K)
    arguments = Launch(PackRowsArguments)
    arguments[0].set(
        T=T, B=B, block=block, K=K, packing=int(packing), order=batch.order, active=batch.active, padded=padded,
        padded_t=by_t // item, padded_b=by_b // item, packed=packed,
    )  # fmt: skip
    threads.run(pack_rows_kernel(DTYPES[item]), arguments, parts, serial=parts == 1)


def _parts(rows: int, K: int) -> tuple[int, int]:
    """Number of parts for a copy of so many rows of K numbers, and the rows of one part."""
    parts = 1 if rows * K < thresholds.SERIAL_COPY else thresholds.COPY_PARTS_PER_THREAD * threads.num_threads()
    return parts, -(-rows // parts)

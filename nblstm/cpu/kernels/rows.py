"""Rows of arrays moved to other places, on all threads, as between padded and packed batches.

NumPy does it on one, in two passes where it writes zeros first: T=64, B=64, H=256 are unpacked in 150 us so, and in 79.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import types

from nblstm.buffers import memory
from nblstm.codegen.compiler import compiled
from nblstm.codegen.instructions import smaller
from nblstm.codegen.pointers import distinct, offset, pointer_to, record
from nblstm.codegen.target import inlined
from nblstm.cpu import threads
from nblstm.cpu.jobs import DTYPES, Arguments, pointer_type

#: What `rows_kernel` is told: row r of the target is the source's row ``index[r]``, or zeros where that is below 0. The
#: source's rows come in groups of ``group``, with a stride of their own.
ROWS = ("rows", "block", "columns", "index", "source", "source_row", "group", "source_group", "target")

#: Fewer numbers than this are moved on the calling thread: about 5 us.
TINY = 30_000

#: Blocks for each thread: whoever has zeros to write, the later steps of a padded batch, takes more of them.
BLOCKS = 4


@cache
def rows_kernel(dtype: str) -> int:
    """Address of the kernel that moves one block of rows; its job is `ROWS`."""

    def make():
        real = getattr(types, dtype)

        @inlined
        def copy(columns, source, target):
            distinct()
            for k in range(columns):
                target[k] = source[k]

        def rows(jobs, part):
            job = record(jobs, 0)
            index, source = pointer_to(job.index, types.int64), pointer_to(job.source, real)
            for r in range(part * job.block, smaller(job.rows, (part + 1) * job.block)):
                target, place = offset(pointer_to(job.target, real), r * job.columns), index[r]
                if place < 0:
                    for k in range(job.columns):
                        target[k] = 0
                else:
                    group = place // job.group
                    start = group * job.source_group + (place - group * job.group) * job.source_row
                    copy(job.columns, offset(source, start), target)

        return rows, types.void(pointer_type(ROWS), types.int64)

    return compiled(f"rows_{dtype}", "", make)


def taken(source: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Rows of an array, in another order.

    Parameters
    ----------
    source : ndarray, shape (n, K) or (T, B, K)
        Rows of the last dimension, counted through the others.
    index : ndarray of int64, shape (m,)
        Which; zeros where it is below 0.

    Returns
    -------
    ndarray, shape (m, K)
    """
    K, item = source.shape[-1], source.itemsize
    if K and source.strides[-1] != item:
        source = np.ascontiguousarray(source)
    outer, row = (source.strides[0], source.strides[1]) if source.ndim == 3 else (0, source.strides[0])
    group = source.shape[1] if source.ndim == 3 else max(1, len(source))
    target, rows = memory.empty((len(index), K), source.dtype), len(index)
    tiny = rows * K < TINY
    parts = 1 if tiny else BLOCKS * threads.num_threads()
    block = -(-rows // parts)
    arguments = Arguments.of(ROWS, rows, block, K, index, source, row // item, group, outer // item, target)
    threads.run(rows_kernel(DTYPES[item]), arguments, parts, tiny=tiny)
    return target

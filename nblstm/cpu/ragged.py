"""Batches of different lengths, sorted and packed by kernels.

To arrange the batch T=100, B=32 takes NumPy 35 us, in a dozen calls on small arrays, and HostBatch 10; between two
passes, which leave nothing of Python in the caches, everything takes twice as long.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate

import numpy as np
from numba import types

from nblstm.buffers.arrays import HostArrays
from nblstm.buffers.batch import Batch, uniform_batch
from nblstm.codegen.compiler import compiled
from nblstm.codegen.pointers import distinct, offset, pointer_to, record
from nblstm.codegen.target import inlined
from nblstm.cpu import threads
from nblstm.cpu.jobs import Arguments, address, pointer_type
from nblstm.cpu.kernels.rows import taken

#: What `arrange_kernel` is told: the sequences' ``lengths``, and where the arrays of `HostBatch` go.
ARRANGE = ("T", "B", "lengths", "order", "rank", "sorted", "active", "offset", "index", "places")


@cache
def arrange_kernel() -> int:
    """Address of the kernel that sorts a batch by length and says where its packed rows lie; its job is `ARRANGE`."""

    def make():
        integer = types.int64

        @inlined
        def place(running, B, row, padded, order, index, places):
            """One step: its rows of the padded batch, and where each is among the packed ones."""
            distinct()
            for b in range(running):
                index[b] = padded + order[b]
                places[order[b]] = row + b
            for b in range(running, B):
                places[order[b]] = -1

        def arrange(jobs, part):
            job = record(jobs, 0)
            T, B, lengths, ordered = job.T, job.B, pointer_to(job.lengths, integer), pointer_to(job.sorted, integer)
            order, rank = pointer_to(job.order, integer), pointer_to(job.rank, integer)
            active, first = pointer_to(job.active, integer), pointer_to(job.offset, integer)
            index, places = pointer_to(job.index, integer), pointer_to(job.places, integer)
            for t in range(T):
                active[t] = 0
            for b in range(B):
                if lengths[b] > 0:
                    active[lengths[b] - 1] += 1
            for back in range(1, T):
                active[T - 1 - back] += active[T - back]
            # Sorting by counting: sequences of length n begin behind those that are longer, which still run at step n.
            for t in range(T - 1):
                first[t] = active[t + 1]
            first[T - 1] = 0
            empty = active[0]
            for b in range(B):
                n = lengths[b]
                if n > 0:
                    sorted_place = first[n - 1]
                    first[n - 1] += 1
                else:
                    sorted_place = empty
                    empty += 1
                order[sorted_place], rank[b], ordered[sorted_place] = b, sorted_place, n
            row = 0
            for t in range(T):
                first[t] = row
                place(active[t], B, row, t * B, order, offset(index, row), offset(places, t * B))
                row += active[t]

        return arrange, types.void(pointer_type(ARRANGE), integer)

    return compiled("arrange", "", make)


class HostBatch(Batch):
    """A batch of different lengths, arranged, packed and unpacked by kernels."""

    def _arrange(self, lengths: np.ndarray) -> None:
        T, B, N = self.T, self.B, self.N
        lengths = np.ascontiguousarray(lengths, np.int64)
        sizes = B, B, B, T, T, N, T * B
        room, ends = np.empty(sum(sizes), np.int64), list(accumulate(sizes))
        begins = [end - size for end, size in zip(ends, sizes, strict=True)]
        at = address(room)
        arguments = Arguments.of(ARRANGE, T, B, lengths, *[(room, at + 8 * begin) for begin in begins])
        threads.run(arrange_kernel(), arguments, 1, tiny=True)
        self.order, self.rank, self.lengths, self.active, self.offset, self.index, self._places = (
            room[begin:end] for begin, end in zip(begins, ends, strict=True)
        )

    def pack(self, x: np.ndarray) -> np.ndarray:
        """Rows of a time-major batch (T, B, K), packed: C-contiguous (N, K)."""
        return super().pack(x) if self.uniform else taken(x, self.index)

    def unpack(self, rows: np.ndarray) -> np.ndarray:
        """Packed rows (N, K) as a time-major batch (T, B, K), 0 beyond each sequence's end."""
        if self.uniform:
            return super().unpack(rows)
        return taken(rows, self._places).reshape(self.T, self.B, rows.shape[1])


class Arrays(HostArrays):
    """NumPy arrays."""

    @staticmethod
    def batch(T: int, B: int, lengths: np.ndarray | None) -> Batch:
        """How a batch is packed."""
        return uniform_batch(T, B) if lengths is None else HostBatch(T, B, lengths)

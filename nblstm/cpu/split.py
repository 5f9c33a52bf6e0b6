"""How a layer's work is cut: batch rows into parts, steps into segments."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from nblstm.buffers.batch import Batch
from nblstm.codegen.background import cores
from nblstm.cpu import threads

#: Fewer multiply-adds than this are done on the calling thread: about 10 us.
TINY = 500_000

#: The same for a few packed rows in all: they wait for the weights, which two caches read faster than one. A step of
#: H = 128 takes 6.7 us on one thread or two, one of H = 160 takes 11.8 or 8.3.
TINY_FEW_ROWS = 160_000

#: And the same in BPTT, where the gradients of the weights are little more than memory written, which is slow to come
#: from a core that wrote to it before: a step of H = 256 takes 0.16 ms on one thread and 0.15 to 0.35 on two, one of
#: H = 512 takes 1.05 and 0.68.
TINY_GRADIENTS = 1_000_000

#: With fewer rows than this for each thread, parts are hidden units: a part by rows would read all weights for them.
FEW_ROWS = 4

#: But not if a row's recurrent product has fewer multiply-adds than this, about 0.5 us: 1000 steps of H = 64 take one
#: thread 0.98 ms, and two 0.94, or 2.0 when their cores are slow to hear from each other; 300 steps of H = 96 take
#: 0.66 and 0.50 even then.
SHARED_STEP = 25_000

#: Hidden units are cut between whole cache lines and vectors.
UNIT_BLOCK = 16

#: Pre-activations (numbers) that a part computes ahead; 512 KB of float32 stay in a 1 MB L2 cache.
AHEAD = 131_072

#: Packed rows whose gradients are held at once in BPTT; with 4 H = 2048 they are 8 MB, within the L3 cache.
SEGMENT_ROWS = 1024


@dataclass(frozen=True)
class Cut:
    """How a recurrence is cut into parts.

    Attributes
    ----------
    by_units : bool
        Whether parts are hidden units and share every step, rather than rows of the batch.
    bounds : ndarray of int64, shape (parts + 1,)
    rows : int
        The most rows of the batch that a part has.
    """

    by_units: bool
    bounds: np.ndarray
    rows: int

    @property
    def parts(self) -> int:
        """How many."""
        return len(self.bounds) - 1


def cut(batch: Batch, H: int, columns: int, directions: int, tiny: bool) -> Cut:
    """Cut for the number of threads; a row's recurrent product has so many columns.

    Results do not depend on the cuts: no number is a sum over parts.
    """
    threads_each = -(-threads.num_threads() // directions)
    if tiny or threads_each < 2:
        return Cut(False, np.array([0, batch.B], np.int64), batch.B)
    if FEW_ROWS * threads_each > batch.B and (batch.T == 1 or columns * H > SHARED_STEP):
        # More threads than cores would wait in every step for those that do not run: eight on two cores took 19 ms for
        # 100 steps of H = 512, and take 3.8 as two parts.
        blocks = -(-H // UNIT_BLOCK)
        parts = max(1, min(blocks, threads_each, cores()))
        bounds = np.minimum(np.arange(parts + 1) * blocks // parts * UNIT_BLOCK, H)
        return Cut(parts > 1, bounds if parts > 1 else np.array([0, batch.B], np.int64), batch.B)
    bounds = row_bounds(batch, min(batch.B, threads_each), (0, batch.T))
    return Cut(False, bounds, max(b - a for a, b in pairwise(bounds.tolist())))


def row_bounds(batch: Batch, parts: int, steps: tuple[int, int]) -> np.ndarray:
    """Rows of the batch in parts of which the one with most to do between two steps has as little as can be."""
    lengths = batch.lengths
    if steps != (0, batch.T):
        lengths = np.minimum(np.maximum(lengths, steps[0]), steps[1]) - steps[0]
    work = list(accumulate(lengths.tolist(), initial=0))  # as an array it takes 25 us for 32 rows, and so 8

    def filled(most: int) -> list[int]:
        """Bounds where each part takes rows until it would have more than this to do."""
        bounds = [0]
        for _ in range(parts):
            bounds.append(bisect_right(work, work[bounds[-1]] + most) - 1)
        return bounds

    least = -(-work[-1] // parts)  # and with this and a row more every part can be filled
    candidates = range(least, least + batch.T + 1)
    most = candidates[bisect_left(candidates, True, key=lambda most: filled(most)[-1] == batch.B)]
    return np.array(filled(most), np.int64)


def steps_ahead(T: int, rows: int, z_row: int) -> int:
    """Steps whose input products a part of so many rows computes at once: 128 rows or more, within `AHEAD`."""
    rows = max(1, rows)
    return max(1, min(T, max(AHEAD // (rows * z_row), -(-128 // rows))))


def segments(batch: Batch) -> list[tuple[int, int]]:
    """Consecutive steps, cut so that each run has about `SEGMENT_ROWS` packed rows."""
    if batch.N == 0:
        return []
    cuts = np.searchsorted(batch.offset, np.arange(SEGMENT_ROWS, batch.N, SEGMENT_ROWS))
    edges = [0, *sorted({int(c) for c in cuts if 0 < c < batch.steps}), batch.steps]
    return list(pairwise(edges))


def spans(batch: Batch, checkpoint: int | None) -> list[list[tuple[int, int]]]:
    """Segments in groups of at least ``checkpoint`` steps; all in one group for None.

    Checkpoints fall between segments, so gradients are summed in the same order with and without them.
    """
    groups: list[list[tuple[int, int]]] = [[]]
    for steps in segments(batch):
        if checkpoint is not None and groups[-1] and groups[-1][-1][1] - groups[-1][0][0] >= checkpoint:
            groups.append([])
        groups[-1].append(steps)
    return groups

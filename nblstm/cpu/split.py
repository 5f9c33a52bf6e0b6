"""How a layer's work is cut: batch rows into parts, steps into segments."""

from __future__ import annotations

import numpy as np

from nblstm.batch import Batch
from nblstm.cpu import threads

#: Fewer multiply-adds than this are done on the calling thread: about 10 us.
TINY = 500_000

#: Pre-activations (numbers) that a part computes ahead; 512 KB of float32 stay in a 1 MB L2 cache.
AHEAD = 131_072

#: Packed rows whose gradients are held at once in BPTT; with 4 H = 2048 they are 8 MB, within the L3 cache.
SEGMENT_ROWS = 1024


def row_bounds(batch: Batch, directions: int, tiny: bool) -> np.ndarray:
    """Batch rows ``bounds[p]`` to ``bounds[p + 1]`` are part p; every part has about as many packed rows.

    Rows never meet in a forward or backward pass, so results do not depend on the cuts.
    """
    parts = 1 if tiny else max(1, min(batch.B, -(-threads.num_threads() // directions)))
    work = np.concatenate(([0], np.cumsum(batch.lengths)))
    bounds = np.searchsorted(work, np.arange(parts + 1) * batch.N / parts).astype(np.int64)
    bounds[0], bounds[-1] = 0, batch.B
    return bounds


def steps_ahead(T: int, rows: int, z_row: int) -> int:
    """Steps whose input products a part of so many rows computes at once: 128 rows or more, within `AHEAD`."""
    rows = max(1, rows)
    return max(1, min(T, max(AHEAD // (rows * z_row), -(-128 // rows))))


def segments(batch: Batch) -> list[tuple[int, int]]:
    """Consecutive steps, cut so that each run has about `SEGMENT_ROWS` packed rows."""
    if batch.N == 0:
        return []
    cuts = np.searchsorted(batch.offset, np.arange(SEGMENT_ROWS, batch.N, SEGMENT_ROWS))
    steps = int((batch.active > 0).sum())
    edges = [0, *sorted({int(c) for c in cuts if 0 < c < steps}), steps]
    return list(zip(edges[:-1], edges[1:], strict=True))


def packed_rows(batch: Batch, steps: tuple[int, int]) -> tuple[int, int]:
    """The packed rows of some consecutive steps."""
    return int(batch.offset[steps[0]]), int(batch.offset[steps[1] - 1] + batch.active[steps[1] - 1])

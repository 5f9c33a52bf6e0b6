"""Sizes of a layer's pass, and its work cut up: batch rows or hidden units into parts, time steps into segments.

Results do not depend on the cuts: no number is a sum over parts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from nblstm.buffers.batch import Batch
from nblstm.cells.cell import Cell
from nblstm.cells.stages import backward_program, forward_program
from nblstm.codegen.background import cores
from nblstm.cpu import threads, thresholds
from nblstm.cpu.arguments import DTYPES

#: Consecutive steps: the first, and the one after the last.
Steps = tuple[int, int]

#: Hidden units are cut between whole cache lines and vectors.
UNIT_BLOCK = 16


class Sizes(NamedTuple):
    """Sizes that kernel arguments are made of, beside the batch's; letters as everywhere."""

    cell: Cell
    gates: tuple[str, ...]  # their order in the parameters
    directions: tuple[bool, ...]  # for each whether it reads from the last step to the first
    D: int
    I: int
    H: int
    B: int
    state_plane: int
    dtype: str
    precision: str  # of matrix products, see `products.py`

    @classmethod
    def of(cls, network, I: int, states: np.ndarray) -> Sizes:
        """Make the sizes of a layer with I inputs, and states (S, D, B, H) that are a slice of those of all layers."""
        _, _, B, H = states.shape
        plane, dtype = states.strides[0] // states.itemsize, DTYPES[states.itemsize]
        return cls(network.cell, network.gates, network.directions, network.D, I, H, B, plane, dtype, network.precision)

    @property
    def item(self) -> int:
        """Bytes of a number."""
        return 4 if self.dtype == "float32" else 8

    @property
    def input_columns(self) -> int:
        """Columns of a row's input product."""
        return len(self.cell.input_gates) * self.H

    @property
    def columns(self) -> int:
        """Columns of a row's recurrent product."""
        return len(self.cell.recurrent_gates) * self.H

    @property
    def z_row(self) -> int:
        """Numbers of a row of the workspace forward."""
        return forward_program(self.cell).row.size(self.H)

    @property
    def dz_row(self) -> int:
        """Numbers of a row of the workspace backward."""
        return backward_program(self.cell).row.size(self.H)

    def is_serial(self, batch: Batch, limit_few_rows: int) -> bool:
        """Say whether a pass is too little work for threads; ``limit_few_rows`` is the limit where rows are few."""
        limit = thresholds.SERIAL_WORK if batch.N >= 2 * thresholds.ROWS_PER_THREAD else limit_few_rows
        return batch.N * (self.input_columns * self.I + self.columns * self.H) < limit * threads.patience()


class Partition(NamedTuple):
    """A recurrence cut into parts.

    Attributes
    ----------
    by_units : bool
        Whether parts are hidden units and share every step, rather than rows of the batch.
    bounds : ndarray of int64, shape (parts + 1,)
        Part p has the rows, or units, ``bounds[p]`` to ``bounds[p + 1]``.
    rows : int
        The most rows of the batch that a part has.
    """

    by_units: bool
    bounds: np.ndarray
    rows: int

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self.bounds) - 1


def partition(
    batch: Batch, H: int, columns: int, directions: int, serial: bool, whole_rows: bool = False
) -> Partition:  # fmt: skip
    """Cut a recurrence for the number of threads.

    Parameters
    ----------
    batch : Batch
    H, columns : int
        The recurrent product of a row has H x columns multiply-adds.
    directions : int
        Each has its share of the threads.
    serial : bool
        One part: the calling thread does it all.
    whole_rows : bool
        Whether a part needs all units of its rows.
    """
    threads_each = -(-threads.num_threads() // directions)
    if serial or threads_each < 2:
        return Partition(False, np.array([0, batch.B], np.int64), batch.B)
    few_rows = thresholds.ROWS_PER_THREAD * threads_each > batch.B and not whole_rows
    if few_rows and (batch.T == 1 or columns * H > thresholds.SHARED_STEP_WORK):
        # More threads than cores would wait in every step for those that do not run: eight on two cores took 19 ms for
        # 100 steps of H = 512, and take 3.8 as two parts.
        blocks = -(-H // UNIT_BLOCK)
        parts = max(1, min(blocks, threads_each, cores()))
        bounds = np.minimum(np.arange(parts + 1) * blocks // parts * UNIT_BLOCK, H)
        return Partition(parts > 1, bounds if parts > 1 else np.array([0, batch.B], np.int64), batch.B)
    bounds = row_bounds(batch, max(1, min(batch.B, threads_each)), (0, batch.T))
    return Partition(False, bounds, max(b - a for a, b in pairwise(bounds.tolist())))


def row_bounds(batch: Batch, parts: int, steps: tuple[int, int]) -> np.ndarray:
    """Split rows into consecutive parts so that the largest part is minimal (work = sum of lengths, in some steps)."""
    lengths = batch.lengths
    if steps != (0, batch.T):
        lengths = np.minimum(np.maximum(lengths, steps[0]), steps[1]) - steps[0]
    work = list(accumulate(lengths.tolist(), initial=0))  # as an array it takes 25 us for 32 rows, and so 8

    def filled(most: int) -> list[int]:
        """Fill each part with rows until the next would make its work more than ``most``."""
        bounds = [0]
        for _ in range(parts):
            bounds.append(bisect_right(work, work[bounds[-1]] + most) - 1)
        return bounds

    # The smallest ``most`` with which all rows are in a part, by bisection: it is at least the mean, and with a row of
    # at most T more every part reaches the mean.
    least = -(-work[-1] // parts)
    candidates = range(least, least + batch.T + 1)
    most = candidates[bisect_left(candidates, True, key=lambda most: filled(most)[-1] == batch.B)]
    return np.array(filled(most), np.int64)


def steps_ahead(T: int, rows: int, z_row: int) -> int:
    """Steps of a segment whose input products a part of so many rows, of z_row pre-activations, computes at once."""
    rows = max(1, rows)
    return max(1, min(T, max(thresholds.PREACTIVATIONS_AHEAD // (rows * z_row), -(-thresholds.ROWS_AHEAD // rows))))


def in_order(steps: Steps, T: int, reverse: bool) -> dict[str, int]:
    """Kernel arguments: steps as a direction counts them."""
    first, last = (T - steps[1], T - steps[0]) if reverse else steps
    return {"reverse": int(reverse), "first": first, "last": last}


def spans(batch: Batch, directions: tuple[bool, ...], checkpoint: int | None) -> list[list[list[Steps]]]:
    """Cut a pass into spans, whose history is held at once: one without ``checkpoint``, else of about so many steps.

    Returns
    -------
    list of list of list of (int, int)
        For each span and direction its segments, of about `thresholds.BPTT_SEGMENT_ROWS` packed rows, in the order of
        time. Spans end where segments do, so that gradients are summed in the same order with and without checkpoints.
        Who reads backwards begins at the end.
    """
    rows = thresholds.BPTT_SEGMENT_ROWS
    cuts = np.searchsorted(batch.offset, np.arange(rows, batch.N, rows))
    edges = [0, *sorted({int(c) for c in cuts if 0 < c < batch.steps}), batch.steps]
    groups: list[list[Steps]] = [[]]
    for steps in pairwise(edges) if batch.N else ():
        if checkpoint is not None and groups[-1] and groups[-1][-1][1] - groups[-1][0][0] >= checkpoint:
            groups.append([])
        groups[-1].append(steps)
    return [[groups[-1 - k] if reverse else groups[k] for reverse in directions] for k in range(len(groups))]


def whole(group: list[Steps]) -> Steps:
    """All steps of consecutive segments as one."""
    return (group[0][0], group[-1][1]) if group else (0, 0)

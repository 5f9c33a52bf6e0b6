"""Sizes of one layer's pass, and the steps of its parts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nblstm.buffers.batch import Batch
from nblstm.cells.cell import Cell
from nblstm.cpu import thresholds
from nblstm.cpu.arguments import DTYPES
from nblstm.cpu.partition import segment_groups

#: Consecutive steps: the first, and the one after the last.
Steps = tuple[int, int]


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

    @classmethod
    def of(cls, network, I: int, states: np.ndarray) -> Sizes:
        """Make the sizes of a layer with I inputs, and states (S, D, B, H) that are a slice of those of all layers."""
        _, _, B, H = states.shape
        plane, dtype = states.strides[0] // states.itemsize, DTYPES[states.itemsize]
        return cls(network.cell, network.gates, network.directions, network.D, I, H, B, plane, dtype)

    @property
    def item(self) -> int:
        """Bytes of a number."""
        return 4 if self.dtype == "float32" else 8

    @property
    def columns(self) -> int:
        """G H: columns of a row's recurrent product, and of its input product."""
        return len(self.cell.gates) * self.H

    @property
    def z_row(self) -> int:
        """Pre-activations of one row, and the operand of a second product."""
        return (len(self.cell.preactivations) + len(self.cell.second[:1])) * self.H

    @property
    def products(self) -> dict[str, int]:
        """Kernel arguments: where in a row of z the recurrent products' results and the second's operand are."""
        cell, H = self.cell, self.H
        return {
            "recurrent_start": len(cell.split) * H, "second_columns": len(cell.second) * H,
            "operand_start": len(cell.preactivations) * H,
        }  # fmt: skip

    def tiny(self, batch: Batch, few_rows: int) -> bool:
        """Say whether a pass is too little work for threads; ``few_rows`` is the limit where rows are few."""
        limit = thresholds.SERIAL_WORK if batch.N >= 2 * thresholds.ROWS_PER_THREAD else few_rows
        return batch.N * self.columns * (self.I + self.H) < limit


def in_order(steps: Steps, T: int, reverse: bool) -> dict[str, int]:
    """Kernel arguments: steps as a direction counts them."""
    first, last = (T - steps[1], T - steps[0]) if reverse else steps
    return {"reverse": int(reverse), "first": first, "last": last}


def spans(batch: Batch, directions: tuple[bool, ...], checkpoint: int | None) -> list[list[list[Steps]]]:
    """Cut a pass into spans, whose history is held at once: one without ``checkpoint``, else of about so many steps.

    Returns
    -------
    list of list of list of (int, int)
        For each span and direction its segments in the order of time. Spans end where segments do, so
        that gradients are summed in the same order with and without checkpoints. Who reads backwards begins at the end.
    """
    groups = segment_groups(batch, checkpoint)
    return [[groups[-1 - k] if reverse else groups[k] for reverse in directions] for k in range(len(groups))]


def whole(group: list[Steps]) -> Steps:
    """All steps of consecutive segments as one."""
    return (group[0][0], group[-1][1]) if group else (0, 0)

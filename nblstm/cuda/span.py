"""A span of steps of one layer: the arrays that kernels fill, for the caller and for BPTT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nblstm.cells.cell import Cell
from nblstm.cells.step_parts import saved_size
from nblstm.cuda.arrays import DeviceBatch


@dataclass(frozen=True)
class Span:
    """Consecutive steps of one layer, all directions (D).

    Attributes
    ----------
    cell : Cell
    batch : DeviceBatch
    first, last : int
        The first step and the one behind the last, as each direction counts them: direction 1 begins at the end.
    starts, counts : tuple of int
        For each direction its first packed row, and how many; n is the largest count.
    training : bool
        Whether ``other_states`` and ``saved`` are kept.
    y : device array, shape (B + n, D H)
        Outputs before the span, then of its packed rows.
    other_states : device array, shape (D, S - 1, B + n, H)
        The states that are not the output, likewise; in the order of `Cell.taped`.
    saved : device array, shape (D, n, K H)
        Values that the cell saves for BPTT, behind them those that all units share.
    """

    cell: Cell
    batch: DeviceBatch
    first: int
    last: int
    starts: tuple[int, ...]
    counts: tuple[int, ...]
    training: bool
    y: Any
    other_states: Any
    saved: Any

    @classmethod
    def allocate(
        cls, xp, cell: Cell, batch: DeviceBatch, first: int, last: int, state, training: bool
    ) -> Span:  # fmt: skip
        """Allocate a span, and put the states (S, D, B, H) before it in front of its rows."""
        S, D, B, H = state.shape
        rows = [batch.rows(_as_the_batch_counts(batch, first, last, d)) for d in range(D)]
        counts = tuple(hi - lo for lo, hi in rows)
        n = max(counts)
        y = xp.empty((B + n, D * H), state.dtype)
        other_states = xp.empty((D, S - 1, B + n, H) if training else (D, 1, B + n, 0), state.dtype)
        saved = xp.empty((D, n, saved_size(cell, H) if training else 0), state.dtype)
        if training:
            output, *others = (cell.states.index(name) for name in cell.taped)
            y[:B] = state[output].swapaxes(0, 1).reshape(B, D * H)
            for plane, k in enumerate(others):
                other_states[:, plane, :B] = state[k]
        starts = tuple(lo for lo, _ in rows)
        return cls(cell, batch, first, last, starts, counts, training, y, other_states, saved)

    @property
    def n(self) -> int:
        """Packed rows of the direction that has most."""
        return max(self.counts)

    @property
    def kind(self) -> str:
        """Kind of the kernels that fill it."""
        return "training" if self.training else "inference"

    @property
    def other_states_plane(self) -> int:
        """Distance between two of the other states, in numbers."""
        return self.other_states.shape[2] * self.other_states.shape[3]

    def previous(self, direction: int):
        """For each packed row (n,), the row of ``y`` and ``other_states`` with the states before its step."""
        steps = _as_the_batch_counts(self.batch, self.first, self.last, direction)
        return self.batch.device_previous(direction, steps)

    def recurrent_inputs(self, direction: int):
        """h_{t-1} of each packed row, (count, H): the first state, which W_hh multiplied."""
        H = self.other_states.shape[3]
        place = self.cell.taped.index(self.cell.states[0])
        if place:
            return self.other_states[direction, place - 1][self.previous(direction)]
        return self.y[:, direction * H : (direction + 1) * H][self.previous(direction)]


def _as_the_batch_counts(batch: DeviceBatch, first: int, last: int, direction: int) -> tuple[int, int]:
    return (batch.T - last, batch.T - first) if direction else (first, last)

"""What the forward pass of a layer leaves behind, for the caller and for BPTT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nblstm.cells.cell import Cell
from nblstm.cuda.batch import DeviceBatch


@dataclass(frozen=True)
class Record:
    """Some consecutive steps of one layer, all directions.

    Attributes
    ----------
    cell : Cell
    batch : DeviceBatch
    span : (int, int)
        First step and the one behind the last, as each direction counts them: direction 1 begins at the end.
    starts, counts : tuple of int
        For each direction its first packed row, and how many (n is the largest).
    training : bool
        Whether there are ``tape`` and ``saved``.
    y : device array, shape (B + n, D H)
        Outputs before these steps, then of their packed rows.
    tape : device array, shape (D, S - 1, B + n, H)
        The other states likewise, see `Cell.taped`.
    saved : device array, shape (D, n, K H)
        What the cell saves for BPTT.
    """

    cell: Cell
    batch: DeviceBatch
    span: tuple[int, int]
    starts: tuple[int, ...]
    counts: tuple[int, ...]
    training: bool
    y: Any
    tape: Any
    saved: Any

    @classmethod
    def of(cls, xp, cell: Cell, batch: DeviceBatch, span: tuple[int, int], state, training: bool) -> Record:
        """A record to be filled, from the states (S, D, B, H) before its steps."""
        S, D, B, H = state.shape
        rows = [batch.rows(steps_of(batch, span, d)) for d in range(D)]
        counts = tuple(hi - lo for lo, hi in rows)
        n = max(counts)
        y = xp.empty((B + n, D * H), state.dtype)
        tape = xp.empty((D, S - 1, B + n, H) if training else (D, 1, B + n, 0), state.dtype)
        saved = xp.empty((D, n, len(cell.graph.saved) * H if training else 0), state.dtype)
        if training:
            first, *others = (cell.states.index(name) for name in cell.taped)
            y[:B] = state[first].swapaxes(0, 1).reshape(B, D * H)
            for plane, k in enumerate(others):
                tape[:, plane, :B] = state[k]
        return cls(cell, batch, span, tuple(lo for lo, _ in rows), counts, training, y, tape, saved)

    @property
    def tape_plane(self) -> int:
        """Numbers between one state's tape and the next's."""
        return self.tape.shape[2] * self.tape.shape[3]

    def previous(self, direction: int):
        """For each packed row, where in ``y`` and ``tape`` the states before its step are."""
        return self.batch.device_previous(direction, steps_of(self.batch, self.span, direction))

    def recurrent_inputs(self, direction: int):
        """What the recurrent weights multiplied at each packed row, (count, H)."""
        H = self.tape.shape[3]
        place = self.cell.taped.index(self.cell.states[0])
        states = self.tape[direction, place - 1] if place else self.y[:, direction * H : (direction + 1) * H]
        return states[self.previous(direction)]


def steps_of(batch: DeviceBatch, span: tuple[int, int], direction: int) -> tuple[int, int]:
    """A span of steps, as the batch counts them."""
    return (batch.T - span[1], batch.T - span[0]) if direction else span

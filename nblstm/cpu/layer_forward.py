"""Forward through one layer over consecutive steps: what it allocates, and what the kernel is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import Batch
from nblstm.cells.cell import Cell
from nblstm.cpu import threads, thresholds
from nblstm.cpu.arguments import ForwardArguments, Launch, address, place
from nblstm.cpu.kernels.barrier import sync_size
from nblstm.cpu.kernels.forward import forward_by_rows, forward_by_units
from nblstm.cpu.kernels.inputs import input_products
from nblstm.cpu.matrix.products import panel_numbers, product
from nblstm.cpu.partition import Sizes, Steps, in_order, partition, steps_ahead
from nblstm.cpu.tables import forward_table, given_table
from nblstm.cpu.weights import PackedWeights


@dataclass(frozen=True)
class History:
    """Values that one direction keeps for BPTT, of n packed rows from the row ``start`` on.

    Attributes
    ----------
    start : int
    y : ndarray, shape (B + n, H)
        Outputs before the first step, then of the packed rows.
    states : ndarray, shape (S - 1, B + n, H)
        The other states likewise, see `Cell.taped`.
    saved : ndarray, shape (n, K H)
        The K values that the cell saves.
    by_state : tuple of ndarray, shape (B + n, H)
        Views of ``y`` and ``states`` in the order of the cell's states.
    """

    start: int
    y: np.ndarray
    states: np.ndarray
    saved: np.ndarray
    by_state: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, cell: Cell, start: int, y: np.ndarray, states: np.ndarray, saved: np.ndarray) -> History:
        """Make a history of arrays to be filled."""
        taped = dict(zip(cell.taped, (y, *states), strict=True))
        return cls(start, y, states, saved, tuple(taped[state] for state in cell.states))

    def fields(self, first_row: int) -> dict:
        """Arguments of kernels that count packed rows from the first of the batch, which is row ``first_row`` here."""
        item, H = self.y.itemsize, self.y.shape[1]
        y_row, row = self.y.strides[0] // item, first_row - self.start
        return {
            "y": place(self.y, row * y_row * item), "y_row": y_row,
            "tape": place(self.states, row * H * item), "tape_plane": self.states.shape[1] * H, "tape_row": H,
            "saved": place(self.saved, -self.start * self.saved.shape[1] * item), "saved_row": self.saved.shape[1],
        }  # fmt: skip


def layer_arguments(sizes: Sizes, training: bool, taping: bool = False) -> dict[str, Any]:
    """Arguments of a layer's kernel that are the same for all batches of as many sequences."""
    cell, dtype, precision = sizes.cell, sizes.dtype, sizes.precision
    instructions, starts = forward_table(cell, dtype, sizes.H, training, taping)
    return {
        "I": sizes.I, "H": sizes.H, "input_columns": sizes.input_columns, "recurrent_columns": sizes.columns,
        "recurrent_start": cell.recurrent_start * sizes.H, "program": instructions, "stage_starts": starts,
        "stages": len(starts) - 1, "given": given_table(cell), "givens": len(given_table(cell)),
        "given_start": len(cell.preactivations) * sizes.H, "x_row": sizes.I, "state_plane": sizes.state_plane,
        "y_row": sizes.D * sizes.H, "z_row": sizes.z_row, "input_products": input_products(precision),
        "gemm": product(precision), "w_x_panel": panel_numbers(precision, sizes.I),
        "w_h_panel": panel_numbers(precision, sizes.H),
    }  # fmt: skip


class LayerForward:
    """Workspace and kernel arguments of all directions of a layer.

    Parameters
    ----------
    sizes : Sizes
    batch : Batch
    steps : list of (int, int)
        Of each direction.
    histories : list of History, or None
        For training: where each direction keeps what BPTT needs. Without, `forward` is given ``y``.
    every_state : bool, default False
        Without histories, whether the states of each step are kept for `states_at_each_step`.
    """

    def __init__(
        self, sizes: Sizes, batch: Batch, steps: list[Steps], histories: list[History] | None,
        every_state: bool = False,
    ):  # fmt: skip
        self._sizes = sizes
        D, dtype, training = sizes.D, sizes.dtype, histories is not None
        self._arguments = Launch(ForwardArguments, D)
        others = len(sizes.cell.states) - 1 if every_state else 0
        self._tape: np.ndarray | None = None
        for d, record in enumerate(self._arguments):
            record.set(**layer_arguments(sizes, training, others > 0))
            record.set(**histories[d].fields(sizes.B) if histories else {})
        self._z = np.empty((D, 0), dtype)
        if others:
            rows = batch.T * batch.B  # room for all lengths
            self._tape = memory.empty((others, D, rows, sizes.H), dtype)
            for d, record in enumerate(self._arguments):
                record.set(tape=self._tape[0, d], tape_plane=D * rows * sizes.H, tape_row=sizes.H)
        self.arrange(batch, steps)
        self._weights: list[PackedWeights] | None = None
        self._x: np.ndarray | None = None
        self._states: np.ndarray | None = None
        self._y: np.ndarray | None = None

    def take(self, signals: list[np.ndarray], seeds: list[int]) -> None:
        """Take what the cell is given with each step beside x.

        Parameters
        ----------
        signals : list of ndarray, each (N,) or (N, H)
            Packed rows, in the cell's order.
        seeds : list of int
            Of each direction's noise.
        """
        cell = self._sizes.cell
        table = given_table(cell)
        first = len(cell.given) - len(signals)
        for k, array in enumerate(signals, first):
            table[k, 1:] = address(array), array.strides[0] // array.itemsize, array.ndim - 1
        self._signals = signals  # the table has their addresses
        for record, seed in zip(self._arguments, seeds, strict=True):
            record.set(given=table, seed=seed)

    def arrange(self, batch: Batch, steps: list[Steps] | None = None) -> None:
        """Set what depends on the lengths of a batch of T steps and B sequences."""
        sizes = self._sizes
        steps = steps or [(0, batch.steps)] * sizes.D
        self._serial = sizes.is_serial(batch, thresholds.SERIAL_WORK_FEW_ROWS)
        work = partition(batch, sizes.H, sizes.columns, sizes.D, self._serial)
        parts = work.parts
        self._shared, self._parts = work.by_units, parts * sizes.D
        self._kernel = (forward_by_units if work.by_units else forward_by_rows)(sizes.dtype)
        segment = steps_ahead(batch.T, work.rows, sizes.z_row)
        z_part = 0 if work.by_units else segment * work.rows * sizes.z_row
        z_size = z_part * parts or segment * work.rows * sizes.z_row
        if self._z.shape[1] < z_size:
            self._z = memory.empty((sizes.D, z_size), sizes.dtype)
        if work.by_units:
            self._h = memory.empty((sizes.D, 2, sizes.B, sizes.H), sizes.dtype)
            self._sync = memory.empty((sizes.D, sync_size(parts)), np.int64)
        self.nbytes = self._z.nbytes + (0 if self._tape is None else self._tape.nbytes)
        self.nbytes += self._h.nbytes + self._sync.nbytes if work.by_units else 0
        sparse = thresholds.sparse_limit(sizes.I, max(1, sizes.input_columns // (parts if work.by_units else 1)))
        for d, record in enumerate(self._arguments):
            record.set(
                parts=parts, bounds=work.bounds, T=batch.T, B=sizes.B, segment=segment,
                **in_order(steps[d], batch.T, sizes.directions[d]),
                active=batch.active, offset=batch.offset, z=self._z[d], z_part=z_part, sparse=sparse,
            )  # fmt: skip
            if work.by_units:
                record.set(h=self._h[d], sync=self._sync[d])

    def forward(
        self, weights: list[PackedWeights], x: np.ndarray, states: np.ndarray, y: np.ndarray | None, zero: bool
    ) -> np.ndarray | None:
        """Run the kernel, and return ``y``.

        Parameters
        ----------
        weights : list of PackedWeights
            Of each direction.
        x : ndarray, shape (N, I), or (D, N, I) where directions read different ones
            Packed rows.
        states : ndarray, shape (S, D, B, H)
            States before the steps, which become those after them.
        y : ndarray, shape (N, D H), or None
            Where outputs go if there is no history.
        zero : bool
            Whether all states are 0.
        """
        # Arrays are mostly those of the call before, and to set an address takes 0.4 us. An exception of a signal's
        # handler may come between any two lines: what is set is unknown until all of it is.
        if weights is not self._weights:
            self._weights = None
            for record, own in zip(self._arguments, weights, strict=True):
                for field, (array, at) in own.forward.items():
                    setattr(record, field, at)
                    record.held[field] = array
            self._weights = weights
        if x is not self._x:
            self._x = None
            self._arguments.point("x", x, x.strides[0] if x.ndim == 3 else 0)
            self._x = x
        if states is not self._states:
            self._states = None
            self._arguments.point("state", states, states.strides[1])
            self._states = states
        if y is not self._y:
            self._y = None
            self._arguments.point("y", y, self._sizes.H * self._sizes.item)
            self._y = y
        if self._shared:
            # Both planes of outputs begin as those before the first step, the barrier's counters as 0.
            if zero:
                self._h.fill(0)
            else:
                self._h[:] = states[0][:, None]
            self._sync.fill(0)
        threads.run(self._kernel, self._arguments, self._parts, serial=self._serial)
        return y

    def states_at_each_step(self, k: int) -> np.ndarray:
        """State k, in the cell's order and not the output, after each packed row (N, D H)."""
        cell = self._sizes.cell
        assert self._tape is not None
        own = self._tape[cell.taped.index(cell.states[k]) - 1]
        return own[0] if len(own) == 1 else np.concatenate(list(own), axis=1)

    def let_go(self) -> None:
        """Hold inputs and outputs of an inference no longer; they are the caller's."""
        self._x = self._y = None
        for record in self._arguments:
            record.let_go("x", "y")

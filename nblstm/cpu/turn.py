"""One turn of a training pass through one layer: its memory, and the jobs that refer to it.

With checkpoints a pass has several turns, one after another; else it is one turn. Putting jobs together takes longer
than a short sequence does, so the turns of small passes are used again, see `layer.py`; what then changes from call to
call is written into the jobs by `Turn.run` and `Turn.backward`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cache

import numpy as np

from nblstm import memory
from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.jobs import BACKWARD, FORWARD, GRADIENTS, address, array_address
from nblstm.cpu.plans import BackwardPlan, ForwardPlan
from nblstm.cpu.rows import taken
from nblstm.cpu.weights import Weights
from nblstm.layout import suffix

#: Parameters whose gradients are matrix products and sums over rows.
TARGETS = "weight_ih", "weight_hh", "bias_ih", "bias_hh"

_X, _STATE, *_WEIGHTS = (FORWARD.index(field) for field in ("x", "state", "w_x", "w_h", "bias", "vectors"))
_D_STATE, _DY, _DY_ROW, _W_H, _VECTORS, _D_VECTORS = (
    BACKWARD.index(field) for field in ("d_state", "dy", "dy_row", "w_h", "vectors", "d_vectors")
)
_PARTS, _ROWS_OF_X, _H, _H_ROW, _W_X, _DX, _SPARSE_BLOCK, _FIRST_TARGET = (
    GRADIENTS.index(field) for field in ("parts", "x", "h", "h_row", "w_x", "dx", "sparse_block", f"d_{TARGETS[0]}")
)
_TARGETS = slice(_FIRST_TARGET, _FIRST_TARGET + len(TARGETS))  # one after another


@cache
def target_names(layer: int, directions: int) -> list[list[str]]:
    """`TARGETS` of a layer, for each direction."""
    return [[name + suffix(layer, d) for name in TARGETS] for d in range(directions)]


@dataclass(frozen=True)
class Record:
    """What one direction leaves for BPTT, of n packed rows from the row ``start`` on.

    Attributes
    ----------
    start : int
    y : ndarray, shape (B + n, H)
        Outputs before the turn, then of its packed rows.
    states : ndarray, shape (S - 1, B + n, H)
        The other states likewise, see `Cell.taped`.
    saved : ndarray, shape (n, K H)
        The K values that the cell saves.
    histories : tuple of ndarray, shape (B + n, H)
        Views of ``y`` and ``states`` in the order of the cell's states.
    """

    start: int
    y: np.ndarray
    states: np.ndarray
    saved: np.ndarray
    histories: tuple[np.ndarray, ...]

    @classmethod
    def empty(cls, cell: Cell, start: int, n: int, y: np.ndarray) -> Record:
        """To be filled; ``y`` is given, as the directions' outputs may be columns of one array."""
        B, H = len(y) - n, y.shape[1]
        states = memory.empty((len(cell.states) - 1, B + n, H), y.dtype)
        taped = dict(zip(cell.taped, (y, *states), strict=True))
        saved = memory.empty((n, len(cell.graph.saved) * H), y.dtype)
        return cls(start, y, states, saved, tuple(taped[state] for state in cell.states))

    def addresses(self, first_row: int) -> dict[str, int]:
        """For jobs that count packed rows from the batch's first, which they expect at ``first_row`` of the arrays."""
        item, H = self.y.itemsize, self.y.shape[1]
        y_row, row = self.y.strides[0] // item, first_row - self.start
        return {
            "y": address(self.y) + row * y_row * item, "y_row": y_row,
            "tape": address(self.states) + row * H * item, "tape_plane": self.states.shape[1] * H,
            "saved": address(self.saved) - self.start * self.saved.shape[1] * item,
        }  # fmt: skip


class Turn:
    """One turn of a training pass through one layer, all directions.

    Parameters
    ----------
    cell : Cell
    plan : ForwardPlan
    number : int
        Which turn of the plan.
    state : ndarray, shape (S, D, B, H)
        Any of the shape and dtype to come.

    Attributes
    ----------
    y : ndarray, shape (B + N, D H), or None
        Outputs of all directions, where they have the same rows in this turn; else they are in `records`.
    records : list of Record
    nbytes : int
    """

    def __init__(self, cell: Cell, plan: ForwardPlan, number: int, state: np.ndarray):
        _, D, B, H = state.shape
        self._plan, self.number = plan, number
        spans, self.y = plan.turns[number], None
        if all(span == spans[0] for span in spans):  # one array, so that the outputs lie as the caller wants them
            lo, hi = spans[0]
            self.y = memory.empty((B + hi - lo, D * H), state.dtype)
            ys = [self.y[:, d * H : (d + 1) * H] for d in range(D)]
        else:
            ys = [memory.empty((B + hi - lo, H), state.dtype) for lo, hi in spans]
        self.records = [Record.empty(cell, lo, hi - lo, y) for (lo, hi), y in zip(spans, ys, strict=True)]
        self._scratch, self._jobs = plan.prepared(number, state, [record.addresses(B) for record in self.records])
        self._spare: list[Return] = []
        self.nbytes = self._scratch.nbytes + sum(r.y.nbytes + r.states.nbytes + r.saved.nbytes for r in self.records)

    def run(self, weights: list[Weights], x: np.ndarray, state: np.ndarray) -> None:
        """Forward, from the packed rows x and from ``state``, which becomes the states after the turn."""
        self.bind(weights, x, state)
        self.begin(state)
        self.launch(state)

    def bind(self, weights: list[Weights], x: np.ndarray, state: np.ndarray) -> None:
        """Write into the jobs where all of it is."""
        B, H = state.shape[2:]
        x_at, state_at, jobs = address(x), address(state), self._jobs
        for d, own in enumerate(weights):
            start = d * len(FORWARD)
            jobs[start + _X], jobs[start + _STATE] = x_at, state_at + d * B * H * x.itemsize
            for k, at in zip(_WEIGHTS, own.forward.values(), strict=True):
                jobs[start + k] = at

    def begin(self, state: np.ndarray) -> None:
        """Record the states before the turn."""
        B = state.shape[2]
        for d, record in enumerate(self.records):
            for history, before in zip(record.histories, state[:, d], strict=True):
                history[:B] = before

    def launch(self, state: np.ndarray) -> None:
        """Run on what was bound, ``state`` among it."""
        self._scratch.prepare(state)
        threads.run(self._plan.kernel, array_address(self._jobs), self._plan.parts, tiny=self._plan.tiny)

    def backward(
        self, plan: BackwardPlan, weights: list[Weights], x: np.ndarray, dy: np.ndarray | None, d_state: np.ndarray,
        targets: list[list[int]], d_vectors: np.ndarray | None, dx: np.ndarray | None,
    ) -> None:  # fmt: skip
        """BPTT through the turn.

        Parameters
        ----------
        plan : BackwardPlan
        weights : list of Weights
        x : ndarray, shape (N, I)
            Packed rows of the whole pass, as are those of ``dy`` and ``dx``.
        dy : ndarray, shape (N, D H), or None
        d_state : ndarray, shape (S, D, B, H)
            Gradient with respect to the states after the turn; that of the states before it on return.
        targets : list of list of int
            For each direction, where the gradients of `TARGETS` go, 0 where there is none.
        d_vectors : ndarray, shape (D, B, V H), or None
            Gradients of the cell's vectors for each row of the batch, which are added to.
        dx : ndarray, shape (D, N, I), or None
        """
        try:
            made = self._spare.pop()
        except IndexError:  # the first time, or another thread has it
            made = Return(plan, self)
        if made.plan is not plan:
            made = Return(plan, self)
        made.bind(weights, x, dy, d_state, d_vectors, dx)
        made.aim(targets)
        made.run()
        self._spare.append(made)


class Return:
    """The memory and jobs of BPTT through one turn."""

    def __init__(self, plan: BackwardPlan, turn: Turn):
        self.plan, self._records = plan, turn.records
        self._previous, self._segments = plan.previous[turn.number], plan.segments[turn.number]
        y = turn.records[0].y
        D, item = len(turn.records), y.itemsize
        self._dz = memory.empty((D, plan.dz_rows, plan.dz_row), y.dtype)
        self._sync = memory.empty((D, plan.sync_size), np.int64)
        recorded = [
            record.addresses(0) | {
                "previous": address(self._previous[d]) - record.start * 8,
                "y_all": address(record.y), "tape_all": address(record.states),
                "dz": address(self._dz) + d * plan.dz_rows * plan.dz_row * item,
            }
            for d, record in enumerate(self._records)
        ]  # fmt: skip
        self._jobs = []
        for segment in self._segments:
            loop = segment.backward.completed([
                recorded[d] | {"sync": address(self._sync) + d * plan.sync_size * 8} for d in segment.directions
            ])  # fmt: skip
            gradients = [jobs.completed([{"dz": recorded[d]["dz"], "sparse_block": plan.sparse_block}])
                         for d, jobs in zip(segment.directions, segment.gradients, strict=True)]  # fmt: skip
            self._jobs.append((loop, gradients))
            for d, (lo, _), own in zip(segment.directions, segment.rows, gradients, strict=True):
                if plan.in_place(d):
                    h = self._records[d].histories[0][lo - self._records[d].start :]
                    own[_H], own[_H_ROW] = address(h), h.strides[0] // item

    def bind(self, weights, x, dy, d_state, d_vectors, dx) -> None:
        """Write into the jobs what may change from call to call; see `Turn.backward`."""
        plan, item = self.plan, x.itemsize
        _, D, B, H = d_state.shape
        I = x.shape[1]
        x_at, d_state_at, d_vectors_at = address(x), address(d_state), address(d_vectors)
        dy_at, dy_row, dy_next = (address(plan.zeros), 0, 0) if dy is None else (address(dy), D * H, H * item)
        dx_at, dx_next = (0, 0) if dx is None else (address(dx), dx.strides[0])
        d_vectors_next = 0 if d_vectors is None else d_vectors.strides[0]
        for segment, (loop, gradients) in zip(self._segments, self._jobs, strict=True):
            for k, d in enumerate(segment.directions):
                start, lo = k * len(BACKWARD), segment.rows[k][0]
                loop[start + _D_STATE] = d_state_at + d * B * H * item
                loop[start + _DY], loop[start + _DY_ROW] = dy_at + d * dy_next, dy_row
                back_x_at, loop[start + _W_H], loop[start + _VECTORS] = weights[d].backward
                loop[start + _D_VECTORS] = d_vectors_at + d * d_vectors_next
                own = gradients[k]
                own[_PARTS] = plan.weight_parts if dx is None else segment.parts[k]
                own[_ROWS_OF_X], own[_W_X] = x_at + lo * I * item, back_x_at
                own[_DX] = dx_at + d * dx_next + lo * I * item

    def aim(self, targets: list[list[int]]) -> None:
        """Write into the jobs where the gradients of the parameters go; see `Turn.backward`."""
        addresses = [array("q", own) for own in targets]
        for segment, (_, gradients) in zip(self._segments, self._jobs, strict=True):
            for d, jobs in zip(segment.directions, gradients, strict=True):
                jobs[_TARGETS] = addresses[d]

    def run(self) -> None:
        """Launch: for each segment the loop over time, then the gradients that it leads to."""
        plan = self.plan
        (loop_kernel, gradients_kernel), tiny, by_units = plan.kernels, plan.tiny, plan.cut.by_units
        for segment, (loop, gradients) in zip(self._segments, self._jobs, strict=True):
            if by_units:
                self._sync.fill(0)
            threads.run(loop_kernel, array_address(loop), plan.cut.parts * len(gradients), tiny=tiny)
            for k, jobs in enumerate(gradients):
                d = segment.directions[k]
                if not plan.in_place(d):
                    (lo, hi), record = segment.rows[k], self._records[d]
                    h = taken(record.histories[0], self._previous[d][lo - record.start : hi - record.start])
                    jobs[_H], jobs[_H_ROW] = address(h), h.shape[1]
                threads.run(gradients_kernel, array_address(jobs), jobs[_PARTS], tiny=tiny)
        if plan.asked[0]:
            plan.answer()
            for _, gradients in self._jobs:
                for jobs in gradients:
                    jobs[_SPARSE_BLOCK] = plan.sparse_block

"""One turn of a training pass through one layer: its memory, and the jobs that refer to it.

With checkpoints a pass has several turns, one after another; else it is one turn. Putting arguments together takes
longer than a short sequence does, so the turns of small passes are used again, see `layer.py`; what then changes from
call to call is written into the arguments by `Turn.run` and `Turn.backward`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.jobs import BACKWARD, FORWARD, GRADIENTS, address, place
from nblstm.cpu.kernels.gather import gather_rows
from nblstm.cpu.plans import BackwardPlan, ForwardPlan
from nblstm.cpu.weights import Weights

#: Parameters whose gradients are matrix products and sums over rows.
TARGETS = "weight_ih", "weight_hh", "bias_ih", "bias_hh"

_X, _STATE, *_WEIGHTS = (FORWARD.index(field) for field in ("x", "state", "w_x", "w_h", "bias", "vectors"))
_D_STATE, _DY, _DY_ROW, _W_H, _VECTORS, _D_VECTORS = (
    BACKWARD.index(field) for field in ("d_state", "dy", "dy_row", "w_h", "vectors", "d_vectors")
)
_PARTS, _ROWS_OF_X, _H, _H_ROW, _W_X, _DX, _SPARSE_BLOCK, _FIRST_TARGET = (
    GRADIENTS.index(field) for field in ("parts", "x", "h", "h_row", "w_x", "dx", "sparse_block", f"d_{TARGETS[0]}")
)


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

    def fields(self, first_row: int) -> dict:
        """Arguments of kernels that count packed rows from the first of the batch: row ``first_row`` of the arrays."""
        item, H = self.y.itemsize, self.y.shape[1]
        y_row, row = self.y.strides[0] // item, first_row - self.start
        return {
            "y": place(self.y, row * y_row * item), "y_row": y_row,
            "tape": place(self.states, row * H * item), "tape_plane": self.states.shape[1] * H,
            "saved": place(self.saved, -self.start * self.saved.shape[1] * item),
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
        self._scratch, self._arguments = plan.prepared(number, state, [record.fields(B) for record in self.records])
        self._returns: list[Return] = []
        self._nbytes = self._scratch.nbytes + sum(r.y.nbytes + r.states.nbytes + r.saved.nbytes for r in self.records)

    @property
    def nbytes(self) -> int:
        """Of its memory, that of BPTT included once there was any."""
        return self._nbytes + sum(made.nbytes for made in self._returns)

    def run(self, weights: list[Weights], x: np.ndarray, state: np.ndarray) -> None:
        """Forward, from the packed rows x and from ``state``, which becomes the states after the turn."""
        self.bind(weights, x, state)
        self.begin(state)
        self.launch(state)
        self._arguments.let_go()

    def bind(self, weights: list[Weights], x: np.ndarray, state: np.ndarray) -> None:
        """Set the addresses of weights, x and state in the kernel's arguments."""
        B, H = state.shape[2:]
        point, x_at, state_at = self._arguments.point, address(x), address(state)
        for d, own in enumerate(weights):
            start = d * len(FORWARD)
            point(start + _X, x, x_at)
            point(start + _STATE, state, state_at + d * B * H * x.itemsize)
            for k, weights_place in zip(_WEIGHTS, own.forward.values(), strict=True):
                point(start + k, *weights_place)

    def begin(self, state: np.ndarray) -> None:
        """Record the states before the turn."""
        B = state.shape[2]
        for d, record in enumerate(self.records):
            for history, before in zip(record.histories, state[:, d], strict=True):
                history[:B] = before

    def launch(self, state: np.ndarray) -> None:
        """Run on what was bound, ``state`` among it."""
        self._scratch.prepare(state)
        threads.run(self._plan.kernel, self._arguments, self._plan.parts, tiny=self._plan.tiny)

    def backward(
        self, plan: BackwardPlan, weights: list[Weights], x: np.ndarray, dy: np.ndarray | None, d_state: np.ndarray,
        targets: list[list[np.ndarray | None]], d_vectors: np.ndarray | None, dx: np.ndarray | None,
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
        targets : list of list of ndarray
            For each direction the gradients of `TARGETS`, which are set; None where there is none.
        d_vectors : ndarray, shape (D, B, V H), or None
            Gradients of the cell's vectors for each row of the batch, which are added to.
        dx : ndarray, shape (D, N, I), or None
        """
        try:
            made = self._returns.pop()
        except IndexError:  # the first time, or another thread has it
            made = Return(plan, self)
        if made.plan is not plan:
            made = Return(plan, self)
        made.bind(weights, x, dy, d_state, d_vectors, dx)
        made.aim(targets)
        made.run()
        made.let_go()
        self._returns.append(made)


class Return:
    """The memory and kernel arguments of BPTT through one turn."""

    def __init__(self, plan: BackwardPlan, turn: Turn):
        self.plan, self._records = plan, turn.records
        self._previous, self._segments = plan.previous[turn.number], plan.segments[turn.number]
        y = turn.records[0].y
        D, item = len(turn.records), y.itemsize
        self._dz = memory.empty((D, plan.dz_rows, plan.dz_row), y.dtype)
        self._sync = memory.empty((D, plan.sync_size), np.int64)
        recorded = [
            record.fields(0) | {
                "previous": place(self._previous[d], -record.start * 8),
                "y_all": record.y, "tape_all": record.states,
                "dz": place(self._dz, d * plan.dz_rows * plan.dz_row * item),
            }
            for d, record in enumerate(self._records)
        ]  # fmt: skip
        self.nbytes = self._dz.nbytes + self._sync.nbytes
        self._arguments = []
        for segment in self._segments:
            loop = segment.backward.completed([
                recorded[d] | {"sync": place(self._sync, d * plan.sync_size * 8)} for d in segment.directions
            ])  # fmt: skip
            gradients = []
            for d, (lo, _), template in zip(segment.directions, segment.rows, segment.gradients, strict=True):
                own = {"dz": recorded[d]["dz"], "sparse_block": plan.sparse_block}
                if plan.in_place(d):
                    h = self._records[d].histories[0][lo - self._records[d].start :]
                    own |= {"h": h, "h_row": h.strides[0] // item}
                gradients.append(template.completed([own]))
            self._arguments.append((loop, gradients))

    def bind(self, weights, x, dy, d_state, d_vectors, dx) -> None:
        """Set the addresses of what may change from call to call in the arguments; see `Turn.backward`."""
        plan, item = self.plan, x.itemsize
        _, D, B, H = d_state.shape
        I = x.shape[1]
        dy, dy_row, dy_next = (plan.zeros, 0, 0) if dy is None else (dy, D * H, H * item)
        x_at, dy_at, d_state_at = address(x), address(dy), address(d_state)
        d_vectors_at, dx_at = address(d_vectors), address(dx)
        dx_next = 0 if dx is None else dx.strides[0]
        d_vectors_next = 0 if d_vectors is None else d_vectors.strides[0]
        for segment, (loop, gradients) in zip(self._segments, self._arguments, strict=True):
            for k, d in enumerate(segment.directions):
                start, lo = k * len(BACKWARD), segment.rows[k][0]
                w_x, w_h, vectors = weights[d].backward
                loop.point(start + _D_STATE, d_state, d_state_at + d * B * H * item)
                loop.point(start + _DY, dy, dy_at + d * dy_next)
                loop.values[start + _DY_ROW] = dy_row
                loop.point(start + _W_H, *w_h)
                loop.point(start + _VECTORS, *vectors)
                loop.point(start + _D_VECTORS, d_vectors, d_vectors_at + d * d_vectors_next)
                own = gradients[k]
                own.values[_PARTS] = plan.weight_parts if dx is None else segment.parts[k]
                own.point(_ROWS_OF_X, x, x_at + lo * I * item)
                own.point(_W_X, *w_x)
                own.point(_DX, dx, 0 if dx is None else dx_at + d * dx_next + lo * I * item)

    def aim(self, targets: list[list[np.ndarray | None]]) -> None:
        """Set the addresses of the gradients of the parameters in the arguments; see `Turn.backward`."""
        for segment, (_, gradients) in zip(self._segments, self._arguments, strict=True):
            for d, own in zip(segment.directions, gradients, strict=True):
                for k, target in enumerate(targets[d], _FIRST_TARGET):
                    own.point(k, target, address(target))

    def aim_at(self, first: np.ndarray, deltas: list[list[int | None]]) -> None:
        """As `aim`, of gradients in one buffer, each so many bytes behind the first; None is no gradient."""
        at = address(first)
        for segment, (_, gradients) in zip(self._segments, self._arguments, strict=True):
            for d, own in zip(segment.directions, gradients, strict=True):
                for k, delta in enumerate(deltas[d], _FIRST_TARGET):
                    own.point(k, first, 0 if delta is None else at + delta)

    def let_go(self) -> None:
        """Keep none of the arrays from `bind` and `aim`, which are to be called before the next `run`."""
        for loop, gradients in self._arguments:
            for arguments in (loop, *gradients):
                arguments.let_go()

    def run(self) -> None:
        """Launch: for each segment the loop over time, then the gradients that it leads to."""
        plan = self.plan
        (loop_kernel, gradients_kernel), tiny, by_units = plan.kernels, plan.tiny, plan.cut.by_units
        for segment, (loop, gradients) in zip(self._segments, self._arguments, strict=True):
            if by_units:
                self._sync.fill(0)
            threads.run(loop_kernel, loop, plan.cut.parts * len(gradients), tiny=tiny)
            for k, own in enumerate(gradients):
                d = segment.directions[k]
                if not plan.in_place(d):
                    (lo, hi), record = segment.rows[k], self._records[d]
                    h = gather_rows(record.histories[0], self._previous[d][lo - record.start : hi - record.start])
                    own.point(_H, h, address(h))
                    own.values[_H_ROW] = h.shape[1]
                threads.run(gradients_kernel, own, own.values[_PARTS], tiny=tiny)
        if plan.asked[0]:
            plan.answer()
            for _, gradients in self._arguments:
                for own in gradients:
                    own.values[_SPARSE_BLOCK] = plan.sparse_block

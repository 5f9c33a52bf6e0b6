"""Training of one recurrent layer, all directions: what is allocated, and which kernels are launched in which order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nblstm import memory
from nblstm.batch import Batch
from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.jobs import address, array_address
from nblstm.cpu.plans import DTYPES, BackwardPlan, Sizes, forward_plan
from nblstm.cpu.threads import num_threads
from nblstm.cpu.weights import Weights
from nblstm.layout import suffix


@dataclass(frozen=True)
class Record:
    """What one direction leaves for BPTT in one turn, of n packed rows from the row ``start`` on.

    Attributes
    ----------
    start : int
    y : ndarray, shape (B + n, H)
        Outputs before the turn, then of its packed rows.
    states : ndarray, shape (S - 1, B + n, H)
        The other states likewise, see `Cell.taped`.
    saved : ndarray, shape (n, K H)
        The K values that the cell saves.
    """

    start: int
    y: np.ndarray
    states: np.ndarray
    saved: np.ndarray

    def history(self, cell: Cell, name: str) -> np.ndarray:
        """One state (B + n, H) of those that `Cell.taped` lists."""
        place = cell.taped.index(name)
        return self.states[place - 1] if place else self.y

    def begin(self, cell: Cell, state: np.ndarray) -> None:
        """Put the states (S, B, H) before the turn in front."""
        B, output = state.shape[1], cell.states.index(cell.output)
        self.y[:B] = state[output]
        if output:
            self.states[:output, :B] = state[:output]
        self.states[output:, :B] = state[output + 1 :]

    def addresses(self, first_row: int) -> dict[str, int]:
        """For jobs that count packed rows from the batch's first, which they expect at ``first_row`` of the arrays."""
        item, H = self.y.itemsize, self.y.shape[1]
        y_row, row = self.y.strides[0] // item, first_row - self.start
        return {
            "y": address(self.y) + row * y_row * item, "y_row": y_row,
            "tape": address(self.states) + row * H * item, "tape_plane": self.states.shape[1] * H,
            "saved": address(self.saved) - self.start * self.saved.shape[1] * item,
        }  # fmt: skip


@dataclass(frozen=True)
class LayerTape:
    """What BPTT of one layer needs.

    Attributes
    ----------
    x : ndarray, shape (N, I)
        Packed input rows.
    weights : list of Weights
        As they were in the forward pass.
    checkpoint : int or None
    records : list of Record
        One per direction, of the whole sequence; empty with checkpoints.
    marks : list of ndarray, shape (S, D, B, H)
        With checkpoints, the states before each turn.
    """

    x: np.ndarray
    weights: list[Weights]
    checkpoint: int | None
    records: list[Record]
    marks: list[np.ndarray]


def forward(
    cell: Cell, weights: list[Weights], batch: Batch, x: np.ndarray, state: np.ndarray, checkpoint: int | None
) -> tuple[np.ndarray, LayerTape]:
    """Run one layer over a packed batch, keeping what BPTT needs.

    Parameters
    ----------
    cell : Cell
    weights : list of Weights
        One per direction.
    batch : Batch
    x : ndarray, shape (N, I)
        Packed rows, C-contiguous.
    state : ndarray, shape (S, D, B, H)
        Initial states in sorted order; the final ones on return. Each (D, B, H) is contiguous.
    checkpoint : int or None
        Keep only states about every so many steps, and compute the rest again in BPTT.

    Returns
    -------
    y : ndarray, shape (N, D H)
    tape : LayerTape
    """
    S, D, B, H = state.shape
    N = batch.N
    plan = forward_plan(cell, batch, x.shape[1], state, True, checkpoint)
    if checkpoint is None:
        # One array for all directions, so that the outputs lie as the caller wants them.
        y = memory.empty((B + N, D * H), x.dtype)
        made = [_record(cell, 0, N, S, y[:, d * H : (d + 1) * H]) for d in range(D)]
        _run_turn(cell, plan, 0, weights, x, state, made)
        return y[B:], LayerTape(x, weights, None, made, [])
    y = np.empty((N, D * H), x.dtype)
    marks = []
    for turn, spans in enumerate(plan.turns):
        marks.append(state.copy())
        made = [_record(cell, lo, hi - lo, S, np.empty((B + hi - lo, H), x.dtype)) for lo, hi in spans]
        _run_turn(cell, plan, turn, weights, x, state, made)
        for d, (lo, hi) in enumerate(spans):
            y[lo:hi, d * H : (d + 1) * H] = made[d].y[B:]
    return y, LayerTape(x, weights, checkpoint, [], marks)


def _record(cell: Cell, start: int, n: int, S: int, y: np.ndarray) -> Record:
    B, H = len(y) - n, y.shape[1]
    states = memory.empty((S - 1, B + n, H), y.dtype)
    return Record(start, y, states, memory.empty((n, len(cell.graph.saved) * H), y.dtype))


def _run_turn(cell, plan, turn, weights, x, state, made: list[Record]) -> None:
    """One turn of a training pass, from ``state``, which becomes the states after it."""
    B, H = state.shape[2:]
    x_at, state_at = address(x), address(state)
    records = []
    for d, target in enumerate(made):
        target.begin(cell, state[:, d])
        records.append({"x": x_at, "state": state_at + d * B * H * x.itemsize, **target.addresses(B)})
    plan.run(turn, weights, state, records)


def backward(
    cell: Cell, tape: LayerTape, batch: Batch, dy: np.ndarray | None, d_state: np.ndarray, d_parameters: dict,
    layer: int, input_gradient: bool = True,
) -> np.ndarray | None:  # fmt: skip
    """BPTT through one layer.

    Parameters
    ----------
    cell : Cell
    tape : LayerTape
    batch : Batch
    dy : ndarray, shape (N, D H), or None
        Gradient with respect to the packed outputs, C-contiguous; None is 0 everywhere, and costs nothing.
    d_state : ndarray, shape (S, D, B, H)
        Gradient with respect to the final states, in sorted order; that of the initial states on return.
    d_parameters : dict of str to ndarray
        Gradients with respect to the parameters; this layer's are set.
    layer : int
    input_gradient : bool, default True
        Whether dx is wanted.

    Returns
    -------
    dx : ndarray, shape (N, I), or None
    """
    _, D, B, H = d_state.shape
    x, weights, item = tape.x, tape.weights, d_state.itemsize
    N, I = x.shape
    V = len(cell.vectors)
    key = (cell, I, H, D, d_state.strides[0] // item, item, "backward", tape.checkpoint, num_threads())
    plan = batch.plans.get(key)
    if plan is None:
        plan = batch.plans[key] = BackwardPlan(Sizes(*key[:5], DTYPES[item]), batch, tape.checkpoint)
    dz = memory.empty((D, plan.dz_rows, plan.dz_row), x.dtype)
    dx = np.empty((D, N if input_gradient else 0, I), x.dtype)
    d_vectors = np.zeros((D, B, V * H), x.dtype)
    targets = [
        {f"d_{name}": d_parameters.get(f"{name}{suffix(layer, d)}") for name in
         ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        for d in range(D)
    ]  # fmt: skip
    if not plan.segments:  # no kernel will run
        for array in (array for target in targets for array in target.values() if array is not None):
            array[...] = 0
    targets = [{name: address(array) for name, array in target.items()} for target in targets]
    fixed = [
        {"d_state": address(d_state) + d * B * H * item, "d_vectors": address(d_vectors[d]), "dz": address(dz[d]),
         **({"dy": address(plan.zeros), "dy_row": 0} if dy is None else {"dy": address(dy) + d * H * item}),
         **w.backward}
        for d, w in enumerate(weights)
    ]  # fmt: skip
    for turn in reversed(range(len(plan.segments))):
        made = tape.records or _recompute(cell, tape, batch, turn)
        previous = plan.previous[turn]
        recorded = [record.addresses(0) | {"previous": address(previous[d]) - record.start * 8}
                    for d, record in enumerate(made)]  # fmt: skip
        for segment in plan.segments[turn]:
            sync = memory.zeros((len(segment.directions), plan.sync_size), np.int64)
            jobs = segment.backward.completed([
                fixed[d] | recorded[d] | {"sync": address(sync[k]), "y_all": address(made[d].y),
                                          "tape_all": address(made[d].states)}
                for k, d in enumerate(segment.directions)
            ])  # fmt: skip
            threads.run(plan.kernels[0], array_address(jobs), plan.cut.parts * len(segment.directions), tiny=plan.tiny)
            for d, (lo, hi), gradients in zip(segment.directions, segment.rows, segment.gradients, strict=True):
                start, h = made[d].start, made[d].history(cell, cell.states[0])
                h = h[lo - start : hi - start] if batch.uniform and d == 0 else h[previous[d][lo - start : hi - start]]
                jobs = gradients.completed([{
                    "dz": fixed[d]["dz"], "x": address(x) + lo * I * item, "h": address(h),
                    "h_row": h.strides[0] // item, "w_x": address(weights[d].back_x),
                    "dx": address(dx[d]) + lo * I * item, **targets[d],
                    **({} if input_gradient else {"parts": plan.weight_parts}),
                }])  # fmt: skip
                threads.run(plan.kernels[1], array_address(jobs), jobs[0], tiny=plan.tiny)
    for d in range(D):
        for v, vector in enumerate(cell.vectors):
            d_vectors[d, :, v * H : (v + 1) * H].sum(axis=0, out=d_parameters[f"{vector}{suffix(layer, d)}"])
    if not input_gradient:
        return None
    return dx[0] if D == 1 else dx.sum(axis=0)


def _recompute(cell: Cell, tape: LayerTape, batch: Batch, turn: int) -> list[Record]:
    """A turn of the forward pass once more, from the states before it: the same bits."""
    state = tape.marks[turn].copy()
    S, _, B, H = state.shape
    plan = forward_plan(cell, batch, tape.x.shape[1], state, True, tape.checkpoint)
    made = [_record(cell, lo, hi - lo, S, np.empty((B + hi - lo, H), tape.x.dtype)) for lo, hi in plan.turns[turn]]
    _run_turn(cell, plan, turn, tape.weights, tape.x, state, made)
    return made

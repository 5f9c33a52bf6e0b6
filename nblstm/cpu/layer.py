"""Training of one recurrent layer, all directions: the turns of a pass, forward and backward."""

from __future__ import annotations

from itertools import chain

import numpy as np

from nblstm import memory
from nblstm.batch import Batch
from nblstm.cells.cell import Cell
from nblstm.cpu.jobs import address
from nblstm.cpu.plans import ForwardPlan, backward_plan, forward_plan
from nblstm.cpu.turn import Turn, target_names
from nblstm.cpu.weights import Weights
from nblstm.layout import suffix

#: Passes that take less memory than this leave it, and the jobs that refer to it, to the next: of a step of H = 64,
#: forward and backward, that is half of the time; of T=8, B=32, H=128, with 2 MB, a fifth of the forward pass. They are
#: few, as tapes are let go of one after another.
KEEP = 4_000_000


class LayerTape:
    """What BPTT of one layer needs.

    Attributes
    ----------
    x : ndarray, shape (N, I)
        Packed input rows.
    weights : list of Weights
        As they were in the forward pass.
    checkpoint : int or None
    turn : Turn or None
        The whole pass; None with checkpoints.
    marks : list of ndarray, shape (S, D, B, H)
        With checkpoints, the states before each turn.
    """

    def __init__(self, x: np.ndarray, weights: list[Weights], checkpoint: int | None, plan: ForwardPlan):
        self.x, self.weights, self.checkpoint, self.plan = x, weights, checkpoint, plan
        self.turn: Turn | None = None
        self.marks: list[np.ndarray] = []

    def hold(self, turn: Turn) -> None:
        """Take the whole pass, and leave it to the next when this is gone."""
        self.turn = turn
        if turn.nbytes < KEEP:
            self._loan = self.plan.spare.lend(turn, self)


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
    _, D, B, H = state.shape
    plan = forward_plan(cell, batch, x.shape[1], state, True, checkpoint)
    tape = LayerTape(x, weights, checkpoint, plan)
    if checkpoint is None:
        turn = plan.spare.take() or Turn(cell, plan, 0, state)
        turn.run(weights, x, state)
        tape.hold(turn)
        assert turn.y is not None  # all directions have the same rows
        y = turn.y[B:]
        return (y.copy() if turn.nbytes < KEEP else y), tape
    y = memory.empty((batch.N, D * H), x.dtype)
    for number, spans in enumerate(plan.turns):
        tape.marks.append(state.copy())
        turn = Turn(cell, plan, number, state)
        turn.run(weights, x, state)
        for d, (lo, hi) in enumerate(spans):
            y[lo:hi, d * H : (d + 1) * H] = turn.records[d].y[B:]
    return y, tape


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
    x = tape.x
    N, I = x.shape
    plan = backward_plan(cell, batch, I, d_state, tape.checkpoint)
    dx = memory.empty((D, N, I), x.dtype) if input_gradient else None
    d_vectors = np.zeros((D, B, len(cell.vectors) * H), x.dtype) if cell.vectors else None
    targets = [[address(d_parameters.get(name)) for name in names] for names in target_names(layer, D)]
    if not any(plan.segments):  # no kernel will run
        for name in chain(*target_names(layer, D)):
            if name in d_parameters:
                d_parameters[name][...] = 0
    for number in reversed(range(len(plan.segments))):
        turn = tape.turn or _computed_again(cell, tape, batch, number)
        turn.backward(plan, tape.weights, x, dy, d_state, targets, d_vectors, dx)
    if d_vectors is not None:
        set_vectors(cell, d_vectors, d_parameters, layer)
    if dx is None:
        return None
    return dx[0] if D == 1 else dx.sum(axis=0)


def set_vectors(cell: Cell, d_vectors: np.ndarray, d_parameters: dict, layer: int) -> None:
    """Set the gradients of the cell's vectors from those of each row of the batch, (D, B, V H)."""
    for d, totals in enumerate(np.add.reduce(d_vectors, axis=1)):
        for vector, total in zip(cell.vectors, totals.reshape(len(cell.vectors), -1), strict=True):
            d_parameters[vector + suffix(layer, d)][:] = total


def _computed_again(cell: Cell, tape: LayerTape, batch: Batch, number: int) -> Turn:
    """A turn of the forward pass once more, from the states before it: the same bits."""
    state = tape.marks[number].copy()
    turn = Turn(cell, forward_plan(cell, batch, tape.x.shape[1], state, True, tape.checkpoint), number, state)
    turn.run(tape.weights, tape.x, state)
    return turn

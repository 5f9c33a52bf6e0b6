"""Training of one recurrent layer, all directions: the turns of a pass, forward and backward."""

from __future__ import annotations

from itertools import chain

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import Batch
from nblstm.buffers.layout import suffix
from nblstm.buffers.pool import Pool
from nblstm.cells.cell import Cell
from nblstm.cpu.plans import ForwardPlan, backward_plan, forward_plan, free_list
from nblstm.cpu.turn import Turn, target_names
from nblstm.cpu.weights import Weights


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
    loan : object
        Gives the turn back for others when the tape is gone.
    marks : list of ndarray, shape (S, D, B, H)
        With checkpoints, the states before each turn.
    """

    def __init__(self, x: np.ndarray, weights: list[Weights], checkpoint: int | None):
        self.x, self.weights, self.checkpoint = x, weights, checkpoint
        self.turn: Turn | None = None
        self.loan: object = None
        self.marks: list[np.ndarray] = []


def forward(
    cell: Cell, pool: Pool, weights: list[Weights], batch: Batch, x: np.ndarray, state: np.ndarray,
    checkpoint: int | None,
) -> tuple[np.ndarray, LayerTape]:  # fmt: skip
    """Run one layer over a packed batch, keeping what BPTT needs.

    Parameters
    ----------
    cell : Cell
    pool : Pool
        The network's.
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
    tape = LayerTape(x, weights, checkpoint)
    if checkpoint is not None:
        plan = forward_plan(cell, batch, x.shape[1], state, True, checkpoint)
        return _forward_with_checkpoints(cell, plan, tape, x, state), tape
    free = free_list(pool, batch, "forward", x.shape[1], state)
    turn: Turn | None = None if free is None else free.take()
    if turn is None:
        turn = Turn(cell, forward_plan(cell, batch, x.shape[1], state, True, None), 0, state)
        if free is not None:
            free.add(turn)
    turn.run(weights, x, state)
    tape.turn = turn
    assert turn.y is not None  # the directions have the same rows
    y = turn.y[state.shape[2] :]
    if free is not None and free.keeps:
        tape.loan = free.lend(turn, tape)
        y = y.copy()
    return y, tape


def _forward_with_checkpoints(
    cell: Cell, plan: ForwardPlan, tape: LayerTape, x: np.ndarray, state: np.ndarray
) -> np.ndarray:
    """As `forward`, turn by turn: the tape keeps the states before each."""
    _, D, B, H = state.shape
    y = memory.empty((len(x), D * H), x.dtype)
    for number, spans in enumerate(plan.turns):
        tape.marks.append(state.copy())
        turn = Turn(cell, plan, number, state)
        turn.run(tape.weights, x, state)
        for d, (lo, hi) in enumerate(spans):
            y[lo:hi, d * H : (d + 1) * H] = turn.records[d].y[B:]
    return y


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
    targets = [[d_parameters.get(name) for name in names] for names in target_names(layer, D)]
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

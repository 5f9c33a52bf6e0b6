"""Inference through a stack: all layers prepared for batches of one geometry, so that a call only fills in addresses.

One step of a small network takes the kernels 2 us; a call through Python must not take ten.
"""

from __future__ import annotations

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import Batch
from nblstm.buffers.pool import Pool
from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.jobs import DTYPES, FORWARD, Arguments, address, place
from nblstm.cpu.plans import forward_plan, free_list
from nblstm.cpu.weights import Weights

_X, _Y, _STATE = (FORWARD.index(field) for field in ("x", "y", "state"))


class Inference:
    """A pass through all layers; for one thread at a time.

    Parameters
    ----------
    cell : Cell
    weights : list of list of Weights
        By layer and direction.
    batch : Batch
    input_size : int
    states : ndarray, shape (S, L D, B, H)
        Any of the shape and dtype to come.
    """

    def __init__(self, cell: Cell, weights: list[list[Weights]], batch: Batch, input_size: int, states: np.ndarray):
        _, _, B, H = states.shape
        D, item = len(weights[0]), states.itemsize
        inner = [memory.empty((batch.N, D * H), states.dtype) for _ in weights[1:]]
        self._threads = threads.num_threads()
        self._launches: list[tuple] = []
        self._given: list[tuple[Arguments, int, int, int]] = []  # where x, y or the states go, and bytes behind them
        self.nbytes = sum(y.nbytes for y in inner)
        for layer, directions in enumerate(weights):
            first, last = layer == 0, layer == len(weights) - 1
            here = slice(layer * D, (layer + 1) * D)
            plan = forward_plan(cell, batch, input_size if first else D * H, states[:, here], False, None)
            x, y = None if first else inner[layer - 1], None if last else inner[layer]
            scratch, arguments = plan.prepared(0, states[:, here], [
                {"x": x, "y": place(y, d * H * item), "y_row": D * H} | own.forward
                for d, own in enumerate(directions)
            ])  # fmt: skip
            for d in range(D):
                start = d * len(FORWARD)
                if first:
                    self._given.append((arguments, start + _X, 0, 0))
                if last:
                    self._given.append((arguments, start + _Y, 1, d * H * item))
                self._given.append((arguments, start + _STATE, 2, (layer * D + d) * B * H * item))
            self._launches.append((scratch, here, plan.kernel, arguments, plan.cut.parts * D, plan.tiny))
            self.nbytes += scratch.nbytes + plan.nbytes

    @property
    def current(self) -> bool:
        """Whether work would be cut in the same way now; if not, it is right but may be slow."""
        return self._threads == threads.num_threads()

    def bind(self, x: np.ndarray, y: np.ndarray, states: np.ndarray) -> None:
        """Set packed inputs (N, I), the array of outputs (N, D H), and the states that are advanced."""
        places = (x, address(x)), (y, address(y)), (states, address(states))
        for arguments, k, which, delta in self._given:
            own, at = places[which]
            arguments.point(k, own, at + delta)

    def let_go(self) -> None:
        """Keep none of the arrays from `bind`, which is to be called before the next launch."""
        for arguments, *_ in self._given:
            arguments.let_go()

    def launch(self, states: np.ndarray, zero: bool = False) -> None:
        """Run on what was bound, the states among it; ``zero`` says that they are all 0."""
        for scratch, here, kernel, arguments, parts, tiny in self._launches:
            if scratch.shared:
                scratch.prepare(None if zero else states[:, here])
            threads.run(kernel, arguments, parts, tiny=tiny)


def infer(
    cell: Cell, pool: Pool, weights: list[list[Weights]], batch: Batch, x: np.ndarray, states: np.ndarray
) -> np.ndarray:
    """Run a stack over a packed batch.

    Parameters
    ----------
    cell : Cell
    pool : Pool
        Of these weights.
    weights : list of list of Weights
        By layer and direction.
    batch : Batch
    x : ndarray, shape (N, I)
        Packed rows, C-contiguous.
    states : ndarray, shape (S, L D, B, H)
        Initial states in sorted order; the final ones on return.

    Returns
    -------
    ndarray, shape (N, D H)
        Outputs of the last layer.
    """
    H, item = states.shape[3], x.itemsize
    y = memory.empty((batch.N, len(weights[0]) * H), DTYPES[item])
    free = free_list(pool, batch, "infer", x.shape[1], states)
    prepared = None if free is None else free.take()
    if prepared is None:
        prepared = Inference(cell, weights, batch, x.shape[1], states)
        if free is not None:
            free.add(prepared)
    prepared.bind(x, y, states)
    prepared.launch(states)
    prepared.let_go()
    if free is not None:
        free.give(prepared)
    return y

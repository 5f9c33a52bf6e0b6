"""Inference through a stack: all layers prepared for batches of one geometry, so that a call only fills in addresses.

One step of a small network takes the kernels 2 us; a call through Python must not take ten.
"""

from __future__ import annotations

import weakref

import numpy as np

from nblstm import memory
from nblstm.batch import Batch
from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.jobs import DTYPES, FORWARD, address, array_address
from nblstm.cpu.plans import forward_plan
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
        self.weights = weakref.ref(weights[0][0])  # their owner keeps them while they are current
        self._threads = threads.num_threads()
        self._launches: list[tuple] = []
        self._patches: list[tuple] = []
        self._kept: list = [inner]  # what addresses refer to
        self.nbytes = sum(y.nbytes for y in inner)
        for layer, directions in enumerate(weights):
            first, last = layer == 0, layer == len(weights) - 1
            here = slice(layer * D, (layer + 1) * D)
            plan = forward_plan(cell, batch, input_size if first else D * H, states[:, here], False, None)
            x_at, y_at = 0 if first else address(inner[layer - 1]), 0 if last else address(inner[layer])
            scratch, jobs = plan.prepared(0, states[:, here], [
                {"x": x_at, "y": y_at + d * H * item, "y_row": D * H} | own.forward for d, own in enumerate(directions)
            ])  # fmt: skip
            for d in range(D):
                start = d * len(FORWARD)
                if first:
                    self._patches.append((jobs, start + _X, 0, 0))
                if last:
                    self._patches.append((jobs, start + _Y, 1, d * H * item))
                self._patches.append((jobs, start + _STATE, 2, (layer * D + d) * B * H * item))
            self._launches.append((scratch, here, plan.kernel, array_address(jobs), plan.cut.parts * D, plan.tiny))
            self._kept.append(plan)
            self.nbytes += scratch.nbytes

    @property
    def current(self) -> bool:
        """Whether work would be cut in the same way now; if not, it is right but may be slow."""
        return self._threads == threads.num_threads()

    def bind(self, x: np.ndarray, y: np.ndarray, states: np.ndarray) -> None:
        """Set where packed inputs (N, I) are, where outputs (N, D H) go, and the states that are advanced."""
        bases = address(x), address(y), address(states)
        for jobs, k, base, delta in self._patches:
            jobs[k] = bases[base] + delta

    def launch(self, states: np.ndarray, zero: bool = False) -> None:
        """Run on what was bound, the states among it; ``zero`` says that they are all 0."""
        for scratch, here, kernel, jobs, parts, tiny in self._launches:
            if scratch.shared:
                scratch.prepare(None if zero else states[:, here])
            threads.run(kernel, jobs, parts, tiny=tiny)


#: Prepared passes that take more memory than this are made anew for each call, which then takes milliseconds anyway.
KEEP = 1_000_000


def infer(cell: Cell, weights: list[list[Weights]], batch: Batch, x: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Run a stack over a packed batch.

    Parameters
    ----------
    cell : Cell
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
    key = (cell, x.shape[1], H, item, len(weights), len(weights[0]), threads.num_threads())
    spare = batch.plans.setdefault(key, [])  # one for each thread that calls at once
    prepared = spare.pop() if spare else None
    if prepared is None or prepared.weights() is not weights[0][0]:
        prepared = Inference(cell, weights, batch, x.shape[1], states)
    prepared.bind(x, y, states)
    prepared.launch(states)
    if prepared.nbytes < KEEP:
        spare.append(prepared)
    return y

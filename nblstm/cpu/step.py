"""One time step of a stack, prepared once: the forward kernel on batches of one step, layer after layer."""

from __future__ import annotations

import numpy as np

from nblstm.batch import uniform_batch
from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.jobs import address, array_address
from nblstm.cpu.layer import DTYPES
from nblstm.cpu.plans import ForwardPlan, Sizes
from nblstm.cpu.weights import Weights


class StepPlan:
    """Everything a step needs but the input.

    Parameters
    ----------
    cell : Cell
    weights : list of list of Weights
        One per layer, of the single direction.
    x : ndarray, shape (B, I)
        Read by every step.
    states : ndarray, shape (S, L, B, H)
        Read and advanced by every step.
    """

    def __init__(self, cell: Cell, weights: list[list[Weights]], x: np.ndarray, states: np.ndarray):
        _, L, B, H = states.shape
        batch, item = uniform_batch(1, B), x.itemsize
        self._y = np.empty((L, B, H), x.dtype)
        self._launches, self._kept = [], [weights, x, states]  # kept: what addresses refer to
        inputs = x
        for layer, (w,) in enumerate(weights):
            plan = ForwardPlan(Sizes(cell, inputs.shape[1], H, 1, L * B * H, DTYPES[item]), batch, False, None)
            state = states[:, layer : layer + 1]
            scratch, jobs = plan.prepared(0, [w], state, [{
                "x": address(inputs), "y": address(self._y[layer]), "y_row": H,
                "state": address(states) + layer * B * H * item,
            }])  # fmt: skip
            self._launches.append((scratch, state, plan.kernel, array_address(jobs), plan.cut.parts, plan.tiny))
            self._kept += [plan, jobs]
            inputs = self._y[layer]

    def step(self) -> np.ndarray:
        """Advance the states; the last layer's outputs (B, H), overwritten by the next step."""
        for scratch, state, kernel, jobs, parts, tiny in self._launches:
            if scratch.shared:
                scratch.prepare(state)
            threads.run(kernel, jobs, parts, tiny=tiny)
        return self._y[-1]

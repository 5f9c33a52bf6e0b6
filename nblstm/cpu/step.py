"""One time step of a stack, prepared once: the forward kernel on batches of one step, layer after layer."""

from __future__ import annotations

import numpy as np

from nblstm.batch import uniform_batch
from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.forward import forward_kernel
from nblstm.cpu.jobs import FORWARD, address, dtype_of, job
from nblstm.cpu.layer import TINY, forward_job, row_bounds
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
    states : ndarray, shape (L, S, B, H)
        Read and advanced by every step.
    """

    def __init__(self, cell: Cell, weights: list[list[Weights]], x: np.ndarray, states: np.ndarray):
        L, _, B, H = states.shape
        self._tiny = L * B * len(cell.gates) * H * (x.shape[1] + H) < TINY
        self._parts = 1 if self._tiny else min(B, threads.num_threads())
        bounds = row_bounds(uniform_batch(1, B), self._parts)
        outputs = np.empty((L, B, H), x.dtype)
        jobs, scratch, inputs = [], [], x
        for layer, (w,) in enumerate(weights):
            y = outputs[layer]
            values, z = forward_job(cell, uniform_batch(1, B), inputs, states[layer], y, bounds, 1, w)
            scratch.append(z)
            jobs.append(job(FORWARD, **values))
            inputs = y
        self._jobs = np.array(jobs, dtype_of(FORWARD))
        self._kernel = forward_kernel(x.dtype.name)
        self._addresses = [address(self._jobs[layer:]) for layer in range(L)]
        self._kept = (weights, x, states, outputs, bounds, scratch)  # what the jobs' addresses refer to
        self._y = outputs[-1]

    def step(self) -> np.ndarray:
        """Advance the states; the last layer's outputs (B, H), overwritten by the next step."""
        if self._tiny:
            threads.run(self._kernel, self._addresses[0], len(self._addresses), tiny=True)
        else:
            for jobs in self._addresses:
                threads.run(self._kernel, jobs, self._parts)
        return self._y

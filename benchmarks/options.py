"""What falls off the fast path elsewhere: streaming, sequences of different lengths, a cell of the user's own."""

from __future__ import annotations

import numpy as np

from benchmarks.networks import CELLS, ready
from benchmarks.shapes import OWN_CELL, RAGGED, STEPS


class Step:
    """One streaming step, the state inside."""

    params = (list(STEPS), CELLS)
    param_names = ("shape", "cell")
    timeout = 120

    def setup(self, shape, cell):
        net, x, _ = ready(STEPS[shape], cell)
        self.step, self.x_t = net.stepper(), x[0]
        self.step(self.x_t)

    def time_step(self, shape, cell):
        self.step(self.x_t)


class Ragged:
    """Lengths uniform in 1..T, beside the same batch padded."""

    params = (list(RAGGED), ["padded", "unsorted", "sorted"])
    param_names = ("shape", "lengths")
    timeout = 120

    def setup(self, shape, lengths):
        self.net, self.x, self.dy = ready(RAGGED[shape], "LSTM")
        drawn = np.random.default_rng(1).integers(1, RAGGED[shape].T, RAGGED[shape].B, endpoint=True)
        self.lengths = {"padded": None, "unsorted": drawn, "sorted": np.sort(drawn)[::-1]}[lengths]
        self.time_training(shape, lengths)

    def time_inference(self, shape, lengths):
        self.net(self.x, lengths=self.lengths)

    def time_training(self, shape, lengths):
        tape = self.net.forward(self.x, lengths=self.lengths)[2]
        self.net.backward(tape, self.dy)


class OwnCell:
    """An LSTM with peepholes, written by the user, beside the built-in LSTM."""

    params = ("own", "LSTM")
    param_names = ("cell",)
    timeout = 120

    def setup(self, cell):
        self.net, self.x, self.dy = ready(OWN_CELL, cell)
        self.time_training(cell)

    def time_inference(self, cell):
        self.net(self.x)

    def time_training(self, cell):
        tape = self.net.forward(self.x)[2]
        self.net.backward(tape, self.dy)

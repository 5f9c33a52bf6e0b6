"""One layer over a batch: inference, the two halves of training, and training as a whole."""

from __future__ import annotations

from benchmarks.networks import CELLS, ready
from benchmarks.shapes import COMPUTE_BOUND, SHAPES


class Layer:
    """Every shape with every built-in cell."""

    params = (list(SHAPES), CELLS)
    param_names = ("shape", "cell")
    timeout = 120

    def setup(self, shape, cell):
        self.net, self.x, self.dy = ready(SHAPES[shape], cell)
        self.tape = self.net.forward(self.x)[2]
        self.net.backward(self.tape, self.dy)

    def time_inference(self, shape, cell):
        self.net(self.x)

    def time_forward(self, shape, cell):
        self.net.forward(self.x)

    def time_backward(self, shape, cell):
        self.net.backward(self.tape, self.dy)


class TrainingMemory:
    """Resident memory of a process that trains once."""

    params = tuple(COMPUTE_BOUND)
    param_names = ("shape",)
    timeout = 120

    def setup(self, shape):
        self.net, self.x, self.dy = ready(COMPUTE_BOUND[shape], "LSTM")

    def peakmem_training(self, shape):
        tape = self.net.forward(self.x)[2]
        self.net.backward(tape, self.dy)

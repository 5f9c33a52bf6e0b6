"""One layer over a batch: inference, the two halves of training, and training as a whole."""

from __future__ import annotations

from benchmarks.networks import CELLS, DEVICES, ready, wait
from benchmarks.shapes import COMPUTE_BOUND, SHAPES


class Layer:
    """Every shape with every built-in cell."""

    params = (list(SHAPES), CELLS, DEVICES)
    param_names = ("shape", "cell", "device")
    timeout = 120

    def setup(self, shape, cell, device):
        self.net, self.x, self.dy = ready(SHAPES[shape], cell, device)
        self.tape = self.net.forward(self.x)[2]
        self.net.backward(self.tape, self.dy)

    def time_inference(self, shape, cell, device):
        self.net(self.x)
        wait(device)

    def time_forward(self, shape, cell, device):
        self.net.forward(self.x)
        wait(device)

    def time_backward(self, shape, cell, device):
        self.net.backward(self.tape, self.dy)
        wait(device)


class TrainingMemory:
    """Resident memory of a process that trains once, on the CPU."""

    params = tuple(COMPUTE_BOUND)
    param_names = ("shape",)
    timeout = 120

    def setup(self, shape):
        self.net, self.x, self.dy = ready(COMPUTE_BOUND[shape], "LSTM", "cpu")

    def peakmem_training(self, shape):
        tape = self.net.forward(self.x)[2]
        self.net.backward(tape, self.dy)

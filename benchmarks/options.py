"""What falls off the fast path elsewhere: streaming, sequences of different lengths, a cell of the user's own."""

from __future__ import annotations

import numpy as np

from benchmarks.networks import CELLS, DEVICES, ready, wait
from benchmarks.shapes import CHARACTERS, CUT, OWN_CELL, RAGGED, STEPS


class Step:
    """One streaming step, the state inside."""

    params = (list(STEPS), CELLS, DEVICES)
    param_names = ("shape", "cell", "device")
    timeout = 120

    def setup(self, shape, cell, device):
        net, x, _ = ready(STEPS[shape], cell, device)
        self.step, self.x_t = net.stepper(), x[0]
        self.step(self.x_t)

    def time_step(self, shape, cell, device):
        self.step(self.x_t)
        wait(device)


class Ragged:
    """Lengths uniform in 1..T, beside the same batch padded."""

    params = (list(RAGGED), ["padded", "unsorted", "sorted"], DEVICES)
    param_names = ("shape", "lengths", "device")
    timeout = 120

    def setup(self, shape, lengths, device):
        self.net, self.x, self.dy = ready(RAGGED[shape], "LSTM", device)
        drawn = np.random.default_rng(1).integers(1, RAGGED[shape].T, RAGGED[shape].B, endpoint=True)
        self.lengths = {"padded": None, "unsorted": drawn, "sorted": np.sort(drawn)[::-1]}[lengths]
        self.time_training(shape, lengths, device)

    def time_inference(self, shape, lengths, device):
        self.net(self.x, lengths=self.lengths)
        wait(device)

    def time_training(self, shape, lengths, device):
        tape = self.net.forward(self.x, lengths=self.lengths)[2]
        self.net.backward(tape, self.dy)
        wait(device)


class OneHot:
    """Characters as one-hot rows, beside rows without zeros."""

    params = (list(CHARACTERS), ["one_hot", "dense"], DEVICES)
    param_names = ("shape", "rows", "device")
    timeout = 120

    def setup(self, shape, rows, device):
        self.net, self.x, self.dy = ready(CHARACTERS[shape], "LSTM", device)
        if rows == "one_hot":
            self.x[...] = self.x == self.x.max(axis=-1, keepdims=True)
        self.time_training(shape, rows, device)

    def time_inference(self, shape, rows, device):
        self.net(self.x)
        wait(device)

    def time_training(self, shape, rows, device):
        tape = self.net.forward(self.x)[2]
        self.net.backward(tape, self.dy)
        wait(device)


class OwnCell:
    """An LSTM with peepholes, written by the user, beside the built-in LSTM."""

    params = (("own", "LSTM"), DEVICES)
    param_names = ("cell", "device")
    timeout = 120

    def setup(self, cell, device):
        self.net, self.x, self.dy = ready(OWN_CELL, cell, device)
        self.time_training(cell, device)

    def time_inference(self, cell, device):
        self.net(self.x)
        wait(device)

    def time_training(self, cell, device):
        tape = self.net.forward(self.x)[2]
        self.net.backward(tape, self.dy)
        wait(device)


class Cut:
    """Sequences with resets every 20 steps in the mean, and truncated BPTT, beside the plain network."""

    params = (("plain", "resets", "truncated"), DEVICES)
    param_names = ("kind", "device")
    timeout = 120

    def setup(self, kind, device):
        if kind == "truncated" and device != "cpu":
            raise NotImplementedError("truncated BPTT is for the CPU")
        self.net, self.x, self.dy = ready(CUT, "LSTM", device)
        resets = np.random.default_rng(1).random((CUT.T, CUT.B)) < 0.05
        self.given = {"resets": resets} if kind == "resets" else {}
        self.truncate = {"truncate": 20} if kind == "truncated" else {}
        self.time_training(kind, device)

    def time_inference(self, kind, device):
        self.net(self.x, **self.given)
        wait(device)

    def time_training(self, kind, device):
        tape = self.net.forward(self.x, **self.given)[2]
        self.net.backward(tape, self.dy, **self.truncate)
        wait(device)

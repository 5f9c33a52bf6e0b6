"""Networks and inputs for the suites."""

from __future__ import annotations

import numpy as np

import nblstm
from benchmarks.shapes import Shape
from nblstm import sigmoid, tanh

CELLS = ["LSTM", "GRU", "RNN"]


@nblstm.cell(gates="i f g o", states="h c", vectors="p_i p_f p_o")
def peephole(i, f, g, o, h, c, p_i, p_f, p_o):
    """A cell of the user's own: an LSTM with peepholes (Gers & Schmidhuber 2000)."""
    i = sigmoid(i + p_i * c)
    f = sigmoid(f + p_f * c)
    c = f * c + i * tanh(g)
    o = sigmoid(o + p_o * c)
    return o * tanh(c), c


def ready(shape: Shape, cell: str):
    """A network, its input x and the gradient dy of its outputs; the kernels of inference are compiled."""
    if cell == "own":
        net = nblstm.nn.Recurrent(peephole, shape.I, shape.H, seed=0)
    else:
        net = getattr(nblstm.nn, cell)(shape.I, shape.H, seed=0)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((shape.T, shape.B, shape.I), np.float32)
    dy = generator.standard_normal((shape.T, shape.B, shape.H), np.float32)
    net(x)
    return net, x, dy

"""Networks and inputs for the suites."""

from __future__ import annotations

import numpy as np

import nblstm
from benchmarks.shapes import Shape
from nblstm import sigmoid, tanh
from nblstm.cuda import unavailable

CELLS = ["LSTM", "GRU", "RNN"]


@nblstm.cell(gates="i f g o", states="h c", vectors="p_i p_f p_o")
def peephole(i, f, g, o, h, c, p_i, p_f, p_o):
    """A cell of the user's own: an LSTM with peepholes (Gers & Schmidhuber 2000)."""
    i = sigmoid(i + p_i * c)
    f = sigmoid(f + p_f * c)
    c = f * c + i * tanh(g)
    o = sigmoid(o + p_o * c)
    return o * tanh(c), c


#: The devices that there are: every suite takes them as a parameter.
DEVICES = ["cpu"] + ["cuda"] * (unavailable() is None)


def wait(device: str) -> None:
    """Until a device has done what was asked of it."""
    if device == "cuda":
        import cupy

        cupy.cuda.get_current_stream().synchronize()


def ready(shape: Shape, cell: str, device: str):
    """A network, its input x and the gradient dy of its outputs on its device; inference is compiled."""
    if cell == "own":
        net = nblstm.nn.Recurrent(peephole, shape.I, shape.H, device=device, seed=0)
    else:
        net = getattr(nblstm.nn, cell)(shape.I, shape.H, device=device, seed=0)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((shape.T, shape.B, shape.I), np.float32)
    dy = generator.standard_normal((shape.T, shape.B, shape.H), np.float32)
    if device == "cuda":
        import cupy

        x, dy = cupy.asarray(x), cupy.asarray(dy)
    net(x)
    return net, x, dy

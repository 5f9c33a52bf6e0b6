"""Recurrent layers with parameters that are 0 nowhere, a batch with gaps, and a cell that can be saved."""

import numpy as np

import nblstm
from nblstm.layers import register_cell

RNG = np.random.default_rng(0)
GAPS = np.array([[0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], bool)
X = RNG.normal(size=(3, 6, 2))
SEQUENCES = {"return_sequences": True}


@register_cell
@nblstm.cell(gates="f n", states="h", vectors="p")
def registered(f, n, h, p):
    """A cell that a saved layer can name."""
    f = nblstm.sigmoid(f + p * h)
    return f * h + (1 - f) * nblstm.tanh(n)


def built(layer, I=2):
    """The layer, with parameters that are 0 nowhere."""
    layer.build((None, None, I), np.random.default_rng(1))
    for view in layer.parameters().values():
        view += np.random.default_rng(2).normal(size=view.shape) * 0.3
    return layer

"""nblstm: a recurrent engine, compiled by Numba. You write a cell's equations; it derives and compiles the rest."""

from nblstm import (
    activations,
    callbacks,
    cells,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    models,
    nn,
    optimizers,
    regularizers,
    training,
)
from nblstm.cells.cell import Cell, cell
from nblstm.cells.functions import (
    abs,
    clip,
    elu,
    exp,
    gelu,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    log,
    maximum,
    minimum,
    relu,
    selu,
    sigmoid,
    softplus,
    softsign,
    sqrt,
    swish,
    tanh,
    where,
)  # fmt: skip
from nblstm.cells.graph import CellError
from nblstm.cpu.threads import num_threads, set_num_threads
from nblstm.device import device, set_device
from nblstm.layers import Input
from nblstm.models import Sequential
from nblstm.seeds import set_random_seed
from nblstm.warmup import warmup

__version__ = "0.1.0"

__all__ = [
    "Cell", "CellError", "Input", "Sequential", "abs", "activations", "callbacks", "cell", "cells", "clip",
    "constraints", "device", "elu", "exp", "gelu", "hard_sigmoid", "hard_tanh", "initializers", "layers", "leaky_relu",
    "log", "losses", "maximum", "metrics", "minimum", "models", "nn", "num_threads", "optimizers", "regularizers",
    "relu", "selu", "set_device", "set_num_threads", "set_random_seed", "sigmoid", "softplus", "softsign", "sqrt",
    "swish", "tanh", "training", "warmup", "where",
]  # fmt: skip

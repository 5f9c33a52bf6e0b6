"""nblstm: a recurrent engine, compiled by Numba. You write a cell's equations; it derives and compiles the rest."""

from nblstm import cells, layers, models, nn, training
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
from nblstm.models import Sequential
from nblstm.seeds import set_random_seed
from nblstm.warmup import warmup

__version__ = "0.1.0"

__all__ = [
    "Cell", "CellError", "Sequential", "abs", "cell", "cells", "clip", "device", "elu", "exp", "gelu", "hard_sigmoid",
    "hard_tanh", "layers", "leaky_relu", "log", "maximum", "minimum", "models", "nn", "num_threads", "relu", "selu",
    "set_device", "set_num_threads", "set_random_seed", "sigmoid", "softplus", "softsign", "sqrt", "swish", "tanh",
    "training", "warmup", "where",
]  # fmt: skip

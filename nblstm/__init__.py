"""nblstm: a recurrent engine, compiled by Numba. You write a cell's equations; it derives and compiles the rest."""

from importlib import import_module
from typing import TYPE_CHECKING

from nblstm import cells, nn
from nblstm.arguments.missing import missing
from nblstm.arguments.seeds import set_random_seed
from nblstm.cells.cell import Cell, cell
from nblstm.cpu.threads import num_threads, set_num_threads
from nblstm.engine.device import device, set_device
from nblstm.engine.precision import set_precision
from nblstm.engine.warmup import warmup
from nblstm.numba_extension import scalar_cells as _numba_knows_cells_and_functions  # noqa: F401
from nblstm.symbolic.functions import (
    abs,
    clip,
    cos,
    elu,
    erf,
    exp,
    exp2,
    gelu,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    log,
    log2,
    maximum,
    minimum,
    relu,
    round,
    selu,
    sigmoid,
    sign,
    sin,
    softplus,
    softsign,
    sqrt,
    stop_gradient,
    swish,
    tanh,
    where,
)
from nblstm.symbolic.functions_of_units import layer_norm, mean, softmax, sum
from nblstm.symbolic.unsupported import CellError

if TYPE_CHECKING:
    from nblstm import (
        activations,
        backend,
        callbacks,
        constraints,
        initializers,
        layers,
        losses,
        metrics,
        models,
        noise,
        optimizers,
        preprocessing,
        regularizers,
        saving,
        training,
        utils,
    )
    from nblstm.activations import activation
    from nblstm.layers import Input
    from nblstm.models import Sequential
    from nblstm.training.losses.own_loss import loss

__version__ = "0.1.0"

__all__ = [
    "Cell", "CellError", "Input", "Sequential", "abs", "activation", "activations", "backend", "callbacks",
    "cell", "cells", "clip", "constraints", "cos", "device", "elu", "erf", "exp", "exp2", "gelu",
    "hard_sigmoid", "hard_tanh", "initializers", "layer_norm", "layers", "leaky_relu", "log", "log2", "loss",
    "losses", "maximum", "mean", "metrics", "minimum", "models", "nn", "noise", "num_threads", "optimizers",
    "preprocessing", "regularizers", "relu", "round", "saving", "selu", "set_device", "set_num_threads",
    "set_precision", "set_random_seed", "sigmoid", "sign", "sin", "softmax", "softplus", "softsign", "sqrt",
    "stop_gradient", "sum", "swish", "tanh", "training", "utils", "warmup", "where",
]  # fmt: skip

#: What is imported when it is first asked for, and whence: half of the time that importing all of nblstm takes.
_LATER = {
    **dict.fromkeys(
        ("activations", "backend", "callbacks", "constraints", "initializers", "layers", "losses", "metrics", "models",
         "noise", "optimizers", "preprocessing", "regularizers", "saving", "training", "utils")
    ),
    "Input": "nblstm.layers", "Sequential": "nblstm.models", "activation": "nblstm.activations",
    "loss": "nblstm.training.losses.own_loss",
}  # fmt: skip


def __getattr__(name: str):
    if name not in _LATER:
        raise missing(__name__, name)
    home = _LATER[name]
    return getattr(import_module(home), name) if home else import_module(f"nblstm.{name}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

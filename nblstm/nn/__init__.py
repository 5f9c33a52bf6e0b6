"""Objects that own parameters, with torch's conventions."""

from nblstm.engine.engine import Gradients
from nblstm.nn import numba_type as _numba_type  # noqa: F401  # what Numba is told
from nblstm.nn.linear import Linear
from nblstm.nn.loading import load
from nblstm.nn.module import Module
from nblstm.nn.named import GRU, LSTM, RNN
from nblstm.nn.recurrent import Recurrent
from nblstm.nn.stepper import Stepper

__all__ = ["GRU", "LSTM", "RNN", "Gradients", "Linear", "Module", "Recurrent", "Stepper", "load"]


def __dir__() -> list[str]:
    return __all__

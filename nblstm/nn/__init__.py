"""Objects that own parameters, with torch's conventions."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.engine.tape import Gradients
from nblstm.nn import numba_type as _numba_type  # noqa: F401  # what Numba is told
from nblstm.nn.direction import Direction
from nblstm.nn.linear import Linear
from nblstm.nn.loading import load
from nblstm.nn.module import Module
from nblstm.nn.named import GRU, LSTM, RNN
from nblstm.nn.recurrent import Recurrent
from nblstm.nn.stack import Stack
from nblstm.nn.stepper import Stepper

__all__ = ["GRU", "LSTM", "RNN", "Direction", "Gradients", "Linear", "Module", "Recurrent", "Stack", "Stepper", "load"]


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)

"""Recurrent layers as modules of torch: any cell, compiled, with autograd, inside any model of torch's."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.torch.converting import Conversion, convert
from nblstm.torch.freezing import frozen
from nblstm.torch.named import GRU, LSTM, RNN
from nblstm.torch.recurrent import Recurrent
from nblstm.torch.reference import Reference, reference
from nblstm.torch.streaming import Stepper
from nblstm.torch.threads import share_threads

__all__ = ["GRU", "LSTM", "RNN", "Conversion", "Recurrent", "Reference", "Stepper", "convert", "frozen", "reference"]


share_threads()


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)

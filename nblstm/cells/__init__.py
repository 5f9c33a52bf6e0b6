"""Cells: the equations of each recurrent network, and how equations become graphs and gradients."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.cells.cell import Cell, cell
from nblstm.cells.clipped import clipped
from nblstm.cells.gru import gru, gru_reset_before, gru_with
from nblstm.cells.lstm import lstm, lstm_complement, lstm_coupled, lstm_peephole, lstm_with
from nblstm.cells.recurrent_dropout import recurrent_dropout
from nblstm.cells.recurrent_matrix import RecurrentMatrix, antisymmetric, heads, low_rank
from nblstm.cells.rnn import rnn_relu, rnn_tanh, rnn_with

__all__ = [
    "Cell",
    "RecurrentMatrix",
    "antisymmetric",
    "cell",
    "clipped",
    "gru",
    "gru_reset_before",
    "gru_with",
    "heads",
    "low_rank",
    "lstm",
    "lstm_complement",
    "lstm_coupled",
    "lstm_peephole",
    "lstm_with",
    "recurrent_dropout",
    "rnn_relu",
    "rnn_tanh",
    "rnn_with",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)

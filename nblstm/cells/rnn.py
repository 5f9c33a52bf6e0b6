"""The simple recurrent network (Elman 1990)."""

from nblstm.cells.cell import cell
from nblstm.cells.functions import relu, tanh


@cell(gates="a", states="h")
def rnn_tanh(a, h):
    """h = tanh(W x + R h + b)."""
    return tanh(a)


@cell(gates="a", states="h")
def rnn_relu(a, h):
    """h = max(W x + R h + b, 0)."""
    return relu(a)

"""The residual LSTM."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="i f g o m", states="h c", called="m", vectors="p_i p_f p_o")
def reslstm(i, f, g, o, m, h, c, p_i, p_f, p_o):
    """Residual LSTM: peepholes, and a shortcut from the input (Kim, El-Khamy & Lee 2017, arXiv 1701.03360).

    ``m(tanh(c))`` is the paper's ``W_p tanh(c) + W_h x``.
    """
    i, f = sigmoid(i + p_i * c), sigmoid(f + p_f * c)
    c = f * c + i * tanh(g)
    h = sigmoid(o + p_o * c) * m(tanh(c))
    return h, c

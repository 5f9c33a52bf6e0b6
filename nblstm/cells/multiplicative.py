"""The multiplicative LSTM."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="m i f g o", states="h c", split="m", called="i f g o")
def multiplicativelstm(m_x, m_h, i, f, g, o, h, c):
    """mLSTM: recurrent weights that depend on the input (Krause, Lu, Murray & Renals 2016, arXiv 1609.07959)."""
    m = m_x * m_h
    c = sigmoid(f(m)) * c + sigmoid(i(m)) * tanh(g(m))
    h = sigmoid(o(m)) * tanh(c)
    return h, c

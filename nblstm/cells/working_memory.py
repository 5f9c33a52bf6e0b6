"""The LSTM with working memory connections."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="i f g o m_i m_f m_o", states="h c", recurrent_only="m_i m_f m_o", called="m_i m_f m_o")
def wmclstm(i, f, g, o, m_i, m_f, m_o, h, c):
    """WMC-LSTM: gates see the memory through matrices (Landi, Baraldi, Cornia & Cucchiara 2021, arXiv 2109.00020)."""
    i = sigmoid(i + tanh(m_i(c)))
    f = sigmoid(f + tanh(m_f(c)))
    c = f * c + i * tanh(g)
    h = sigmoid(o + tanh(m_o(c))) * tanh(c)
    return h, c

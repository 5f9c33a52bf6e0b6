"""The addition-subtraction twin-gated recurrent network."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid


@cell(gates="p q", states="h", input_only="p", recurrent_only="q")
def atr(p, q, h):
    """ATR: two gates of one pair of matrices (Zhang, Xiong, Su, Lin & Zhang 2018, arXiv 1810.12546)."""
    i = sigmoid(p + q)
    f = sigmoid(p - q)
    return i * p + f * h

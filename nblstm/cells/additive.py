"""Recurrent additive networks."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="n i f", states="h c", input_only="n")
def ran(n, i, f, h, c):
    """RAN: states are weighted sums of inputs (Lee, Levy & Zettlemoyer 2017, arXiv 1705.07393)."""
    c = sigmoid(i) * n + sigmoid(f) * c
    return tanh(c), c

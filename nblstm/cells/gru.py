"""The gated recurrent unit."""

from nblstm.cells.cell import cell
from nblstm.cells.functions import sigmoid, tanh


@cell(gates="r z n", states="h", split="n")
def gru(r, z, n_x, n_h, h):
    """GRU with the reset gate after the recurrent product (Cho et al. 2014, as in cuDNN and torch)."""
    z = sigmoid(z)
    n = tanh(n_x + sigmoid(r) * n_h)
    return (1 - z) * n + z * h

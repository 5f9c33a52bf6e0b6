"""The gated recurrent unit."""

from nblstm.cells.cell import cell
from nblstm.cells.functions import sigmoid, tanh


@cell(gates="r z n", states="h", split="n")
def gru(r, z, n_x, n_h, h):
    """GRU with the reset gate after the recurrent product (Cho et al. 2014, as in cuDNN and torch)."""
    z = sigmoid(z)
    n = tanh(n_x + sigmoid(r) * n_h)
    return (1 - z) * n + z * h


@cell(gates="r z n", states="h", second="n")
def gru_reset_before(r, z, n, h):
    """GRU with the reset gate before the recurrent product: ``n = tanh(W x + R (r * h) + b)``.

    The paper's own (Cho et al. 2014, equations 5 to 8), ONNX's default (``linear_before_reset=0``) and Keras's
    ``reset_after=False``; ``z`` near 1 keeps the old state in all of them.
    """
    z = sigmoid(z)
    n = tanh(n(sigmoid(r) * h))
    return (1 - z) * n + z * h

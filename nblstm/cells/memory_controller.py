"""The LSTM with a memory controller."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="f i o m n", states="v c h", output="h")
def mclstm(f, i, o, m, n, v, c, h):
    """MC-LSTM: gates see a control signal ``v``, not the output ``h`` (Ben-Ari & Shwartz-Ziv 2017)."""
    c = sigmoid(f) * c + sigmoid(i) * tanh(n)
    h = sigmoid(o) * tanh(c)
    v = sigmoid(m) * tanh(c)
    return v, c, h

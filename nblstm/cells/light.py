"""Networks lighter than a GRU: LiGRU and LightRU."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import relu, sigmoid, tanh


@cell(gates="z n", states="h")
def ligru(z, n, h):
    """LiGRU: no reset gate, a ReLU (Ravanelli, Brakel, Omologo & Bengio 2018, arXiv 1803.10225).

    The paper's batch normalisation of ``W x`` is a layer of its own.
    """
    z = sigmoid(z)
    return z * h + (1 - z) * relu(n)


@cell(gates="n f", states="h", input_only="n")
def lightru(n, f, h):
    """LightRU: one gate, and a candidate of the input alone (Ye et al. 2024, Electronics 13(16), 3204)."""
    f = sigmoid(f)
    return (1 - f) * h + f * tanh(n)

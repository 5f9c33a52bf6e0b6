"""The chaos-free network."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="theta eta v", states="h", input_only="v")
def cfn(theta, eta, v, h):
    """CFN: chaos-free network, whose states fade without input (Laurent & von Brecht 2017, arXiv 1612.06212)."""
    return sigmoid(theta) * tanh(h) + sigmoid(eta) * tanh(v)

"""The stackable recurrent cell."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="z k", states="h", input_only="z")
def star(z, k, h):
    """STAR: stackable recurrent cell, for deep stacks (Turkoglu et al. 2019, arXiv 1911.11033)."""
    z, k = tanh(z), sigmoid(k)
    return tanh((1 - k) * h + k * z)

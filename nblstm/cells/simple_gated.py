"""The simple gated recurrent network."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="a", states="h", split="a")
def sgrn(a_x, a_h, h):
    """SGRN: one gate, and no weights beside its own (IET Generation, Transmission & Distribution 2021, gtd2.12056)."""
    f = sigmoid(a_x + a_h)
    return tanh((1 - f) * a_x + f * h)

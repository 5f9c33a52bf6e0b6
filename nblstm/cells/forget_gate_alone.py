"""JANET: a network with a forget gate and no other."""

from functools import cache

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import sigmoid, tanh


def janet_with(beta: float = 1.0) -> Cell:
    """JANET: an LSTM with a forget gate alone (van der Westhuizen & Lasenby 2018, arXiv 1804.04849).

    Parameters
    ----------
    beta : float
        How much less the input gate opens than the forget gate closes.

    Returns
    -------
    Cell
        With one state: the paper's ``h`` is its ``c``.
    """
    return _janet(validate.number("beta", beta))


@cache
def _janet(beta: float) -> Cell:
    @cell(gates="s c_in", states="c")
    def janet(s, c_in, c):
        """JANET: an LSTM with a forget gate alone (van der Westhuizen & Lasenby 2018, arXiv 1804.04849)."""
        return sigmoid(s) * c + (1 - sigmoid(s - beta)) * tanh(c_in)

    return janet


janet = janet_with()

"""The gated recurrent network with a weighted time delay."""

from functools import cache

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.cells.variadic import with_arguments
from nblstm.symbolic.functions import sigmoid, tanh


def taugru_with(delay: int = 1) -> Cell:
    """tau-GRU: feedback of an earlier state (Erichson, Lim & Mahoney 2022, arXiv 2212.00228).

    Parameters
    ----------
    delay : int, default 1
        The paper's tau: the state fed back is that of so many steps before the previous one.

    Returns
    -------
    Cell
        With ``delay`` states beside ``h``: the previous ``h_1``, the one before, ``h_2``, and so on.
    """
    return _taugru(validate.positive_integer("delay", delay))


@cache
def _taugru(delay: int) -> Cell:
    names = [f"h_{k}" for k in range(1, delay + 1)]

    def taugru(u, z, g, a, h, *earlier):
        """tau-GRU: ``(1 - g) h + g (u + a z)``, z of an earlier state (Erichson et al. 2022, arXiv 2212.00228)."""
        u, z, g, a = tanh(u), tanh(z(earlier[-1])), sigmoid(g), sigmoid(a)
        return (1 - g) * h + g * (u + a * z), h, *earlier[:-1]

    with_arguments(taugru, ["u", "z", "g", "a", "h", *names])
    return cell(gates="u z g a", states=" ".join(["h", *names]), called="z")(taugru)


taugru = taugru_with()

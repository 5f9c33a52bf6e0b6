"""Cells that a search found: three mutations of the GRU, and NAS's."""

from functools import cache

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import relu, sigmoid, tanh


def mut1_with(project: bool = False) -> Cell:
    """MUT1: the best mutation of a GRU (Jozefowicz, Zaremba & Sutskever 2015, PMLR 37).

    Parameters
    ----------
    project : bool, default False
        Whether the candidate sees ``W x + b`` in the place of the input itself, as in torchrecurrent. The paper's
        ``tanh(x)`` needs I = H.

    Returns
    -------
    Cell
    """
    return _mut1(validate.flag("project", project))


@cache
def _mut1(project: bool) -> Cell:
    @cell(gates="z r n", states="h", input_only="z", recurrent_only="n", called="n")
    def mut1(z, r, n, h, x):
        """MUT1: the best mutation of a GRU (Jozefowicz, Zaremba & Sutskever 2015, PMLR 37)."""
        z, r = sigmoid(z), sigmoid(r)
        return tanh(n(r * h) + tanh(x)) * z + h * (1 - z)

    @cell(gates="z r n", states="h", input_only="z", split="n", called="n")
    def mut1_projected(z, r, n_x, n_h, h):
        """MUT1 with ``W x + b`` for x (Jozefowicz, Zaremba & Sutskever 2015, PMLR 37)."""
        z, r = sigmoid(z), sigmoid(r)
        return tanh(n_h(r * h) + tanh(n_x)) * z + h * (1 - z)

    return mut1_projected if project else mut1


def mut2_with(project: bool = False) -> Cell:
    """MUT2: another mutation of a GRU (Jozefowicz, Zaremba & Sutskever 2015, PMLR 37).

    Parameters
    ----------
    project : bool, default False
        Whether the gate ``r`` sees ``W x + b`` in the place of the input itself, as in torchrecurrent. The paper's
        ``x`` needs I = H.

    Returns
    -------
    Cell
    """
    return _mut2(validate.flag("project", project))


@cache
def _mut2(project: bool) -> Cell:
    @cell(gates="z r n", states="h", recurrent_only="r", called="n")
    def mut2(z, r, n, h, x):
        """MUT2: another mutation of a GRU (Jozefowicz, Zaremba & Sutskever 2015, PMLR 37)."""
        z, r = sigmoid(z), sigmoid(x + r)
        return tanh(n(r * h)) * z + h * (1 - z)

    @cell(gates="z r n", states="h", called="n")
    def mut2_projected(z, r, n, h):
        """MUT2 with ``W x + b`` for x (Jozefowicz, Zaremba & Sutskever 2015, PMLR 37)."""
        z, r = sigmoid(z), sigmoid(r)
        return tanh(n(r * h)) * z + h * (1 - z)

    return mut2_projected if project else mut2


mut1, mut2 = mut1_with(), mut2_with()


@cell(gates="z r n", states="h", called="z n")
def mut3(z, r, n, h):
    """MUT3: a third mutation of a GRU (Jozefowicz, Zaremba & Sutskever 2015, PMLR 37)."""
    z = sigmoid(z(tanh(h)))
    r = sigmoid(r)
    return tanh(n(r * h)) * z + h * (1 - z)


@cell(gates="g1 g2 g3 g4 g5 g6 g7 g8", states="h c", split="g4")
def nas(g1, g2, g3, g4_x, g4_h, g5, g6, g7, g8, h, c):
    """NAS: a cell that reinforcement learning found, as its authors programmed it (Zoph & Le 2017, arXiv 1611.01578).

    The fourth of eight leaves multiplies ``W x`` and ``R h``; torchrecurrent adds them there.
    """
    c_in = tanh(sigmoid(g1) * relu(g2))
    keep = tanh(sigmoid(g3) + relu(g4_x * g4_h))
    left = tanh(tanh(g5) * sigmoid(g6))
    right = sigmoid(tanh(g7) + sigmoid(g8))
    c = tanh(c_in + c) * keep
    h = tanh(c * tanh(left + right))
    return h, c

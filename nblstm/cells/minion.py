"""Minion gated units, in which constants take the place of gates."""

from functools import cache

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import sigmoid, tanh


def miru1_with(update: float = 0.5) -> Cell:
    """MiRU1: a GRU with a constant update gate (Neurocomputing 2026, doi 10.1016/j.neucom.2026.132847).

    Parameters
    ----------
    update : float
        The paper's lambda, from 0 to 1: how much of the state stays.

    Returns
    -------
    Cell
    """
    return _miru1(validate.number("update", update, 0.0, 1.0))


@cache
def _miru1(update: float) -> Cell:
    @cell(gates="r n", states="h", called="n")
    def miru1(r, n, h):
        """MiRU1: a GRU with a constant update gate (Neurocomputing 2026, doi 10.1016/j.neucom.2026.132847)."""
        return update * h + (1 - update) * tanh(n(sigmoid(r) * h))

    return miru1


def miru2_with(update: float = 0.5, reset: float = 0.5) -> Cell:
    """MiRU2: a GRU with constant gates (Neurocomputing 2026, doi 10.1016/j.neucom.2026.132847).

    Parameters
    ----------
    update, reset : float
        The paper's lambda and theta, from 0 to 1.

    Returns
    -------
    Cell
    """
    return _miru2(validate.number("update", update, 0.0, 1.0), validate.number("reset", reset, 0.0, 1.0))


@cache
def _miru2(update: float, reset: float) -> Cell:
    @cell(gates="n", states="h", called="n")
    def miru2(n, h):
        """MiRU2: a GRU with constant gates (Neurocomputing 2026, doi 10.1016/j.neucom.2026.132847)."""
        return update * h + (1 - update) * tanh(n(reset * h))

    return miru2


miru1 = miru1_with()
miru2 = miru2_with()

"""Highways: recurrent highway networks over depth within a step, SRU from layer to layer."""

from functools import cache

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.cells.variadic import with_arguments
from nblstm.symbolic.functions import sigmoid, tanh


def rhn_with(depth: int = 3) -> Cell:
    """RHN: several highway layers within a step (Zilly, Srivastava, Koutnik & Schmidhuber 2017, arXiv 1607.03474).

    ``s = tanh(n) t + s (1 - t)`` for each layer; gates ``n`` and ``t`` of the first one see the input too.

    Parameters
    ----------
    depth : int, default 3

    Returns
    -------
    Cell
        With coupled gates, c = 1 - t, as in the paper's experiments; gates are n1 t1, n2 t2, and so on.
    """
    return _rhn(validate.positive_integer("depth", depth))


@cache
def _rhn(depth: int) -> Cell:
    gates = [f"{gate}{layer}" for layer in range(1, depth + 1) for gate in "nt"]

    def rhn(n, t, *deeper_and_s):
        """RHN: ``s = tanh(n) t + s (1 - t)`` for several layers (Zilly et al. 2017, arXiv 1607.03474)."""
        *deeper, s = deeper_and_s
        t = sigmoid(t)
        s = tanh(n) * t + s * (1 - t)
        for n, t in zip(deeper[::2], deeper[1::2], strict=True):
            t = sigmoid(t(s))
            s = tanh(n(s)) * t + s * (1 - t)
        return s

    later = " ".join(gates[2:])
    with_arguments(rhn, [*gates, "s"])
    return cell(gates=" ".join(gates), states="s", recurrent_only=later, called=later)(rhn)


@cell(gates="n f r", states="c h", output="h", input_only="n f r", vectors="v_f v_r")
def sru(n, f, r, c, h, x, v_f, v_r):
    """SRU: simple recurrent unit, a light recurrence and a highway; for I = H (Lei et al. 2018, arXiv 1709.02755)."""
    f, r = sigmoid(f + v_f * c), sigmoid(r + v_r * c)
    c = f * c + (1 - f) * n
    h = r * c + (1 - r) * x
    return c, h


rhn = rhn_with()

"""Networks of oscillators: coRNN and UnICORNN."""

from functools import cache

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import sigmoid, tanh


def cornn_with(dt: float = 0.1, gamma: float = 1.0, epsilon: float = 1.0) -> Cell:
    """coRNN: coupled oscillators, in steps of an explicit scheme (Rusch & Mishra 2021, arXiv 2010.00951).

    Parameters
    ----------
    dt : float
        The time step.
    gamma : float
        The square of the frequency.
    epsilon : float
        The damping.

    Returns
    -------
    Cell
        With the paper's states: ``y``, the output, and the velocity ``z``.
    """
    return _cornn(*(validate.number(*each) for each in (("dt", dt), ("gamma", gamma), ("epsilon", epsilon))))


@cache
def _cornn(dt: float, gamma: float, epsilon: float) -> Cell:
    @cell(gates="a w", states="y z", recurrent_only="w", called="w")
    def cornn(a, w, y, z):
        """coRNN: ``y'' = tanh(W x + R y + V y') - gamma y - epsilon y'`` (Rusch & Mishra 2021, arXiv 2010.00951)."""
        z = z + dt * (tanh(a + w(z)) - gamma * y - epsilon * z)
        y = y + dt * z
        return y, z

    return cornn


def unicornn_with(dt: float = 0.1, alpha: float = 0.0) -> Cell:
    """UnICORNN: undamped independent oscillators, with learned time steps (Rusch & Mishra 2021, arXiv 2103.05487).

    Parameters
    ----------
    dt : float
        The largest time step.
    alpha : float
        The square of the frequency without input.

    Returns
    -------
    Cell
        With the paper's states: ``y``, the output, and the velocity ``z``. The vector ``c`` sets each unit's step.
    """
    return _unicornn(validate.number("dt", dt), validate.number("alpha", alpha))


@cache
def _unicornn(dt: float, alpha: float) -> Cell:
    @cell(gates="v", states="y z", input_only="v", vectors="w c")
    def unicornn(v, y, z, w, c):
        """UnICORNN: ``y'' = -(tanh(W x + w y + b) + alpha y)`` (Rusch & Mishra 2021, arXiv 2103.05487)."""
        step = dt * sigmoid(c)
        z = z - step * (tanh(w * y + v) + alpha * y)
        y = y + step * z
        return y, z

    return unicornn


cornn = cornn_with()
unicornn = unicornn_with()

"""Antisymmetric recurrent networks, which discretise a stable differential equation."""

from functools import cache

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.cells.recurrent_matrix import antisymmetric
from nblstm.symbolic.functions import sigmoid, tanh


def antisymmetricrnn_with(epsilon: float = 1.0, gamma: float = 0.0) -> Cell:
    """Antisymmetric RNN (Chang, Chen, Haber & Chi 2019, arXiv 1902.09689).

    Parameters
    ----------
    epsilon : float
        The step of Euler's method.
    gamma : float
        The diffusion, subtracted from the diagonal of ``R - R'``.

    Returns
    -------
    Cell
    """
    return _plain(validate.number("epsilon", epsilon), validate.number("gamma", gamma))


@cache
def _plain(epsilon: float, gamma: float) -> Cell:
    @cell(gates="a", states="h", matrix=antisymmetric(gamma))
    def antisymmetricrnn(a, h):
        """AntisymmetricRNN: an RNN of stable dynamics (Chang, Chen, Haber & Chi 2019, arXiv 1902.09689)."""
        return h + epsilon * tanh(a)

    return antisymmetricrnn


def gatedantisymmetricrnn_with(epsilon: float = 1.0, gamma: float = 0.0) -> Cell:
    """Antisymmetric RNN with an input gate (Chang, Chen, Haber & Chi 2019, arXiv 1902.09689).

    Both the gate and the candidate have the one recurrent matrix, ``a = (R - R' - gamma I) h``.

    Parameters
    ----------
    epsilon, gamma : float
        See `antisymmetricrnn_with`.

    Returns
    -------
    Cell
    """
    return _gated(validate.number("epsilon", epsilon), validate.number("gamma", gamma))


@cache
def _gated(epsilon: float, gamma: float) -> Cell:
    @cell(gates="z v a", states="h", input_only="z v", recurrent_only="a", matrix=antisymmetric(gamma))
    def gatedantisymmetricrnn(z, v, a, h):
        """AntisymmetricRNN with an input gate, of the same matrix (Chang, Chen, Haber & Chi 2019, arXiv 1902.09689)."""
        return h + epsilon * sigmoid(z + a) * tanh(v + a)

    return gatedantisymmetricrnn


antisymmetricrnn = antisymmetricrnn_with()
gatedantisymmetricrnn = gatedantisymmetricrnn_with()

"""FastRNN and FastGRNN, kilobyte-sized networks."""

from collections.abc import Callable
from functools import cache
from typing import Any

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.cells.recurrent_matrix import low_rank
from nblstm.symbolic.functions import activation as activation_named
from nblstm.symbolic.functions import sigmoid, tanh


def fastrnn_with(activation: str | Callable[..., Any] = "tanh") -> Cell:
    """FastRNN: a weighted residual connection over time (Kusupati et al. 2018, arXiv 1901.02358).

    Parameters
    ----------
    activation : str, callable or ActivationFunction

    Returns
    -------
    Cell
        Its scalars ``alpha`` and ``beta`` are logits: the weights are their sigmoids, between 0 and 1. The paper
        starts them at -3 and 3.
    """
    return _fastrnn(activation_named(activation))


@cache
def _fastrnn(act) -> Cell:
    @cell(gates="a", states="h", scalars="alpha beta")
    def fastrnn(a, h, alpha, beta):
        """FastRNN: a weighted residual connection over time (Kusupati et al. 2018, arXiv 1901.02358)."""
        return sigmoid(alpha) * act(a) + sigmoid(beta) * h

    return fastrnn


def fastgrnn_with(rank: int | None = None) -> Cell:
    """FastGRNN: a gate with the weights of its candidate (Kusupati et al. 2018, arXiv 1901.02358).

    Parameters
    ----------
    rank : int, optional
        Of the recurrent matrix, ``R = U V`` with so many columns of U and rows of V; full if not given.

    Returns
    -------
    Cell
        It has biases of its own, ``b_z`` and ``b_h``, so give its network ``bias=False``. Its scalars ``zeta`` and
        ``nu`` are logits, as in `fastrnn_with`.
    """
    return _fastgrnn(None if rank is None else validate.positive_integer("rank", rank))


@cache
def _fastgrnn(rank: int | None) -> Cell:
    matrix = None if rank is None else low_rank(rank)

    @cell(gates="a", states="h", vectors="b_z b_h", scalars="zeta nu", matrix=matrix)
    def fastgrnn(a, h, b_z, b_h, zeta, nu):
        """FastGRNN: a gate with the weights of its candidate (Kusupati et al. 2018, arXiv 1901.02358)."""
        z = sigmoid(a + b_z)
        return (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * tanh(a + b_h) + z * h

    return fastgrnn


fastrnn = fastrnn_with()
fastgrnn = fastgrnn_with()

"""The independently recurrent network."""

from collections.abc import Callable
from functools import cache
from typing import Any

from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import activation as activation_named


def indrnn_with(activation: str | Callable[..., Any] = "relu") -> Cell:
    """IndRNN: each unit sees of the previous state itself alone (Li, Li, Cook, Zhu & Gao 2018, arXiv 1803.04831).

    Parameters
    ----------
    activation : str, callable or ActivationFunction

    Returns
    -------
    Cell
    """
    return _indrnn(activation_named(activation))


@cache
def _indrnn(act) -> Cell:
    @cell(gates="a", states="h", input_only="a", vectors="u")
    def indrnn(a, h, u):
        """IndRNN: ``act(W x + u h + b)``, with a vector u (Li et al. 2018, arXiv 1803.04831)."""
        return act(a + u * h)

    return indrnn


indrnn = indrnn_with()

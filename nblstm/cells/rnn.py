"""The simple recurrent network (Elman 1990)."""

from collections.abc import Callable
from functools import cache
from typing import Any

from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import activation as activation_named
from nblstm.symbolic.functions import relu, tanh


@cell(gates="a", states="h")
def rnn_tanh(a, h):
    """h = tanh(W x + R h + b)."""
    return tanh(a)


@cell(gates="a", states="h")
def rnn_relu(a, h):
    """h = max(W x + R h + b, 0)."""
    return relu(a)


def rnn_with(activation: str | Callable[..., Any] = "tanh") -> Cell:
    """Simple recurrent network with a chosen activation, named as Keras names its argument.

    Parameters
    ----------
    activation : str, callable or ActivationFunction

    Returns
    -------
    Cell
        `rnn_tanh` or `rnn_relu` itself for these.
    """
    return _rnn(activation_named(activation))


@cache
def _rnn(act) -> Cell:
    if act in (tanh, relu):
        return rnn_tanh if act is tanh else rnn_relu

    @cell(gates="a", states="h")
    def rnn_with(a, h):
        return act(a)

    return rnn_with

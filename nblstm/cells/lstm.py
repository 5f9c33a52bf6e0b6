"""The LSTM family."""

from collections.abc import Callable
from functools import cache
from typing import Any

from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import activation as activation_named
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="i f g o", states="h c")
def lstm(i, f, g, o, h, c):
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers et al. 2000)."""
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return h, c


@cell(gates="i f g o", states="h c", vectors="p_i p_f p_o")
def lstm_peephole(i, f, g, o, h, c, p_i, p_f, p_o):
    """LSTM whose gates see the cell state (Gers, Schraudolph & Schmidhuber 2002)."""
    i = sigmoid(i + p_i * c)
    f = sigmoid(f + p_f * c)
    c = f * c + i * tanh(g)
    h = sigmoid(o + p_o * c) * tanh(c)
    return h, c


@cell(gates="f g o", states="h c")
def lstm_coupled(f, g, o, h, c):
    """LSTM with a coupled input and forget gate, i = 1 - f (Greff et al. 2017: CIFG)."""
    f = sigmoid(f)
    c = f * c + (1 - f) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return h, c


@cell(gates="i f g o", states="h c")
def lstm_complement(i, f, g, o, h, c):
    """LSTM whose forget gate says how much to forget, not how much to keep."""
    c = (1 - sigmoid(f)) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return h, c


def lstm_with(
    activation: str | Callable[..., Any] = "tanh", recurrent_activation: str | Callable[..., Any] = "sigmoid"
) -> Cell:
    """LSTM with chosen activations, named as Keras names its arguments.

    Parameters
    ----------
    activation : str, callable or ActivationFunction
        Of the candidate ``g`` and of the output.
    recurrent_activation : str, callable or ActivationFunction
        Of the gates ``i``, ``f`` and ``o``.

    Returns
    -------
    Cell
        `lstm` itself for the defaults.
    """
    act, gate = activation_named(activation), activation_named(recurrent_activation)
    return lstm if act is tanh and gate is sigmoid else _lstm(act, gate)


@cache
def _lstm(act, gate) -> Cell:
    @cell(gates="i f g o", states="h c")
    def lstm_with(i, f, g, o, h, c):
        c = gate(f) * c + gate(i) * act(g)
        h = gate(o) * act(c)
        return h, c

    return lstm_with

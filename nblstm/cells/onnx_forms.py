"""Cells of ONNX's operators LSTM, GRU and RNN, with every attribute that changes an equation.

Each form of an attribute set is one cell, made once; forms that nblstm has under a name of its own are those cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

from nblstm.cells.cell import Cell, cell
from nblstm.cells.gru import gru, gru_reset_before
from nblstm.cells.lstm import lstm, lstm_peephole
from nblstm.cells.rnn import rnn_relu, rnn_tanh
from nblstm.symbolic import functions


class Activation(NamedTuple):
    """An activation of ONNX's.

    Attributes
    ----------
    name : str
        A key of `ACTIVATIONS`.
    alpha, beta : float or None
        None where the function does not take it.
    """

    name: str
    alpha: float | None = None
    beta: float | None = None


def affine(x, alpha, beta) -> Any:
    """``alpha x + beta``."""
    return alpha * x + beta


def scaled_tanh(x, alpha, beta) -> Any:
    """``alpha tanh(beta x)``."""
    return alpha * functions.tanh(beta * x)


def thresholded_relu(x, alpha) -> Any:
    """``x`` above alpha, 0 below."""
    return functions.where(x > alpha, x, 0.0)


def linear_sigmoid(x, alpha, beta) -> Any:
    """``clip(alpha x + beta, 0, 1)``, ONNX's HardSigmoid."""
    return functions.clip(alpha * x + beta, 0.0, 1.0)


#: The function of each name, and how many of alpha and beta it takes.
ACTIVATIONS: dict[str, tuple[Callable, int]] = {
    "Relu": (functions.relu, 0), "Tanh": (functions.tanh, 0), "Sigmoid": (functions.sigmoid, 0),
    "Softsign": (functions.softsign, 0), "Softplus": (functions.softplus, 0),
    "LeakyRelu": (functions.leaky_relu, 1), "ThresholdedRelu": (thresholded_relu, 1), "Elu": (functions.elu, 1),
    "Affine": (affine, 2), "ScaledTanh": (scaled_tanh, 2), "HardSigmoid": (linear_sigmoid, 2),
}  # fmt: skip

_SIGMOID, _TANH, _RELU = Activation("Sigmoid"), Activation("Tanh"), Activation("Relu")


def _function(activation: Activation, clip: float | None) -> Callable:
    """``f(clip(x, -clip, clip))``."""
    function, parameters = ACTIVATIONS[activation.name]
    values = dict(zip(("alpha", "beta"), activation[1:], strict=True))
    if parameters:
        names = ("negative_slope",) if function is functions.leaky_relu else ("alpha", "beta")[:parameters]
        function = partial(function, **dict(zip(names, values.values(), strict=False)))
    return function if clip is None else partial(_clipped, function, clip)


def _clipped(function: Callable, clip: float, x) -> Any:
    return function(functions.clip(x, -clip, clip))


@cache
def lstm_form(
    activations: tuple[Activation, Activation, Activation], clip: float | None, coupled: bool, peepholes: bool
) -> Cell:
    """Cell of an LSTM of ONNX's; in parameters, gates are in the order i f g o, or i g o where they are coupled.

    ::

        i, f = f(W x + R h + p c + b)       f = 1 - i where they are coupled
        g    = g(W x + R h + b)
        c'   = f c + i g
        o    = f(W x + R h + p_o c' + b)
        h'   = o h(c')

    Parameters
    ----------
    activations : tuple of Activation
        f, g and h.
    clip : float or None
        Bound of each pre-activation; ``h(c')`` takes c' as it is.
    coupled : bool
        ONNX's ``input_forget``.
    peepholes : bool
        Whether there are the vectors p_i, p_f (not where gates are coupled) and p_o.
    """
    if activations == (_SIGMOID, _TANH, _TANH) and clip is None and not coupled:
        return lstm_peephole if peepholes else lstm
    gate, act, out = _function(activations[0], clip), _function(activations[1], clip), _function(activations[2], None)

    def states(i, f, g, o, c, p_i, p_f, p_o):
        i = gate(i + p_i * c)
        f = 1 - i if f is None else gate(f + p_f * c)
        c = f * c + i * act(g)
        return gate(o + p_o * c) * out(c), c

    if coupled and peepholes:

        @cell(gates="i g o", states="h c", vectors="p_i p_o")
        def onnx_lstm(i, g, o, h, c, p_i, p_o):
            return states(i, None, g, o, c, p_i, 0.0, p_o)

    elif coupled:

        @cell(gates="i g o", states="h c")
        def onnx_lstm(i, g, o, h, c):
            return states(i, None, g, o, c, 0.0, 0.0, 0.0)

    elif peepholes:

        @cell(gates="i f g o", states="h c", vectors="p_i p_f p_o")
        def onnx_lstm(i, f, g, o, h, c, p_i, p_f, p_o):
            return states(i, f, g, o, c, p_i, p_f, p_o)

    else:

        @cell(gates="i f g o", states="h c")
        def onnx_lstm(i, f, g, o, h, c):
            return states(i, f, g, o, c, 0.0, 0.0, 0.0)

    return onnx_lstm


@cache
def gru_form(activations: tuple[Activation, Activation], clip: float | None, reset_after: bool) -> Cell:
    """Cell of a GRU of ONNX's; in parameters, gates are in the order r z n.

    ::

        r, z = f(W x + R h + b)
        n    = g(W x + r (R h + b_hh) + b_ih)      if reset_after, ONNX's linear_before_reset
        n    = g(W x + R (r h) + b)                else
        h'   = (1 - z) n + z h

    Parameters
    ----------
    activations : tuple of Activation
        f and g.
    clip : float or None
        Bound of each pre-activation; that of n as a whole.
    reset_after : bool
    """
    if activations == (_SIGMOID, _TANH) and clip is None:
        return gru if reset_after else gru_reset_before
    gate, act = (_function(activation, clip) for activation in activations)

    if reset_after:

        @cell(gates="r z n", states="h", split="n")
        def onnx_gru(r, z, n_x, n_h, h):
            z = gate(z)
            return (1 - z) * act(n_x + gate(r) * n_h) + z * h

    else:

        @cell(gates="r z n", states="h", called="n")
        def onnx_gru(r, z, n, h):
            z = gate(z)
            return (1 - z) * act(n(gate(r) * h)) + z * h

    return onnx_gru


@cache
def rnn_form(activation: Activation, clip: float | None) -> Cell:
    """Cell of an RNN of ONNX's: ``h' = f(W x + R h + b)``.

    Parameters
    ----------
    activation : Activation
    clip : float or None
        Bound of the pre-activation.
    """
    if clip is None and activation in (_TANH, _RELU):
        return rnn_tanh if activation == _TANH else rnn_relu
    act = _function(activation, clip)

    @cell(gates="a", states="h")
    def onnx_rnn(a, h):
        return act(a)

    return onnx_rnn

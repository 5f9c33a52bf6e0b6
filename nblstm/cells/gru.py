"""The gated recurrent unit."""

from collections.abc import Callable
from functools import cache
from typing import Any

from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import activation as activation_named
from nblstm.symbolic.functions import sigmoid, tanh


def _reset_after(r, z, n_x, n_h, h, act, gate):
    z = gate(z)
    n = act(n_x + gate(r) * n_h)
    return (1 - z) * n + z * h


def _reset_before(r, z, n, h, act, gate):
    z = gate(z)
    n = act(n(gate(r) * h))
    return (1 - z) * n + z * h


@cell(gates="r z n", states="h", split="n")
def gru(r, z, n_x, n_h, h):
    """GRU with the reset gate after the recurrent product (Cho et al. 2014, as in cuDNN and torch)."""
    return _reset_after(r, z, n_x, n_h, h, tanh, sigmoid)


@cell(gates="r z n", states="h", called="n")
def gru_reset_before(r, z, n, h):
    """GRU with the reset gate before the recurrent product: ``n = tanh(W x + R (r * h) + b)``.

    The paper's own (Cho et al. 2014, equations 5 to 8), ONNX's default (``linear_before_reset=0``) and Keras's
    ``reset_after=False``; ``z`` near 1 keeps the old state in all of them.
    """
    return _reset_before(r, z, n, h, tanh, sigmoid)


def gru_with(
    activation: str | Callable[..., Any] = "tanh", recurrent_activation: str | Callable[..., Any] = "sigmoid",
    reset_after: bool = True,
) -> Cell:  # fmt: skip
    """GRU with chosen activations and either place of the reset gate, named as Keras names its arguments.

    Parameters
    ----------
    activation : str, callable or ActivationFunction
        Of the candidate ``n``.
    recurrent_activation : str, callable or ActivationFunction
        Of the gates ``r`` and ``z``.
    reset_after : bool, default True
        Whether the reset gate acts after the recurrent product.

    Returns
    -------
    Cell
        `gru` or `gru_reset_before` itself for the default activations. Gates are in the order r, z, n; Keras's own
        order, z, r, n, is one of the parameters of a layer, not of the cell.
    """
    return _gru(activation_named(activation), activation_named(recurrent_activation), bool(reset_after))


@cache
def _gru(act, gate, reset_after: bool) -> Cell:
    if act is tanh and gate is sigmoid:
        return gru if reset_after else gru_reset_before

    @cell(gates="r z n", states="h", split="n")
    def gru_after(r, z, n_x, n_h, h):
        return _reset_after(r, z, n_x, n_h, h, act, gate)

    @cell(gates="r z n", states="h", called="n")
    def gru_before(r, z, n, h):
        return _reset_before(r, z, n, h, act, gate)

    return gru_after if reset_after else gru_before

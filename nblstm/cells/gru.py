"""The gated recurrent unit."""

from collections.abc import Callable
from functools import cache
from typing import Any

from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import activation as activation_named
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="r z n", states="h", split="n")
def gru(r, z, n_x, n_h, h):
    """GRU with the reset gate after the recurrent product (Cho et al. 2014, as in cuDNN and torch)."""
    z = sigmoid(z)
    n = tanh(n_x + sigmoid(r) * n_h)
    return (1 - z) * n + z * h


@cell(gates="r z n", states="h", second="n")
def gru_reset_before(r, z, n, h):
    """GRU with the reset gate before the recurrent product: ``n = tanh(W x + R (r * h) + b)``.

    The paper's own (Cho et al. 2014, equations 5 to 8), ONNX's default (``linear_before_reset=0``) and Keras's
    ``reset_after=False``; ``z`` near 1 keeps the old state in all of them.
    """
    z = sigmoid(z)
    n = tanh(n(sigmoid(r) * h))
    return (1 - z) * n + z * h


def gru_with(
    activation: str | Callable[..., Any] = "tanh", recurrent_activation: str | Callable[..., Any] = "sigmoid",
    reset_after: bool = True,
) -> Cell:  # fmt: skip
    """GRU as Keras has it: chosen activations, either place of the reset gate, gates in the order z, r, n.

    Parameters
    ----------
    activation : str or callable
        Of the candidate ``n``.
    recurrent_activation : str or callable
        Of the gates ``z`` and ``r``.
    reset_after : bool, default True
        Whether the reset gate acts after the recurrent product.

    Returns
    -------
    Cell
    """
    return _gru(activation_named(activation), activation_named(recurrent_activation), bool(reset_after))


@cache
def _gru(act, gate, reset_after: bool) -> Cell:
    @cell(gates="z r n", states="h", split="n")
    def gru_after(z, r, n_x, n_h, h):
        z = gate(z)
        n = act(n_x + gate(r) * n_h)
        return (1 - z) * n + z * h

    @cell(gates="z r n", states="h", second="n")
    def gru_before(z, r, n, h):
        z = gate(z)
        n = act(n(gate(r) * h))
        return (1 - z) * n + z * h

    return gru_after if reset_after else gru_before

"""Functions of all units of a sequence, in the equations of cells."""

from __future__ import annotations

from typing import Any

from nblstm.symbolic.functions import exp, primitive
from nblstm.symbolic.recorder import recorder


def sum(x) -> Any:
    """The sum of ``x`` over the H units of a sequence: one number, the same for each unit."""
    return recorder("sum").over("sum", x)


def mean(x) -> Any:
    """The mean of ``x`` over the H units of a sequence: one number, the same for each unit."""
    return recorder("mean").over("mean", x)


def layer_norm(x, gain=1.0, bias=0.0, epsilon: float = 1e-5) -> Any:
    """``(x - mean(x)) / sqrt(mean((x - mean(x))**2) + epsilon) * gain + bias`` (Ba, Kiros & Hinton 2016).

    Parameters
    ----------
    x : scalar
    gain, bias : scalar
        Numbers, or vectors of the cell.
    epsilon : float
    """
    centred = x - mean(x)
    return centred * primitive("rsqrt", mean(centred * centred) + epsilon) * gain + bias


def softmax(x) -> Any:
    """``exp(x) / sum(exp(x))`` over the H units of a sequence, with no overflow."""
    e = exp(x - recorder("softmax").over("maximum", x))  # of a constant for all units the softmax has no derivative
    return e / sum(e)

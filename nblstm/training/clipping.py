"""Gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nblstm.nn import Gradients


def clip_by_global_norm(gradients: Sequence[Gradients], max_norm: float) -> float:
    """Scale gradients down, in place, so that the norm of all of them together is at most ``max_norm``.

    Parameters
    ----------
    gradients : sequence of Gradients
        One per module; their parameters' gradients are scaled, those of inputs and states are not.
    max_norm : float

    Returns
    -------
    float
        The norm before.

    Raises
    ------
    ValueError
        If ``max_norm`` is not a positive number.

    References
    ----------
    R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013.
    """
    if not (isinstance(max_norm, int | float) and max_norm > 0):
        raise ValueError(f"max_norm is {max_norm!r}; give a number above 0")
    norm = math.sqrt(sum(float(np.dot(g.flat.astype(np.float64), g.flat)) for g in gradients))
    if norm > max_norm and math.isfinite(norm):
        for g in gradients:
            np.multiply(g.flat, g.flat.dtype.type(max_norm / norm), out=g.flat)
    return norm

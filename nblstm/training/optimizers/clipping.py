"""Gradient clipping, in place: by value, by the norm of each parameter's gradient, by the norm of all together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nblstm.nn import Gradients


def listed(gradients) -> list[Gradients | None]:
    """One for each module, as a list; a single one stands for itself."""
    gradients = [gradients] if isinstance(gradients, Gradients) else gradients
    if not isinstance(gradients, Sequence) or not all(g is None or isinstance(g, Gradients) for g in gradients):
        raise TypeError(
            f"gradients is {type(gradients).__name__}; give a list of what backward() returned, one for each module"
        )
    return list(gradients)


def _limit(name: str, value) -> float:
    if not (isinstance(value, int | float) and value > 0):
        raise ValueError(f"{name} is {value!r}; give a number above 0")
    return float(value)


#: Numbers that are squared together: what is converted then stays in the cache, and needs no new memory. Of 10,000 and
#: more, OpenBLAS would put the sum on several threads; see blas.py for what that does.
_BLOCK = 8192


def _norm(array: np.ndarray) -> float:
    """The Euclidean norm, summed in float64: squares of float32 overflow early."""
    flat, total = array.ravel("K"), 0.0  # in the order of memory: a recurrent kernel is stored by columns
    for start in range(0, flat.size, _BLOCK):
        wide = flat[start : start + _BLOCK].astype(np.float64)
        total += float(np.dot(wide, wide))
    return math.sqrt(total)


@np.errstate(under="ignore")
def clip_by_value(gradients: Sequence[Gradients | None], max_value: float) -> None:
    """Clip each number to ±``max_value``, in place.

    Parameters
    ----------
    gradients : sequence of Gradients or None
        One per module; their parameters' gradients are clipped, those of inputs and states are not. None is skipped.
    max_value : float
    """
    limit = _limit("max_value", max_value)
    for g in listed(gradients):
        if g is not None:
            np.clip(g.flat, -limit, limit, out=g.flat)


@np.errstate(under="ignore")
def clip_by_norm(gradients: Sequence[Gradients | None], max_norm: float) -> None:
    """Scale each parameter's gradient down, in place, so that its norm is at most ``max_norm``.

    Parameters
    ----------
    gradients : sequence of Gradients or None
        As in `clip_by_value`.
    max_norm : float

    Raises
    ------
    ValueError
        If ``max_norm`` is not a positive number, or gradients do not name all their parameters; then nothing has been
        changed.

    Notes
    -----
    A gradient whose norm is not finite is left as it is: it is reported by the loss, not hidden.
    """
    limit = _limit("max_norm", max_norm)
    present = [g for g in listed(gradients) if g is not None]
    for g in present:
        named = sum(view.size for view in g.params.values())
        if named != g.flat.size:
            raise ValueError(f"gradients name {named} of {g.flat.size} numbers; clipping by norm needs all in params")
    for g in present:
        for view in g.params.values():
            norm = _norm(view)
            if limit < norm < math.inf:
                np.multiply(view, view.dtype.type(limit / norm), out=view)


@np.errstate(under="ignore")
def clip_by_global_norm(gradients: Sequence[Gradients | None], max_norm: float) -> float:
    """Scale gradients down, in place, so that the norm of all of them together is at most ``max_norm``.

    Parameters
    ----------
    gradients : sequence of Gradients or None
        As in `clip_by_value`.
    max_norm : float

    Returns
    -------
    float
        The norm before. If it is not finite, nothing has been changed.

    References
    ----------
    R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013.
    """
    limit = _limit("max_norm", max_norm)
    present = [g for g in listed(gradients) if g is not None]
    norm = math.hypot(*(_norm(g.flat) for g in present))
    if limit < norm < math.inf:
        for g in present:
            np.multiply(g.flat, g.flat.dtype.type(limit / norm), out=g.flat)
    return norm

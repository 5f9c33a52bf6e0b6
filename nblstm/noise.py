"""Noise in the equations of cells, drawn in training and replaced by its mean in inference.

A number belongs to a step, a sequence and a unit, and is computed from these and a seed: so results have the same bits
for any number of threads.
"""

from __future__ import annotations

from typing import Any

from nblstm.arguments import validate
from nblstm.symbolic.recorder import PER, recorder

__all__ = ["bernoulli", "normal"]


def bernoulli(p: float, per: str = "step") -> Any:
    """1 with probability ``p``, else 0; in inference ``p``.

    Parameters
    ----------
    p : float
        From 0 to 1.
    per : {"step", "sequence"}
        Whether each step of a unit has a number of its own, or all steps of a sequence have the same.

    Raises
    ------
    TypeError, ValueError
        If an argument is something else.

    Examples
    --------
    >>> from nblstm import cell, noise, tanh
    >>> @cell(gates="a", states="h")
    ... def zoneout_rnn(a, h):
    ...     keep = noise.bernoulli(0.1)
    ...     return keep * h + (1 - keep) * tanh(a)
    """
    p, per = validate.number("p", p, 0, 1), validate.choice("per", per, PER)
    return recorder("noise.bernoulli").random("bernoulli", p, per) if 0 < p < 1 else p


def normal(deviation: float = 1.0, per: str = "step") -> Any:
    """A number of the normal distribution with mean 0; in inference 0.

    Parameters
    ----------
    deviation : float
        The standard deviation, 0 or more.
    per : {"step", "sequence"}
        See `bernoulli`.

    Raises
    ------
    TypeError, ValueError
        If an argument is something else.
    """
    deviation, per = validate.number("deviation", deviation, 0), validate.choice("per", per, PER)
    return deviation * recorder("noise.normal").random("normal", 0.0, per) if deviation else 0.0


def __dir__() -> list[str]:
    return __all__

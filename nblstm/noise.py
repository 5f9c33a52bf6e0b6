"""Noise in the equations of cells, drawn in training and replaced by its mean in inference.

A number belongs to a step, a sequence and a unit, and is computed from these and a seed: so results have the same bits
for any number of threads.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

from nblstm.arguments import validate
from nblstm.symbolic import functions
from nblstm.symbolic.graph import Value
from nblstm.symbolic.recorder import PER, is_on_numbers, recorder

__all__ = ["bernoulli", "normal"]


def bernoulli(p: Any, per: str = "step") -> Any:
    """1 with probability ``p``, else 0; in inference ``p``.

    No gradient goes through the draw: that of training with respect to p is 0. (In inference p is an expression like
    any other, and so is its derivative, as of `nn.Recurrent.jvp`.)

    Parameters
    ----------
    p : float or traced value
        From 0 to 1. What is computed in the equations, from signals, states or parameters, counts as 0 below and as 1
        above.
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
    per = validate.choice("per", per, PER)
    if isinstance(p, Value):
        return functions.drawn(recorder("noise.bernoulli").random("uniform", 0.0, per), p)
    if is_on_numbers() and isinstance(p, Real):
        return functions.clip(p, 0.0, 1.0)  # which the equations may have computed
    p = validate.number("p", p, 0, 1)
    return recorder("noise.bernoulli").random("bernoulli", p, per) if 0 < p < 1 else p


def normal(deviation: Any = 1.0, per: str = "step") -> Any:
    """A number of the normal distribution with mean 0; in inference 0.

    It is ``deviation * n`` with n of deviation 1, so the gradient with respect to the deviation is n times that of the
    result (Kingma & Welling 2014: reparametrization).

    Parameters
    ----------
    deviation : float or traced value
        The standard deviation, 0 or more. What is computed in the equations may be below; its sign does not matter.
    per : {"step", "sequence"}
        See `bernoulli`.

    Raises
    ------
    TypeError, ValueError
        If an argument is something else.
    """
    per = validate.choice("per", per, PER)
    if isinstance(deviation, Value):
        return deviation * recorder("noise.normal").random("normal", 0.0, per)
    if is_on_numbers() and isinstance(deviation, Real):
        return 0.0
    deviation = validate.number("deviation", deviation, 0)
    return deviation * recorder("noise.normal").random("normal", 0.0, per) if deviation else 0.0


def __dir__() -> list[str]:
    return __all__

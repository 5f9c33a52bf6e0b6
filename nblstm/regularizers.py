"""Penalties on parameters, with Keras's names, arguments and defaults; each knows its gradient."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from nblstm.arguments import validate
from nblstm.arguments.configured import Configured, Registry
from nblstm.arguments.missing import explain_missing_names

__all__ = [
    "L1", "L1L2", "L2", "Regularizer", "get", "l1", "l1_l2", "l2",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


REGULARIZERS = Registry("regularizer")


class Regularizer(Protocol):
    """The methods that a penalty of the user's own needs."""

    def __call__(self, w: np.ndarray) -> float:
        """The penalty."""

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """Its gradient, in the shape and dtype of ``w``."""


class _Powers(Configured):
    """``l1 sum(|w|) + l2 sum(w**2)``."""

    l1: float
    l2: float

    def __call__(self, w: np.ndarray) -> float:
        """The penalty, summed in float64."""
        penalty = 0.0
        if self.l1:
            penalty += self.l1 * float(np.sum(np.abs(w), dtype=np.float64))
        if self.l2:
            penalty += self.l2 * float(np.sum(np.square(w), dtype=np.float64))
        return penalty

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """``l1 sign(w) + 2 l2 w``."""
        if not self.l1:
            return w * (2 * self.l2)
        return np.sign(w) * self.l1 + w * (2 * self.l2)


@REGULARIZERS.register("l1_l2")
class L1L2(_Powers):
    """``l1 sum(|w|) + l2 sum(w**2)``."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1, self.l2 = validate.number("l1", l1, 0), validate.number("l2", l2, 0)


@REGULARIZERS.register("l1")
class L1(_Powers):
    """``l1 sum(|w|)``."""

    l2 = 0.0

    def __init__(self, l1: float = 0.01):
        self.l1 = validate.number("l1", l1, 0)


@REGULARIZERS.register("l2")
class L2(_Powers):
    """``l2 sum(w**2)``."""

    l1 = 0.0

    def __init__(self, l2: float = 0.01):
        self.l2 = validate.number("l2", l2, 0)


def get(identifier) -> Regularizer | None:
    """The regularizer that is meant: a name such as ``"l2"``, an object, what was saved, or None.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or an object that lacks ``gradient``.
    """
    if identifier is None:
        return None
    made = REGULARIZERS.make(identifier)
    if not hasattr(made, "gradient"):
        raise TypeError(f"the regularizer {made!r} has no gradient(w); give l1, l2, l1_l2 or an object that has one")
    return made


l1, l2, l1_l2 = L1, L2, L1L2

"""Projections of parameters after an update, with Keras's names, arguments and defaults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nblstm.arguments import validate
from nblstm.arguments.configured import Configured, Registry
from nblstm.arguments.missing import explain_missing_names

__all__ = [
    "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "get", "max_norm", "min_max_norm", "non_neg", "unit_norm",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


CONSTRAINTS = Registry("constraint")

#: Keras's: it keeps a norm of 0 from dividing.
EPSILON = 1e-7


@CONSTRAINTS.register("non_neg", "nonneg")
class NonNeg(Configured):
    """``max(w, 0)``."""

    def __call__(self, w: np.ndarray) -> np.ndarray:
        """The projection."""
        return np.maximum(w, 0)


class _Norm(Configured):
    """Norms of the weights of each unit: over ``axis``."""

    def __init__(self, axis: int | tuple[int, ...] = 0):
        self.axis = tuple(axis) if isinstance(axis, list | tuple) else axis
        for a in self.axis if isinstance(self.axis, tuple) else (self.axis,):
            if isinstance(a, bool) or not isinstance(a, int | np.integer):
                raise TypeError(f"axis is {axis!r}; give a whole number or a list of them")

    def _norms(self, w: np.ndarray) -> np.ndarray:
        try:
            squares = np.sum(np.square(w), axis=self.axis, keepdims=True)
        except np.exceptions.AxisError:
            raise ValueError(
                f"axis is {self.axis} and the parameter has shape {w.shape}; give one of its {w.ndim} dimensions"
            ) from None
        return np.sqrt(squares)


@CONSTRAINTS.register("max_norm")
class MaxNorm(_Norm):
    """Norms of at most ``max_value``, over ``axis``."""

    def __init__(self, max_value: float = 2, axis: int | tuple[int, ...] = 0):
        super().__init__(axis)
        self.max_value = validate.number("max_value", max_value, 0)

    def __call__(self, w: np.ndarray) -> np.ndarray:
        """The projection."""
        norms = self._norms(w)
        return w * (np.clip(norms, 0, self.max_value) / (EPSILON + norms))


@CONSTRAINTS.register("unit_norm")
class UnitNorm(_Norm):
    """Norms of 1, over ``axis``."""

    def __call__(self, w: np.ndarray) -> np.ndarray:
        """The projection."""
        return w / (EPSILON + self._norms(w))


@CONSTRAINTS.register("min_max_norm")
class MinMaxNorm(_Norm):
    """Norms drawn into [min_value, max_value], over ``axis``, by the part ``rate`` of the way."""

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | tuple[int, ...] = 0
    ):
        super().__init__(axis)
        self.min_value = validate.number("min_value", min_value, 0)
        self.max_value = validate.number("max_value", max_value, self.min_value)
        self.rate = validate.number("rate", rate, 0)

    def __call__(self, w: np.ndarray) -> np.ndarray:
        """The projection."""
        norms = self._norms(w)
        wanted = self.rate * np.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (wanted / (EPSILON + norms))


def get(identifier) -> Callable[[np.ndarray], np.ndarray] | None:
    """The constraint of a name such as ``"max_norm"``, an object, a function of w, or what was saved; None for None."""
    return None if identifier is None else CONSTRAINTS.make(identifier)


max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm

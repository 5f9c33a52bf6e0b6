"""Losses of numbers: squared, absolute and Huber's."""

from __future__ import annotations

from functools import cache

import numpy as np

from nblstm.arguments.validate import number
from nblstm.symbolic.elementwise import LossEquation
from nblstm.symbolic.functions import abs, where
from nblstm.training.losses.base_loss import LOSSES, Loss


@LOSSES.register("mean_squared_error", "mse", "MSE")
class MeanSquaredError(Loss):
    """``l = mean((y_pred - y_true)**2)`` over the last dimension.

    Parameters
    ----------
    reduction, name
        As in `Loss`.
    """

    default_name = "mean_squared_error"

    def equation(self):
        """The square."""
        return _SQUARED


@LOSSES.register("mean_absolute_error", "mae", "MAE")
class MeanAbsoluteError(Loss):
    """``l = mean(|y_pred - y_true|)`` over the last dimension.

    Parameters
    ----------
    reduction, name
        As in `Loss`.
    """

    default_name = "mean_absolute_error"

    def equation(self):
        """The absolute value; its gradient is 0 where prediction and target are equal."""
        return _ABSOLUTE


@LOSSES.register("huber")
class Huber(Loss):
    """Squared for small differences d, linear for large ones, averaged over the last dimension.

    ::

        d**2 / 2                    where |d| <= delta
        delta |d| - delta**2 / 2    elsewhere

    Parameters
    ----------
    delta : float, default 1
        Above 0.
    reduction, name
        As in `Loss`.

    References
    ----------
    P. Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
    """

    def __init__(self, delta: float = 1.0, reduction: str = "sum_over_batch_size", name: str = "huber_loss"):
        super().__init__(reduction, name)
        self.delta = number("delta", delta, 0, above=True)

    def equation(self):
        """The equation with this ``delta``."""
        return _huber(self.delta)


_SQUARED = LossEquation("squared", lambda t, p: (p - t) ** 2)
_ABSOLUTE = LossEquation("absolute", lambda t, p: abs(p - t))


@cache
def _huber(delta: float) -> LossEquation:
    def value(t, p):
        d = abs(p - t)
        return where(d <= delta, d * d / 2, delta * (d - delta / 2))

    return LossEquation("huber", value)


def mean_squared_error(y_true, y_pred) -> np.ndarray:
    """`MeanSquaredError` of each row.

    Parameters
    ----------
    y_true : array_like
        Targets, in the predictions' shape; only a last dimension of length 1 may be too many or too few.
    y_pred : array_like of float, shape (B, ..., C) or (B,)
        Predictions.

    Returns
    -------
    ndarray, shape (B, ...)
    """
    return MeanSquaredError().values(y_true, y_pred)


def mean_absolute_error(y_true, y_pred) -> np.ndarray:
    """`MeanAbsoluteError` of each row; otherwise as `mean_squared_error`."""
    return MeanAbsoluteError().values(y_true, y_pred)


def huber(y_true, y_pred, delta: float = 1.0) -> np.ndarray:
    """`Huber` of each row; otherwise as `mean_squared_error`."""
    return Huber(delta).values(y_true, y_pred)

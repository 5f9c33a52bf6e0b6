"""Losses of numbers: squared, absolute and Huber's."""

from __future__ import annotations

import numpy as np

from nblstm.training.arguments import real
from nblstm.training.loss import Loss, mean_of_rows


class MeanSquaredError(Loss):
    """``l = mean((prediction - target)**2)`` over the last dimension.

    Parameters
    ----------
    reduction, name
        As in `Loss`.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "mean_squared_error"):
        super().__init__(reduction, name)

    def rows(self, prediction, target):
        """The equation and its gradient, ``2 (prediction - target) / C``."""
        difference = prediction - target
        return mean_of_rows(np.square(difference)), difference * (2 / prediction.shape[-1])


class MeanAbsoluteError(Loss):
    """``l = mean(|prediction - target|)`` over the last dimension.

    Parameters
    ----------
    reduction, name
        As in `Loss`.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "mean_absolute_error"):
        super().__init__(reduction, name)

    def rows(self, prediction, target):
        """The equation and its gradient, ``sign(prediction - target) / C``, 0 where they are equal."""
        difference = prediction - target
        return mean_of_rows(np.abs(difference)), np.sign(difference) / prediction.shape[-1]


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
        self.delta = real("delta", delta, above=True)

    def rows(self, prediction, target):
        """The equation and its gradient, the difference clipped to ±delta, over C."""
        difference = prediction - target
        clipped = np.clip(difference, -self.delta, self.delta)
        # d clip(d) - clip(d)**2 / 2 is both branches in one.
        return mean_of_rows(clipped * (difference - 0.5 * clipped)), clipped / prediction.shape[-1]


def mean_squared_error(prediction, target, sample_weight=None, mask=None) -> tuple[float, np.ndarray]:
    """The weighted mean of ``(prediction - target)**2``.

    Parameters
    ----------
    prediction : ndarray of float, shape (B, ..., C) or (B,)
    target : array_like
        In the same shape; only a last dimension of length 1 may be too many or too few.
    sample_weight, mask : array_like, shape (B,), (B, T), ..., optional
        As in `Loss`.

    Returns
    -------
    loss : float
    d_prediction : ndarray
        Gradient with respect to the prediction, in its shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not fit, or there is nothing to average.
    """
    return MeanSquaredError().value_and_gradient(target, prediction, sample_weight, mask)


def mean_absolute_error(prediction, target, sample_weight=None, mask=None) -> tuple[float, np.ndarray]:
    """The weighted mean of ``|prediction - target|``; otherwise as `mean_squared_error`."""
    return MeanAbsoluteError().value_and_gradient(target, prediction, sample_weight, mask)


def huber(prediction, target, sample_weight=None, mask=None, *, delta: float = 1.0) -> tuple[float, np.ndarray]:
    """The weighted mean of `Huber`'s loss with ``delta``; otherwise as `mean_squared_error`."""
    return Huber(delta).value_and_gradient(target, prediction, sample_weight, mask)

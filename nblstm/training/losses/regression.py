"""Losses of numbers: squared, absolute and relative errors, those of logarithms and counts, and of directions."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from nblstm.arguments import validate
from nblstm.arguments.validate import number
from nblstm.symbolic.elementwise import LossEquation
from nblstm.symbolic.functions import abs, exp, log, log1p, maximum, where
from nblstm.training.losses.base_loss import EPSILON, LOSSES, Loss


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


@LOSSES.register("mean_absolute_percentage_error", "mape", "MAPE")
class MeanAbsolutePercentageError(Loss):
    """``l = 100 mean(|y_pred - y_true| / max(|y_true|, 1e-7))`` over the last dimension.

    Parameters
    ----------
    reduction, name
        As in `Loss`.
    """

    default_name = "mean_absolute_percentage_error"

    def equation(self):
        """The relative error in percent."""
        return _PERCENTAGE


@LOSSES.register("mean_squared_logarithmic_error", "msle", "MSLE")
class MeanSquaredLogarithmicError(Loss):
    """``l = mean((log(1 + y_pred) - log(1 + y_true))**2)`` over the last dimension.

    Parameters
    ----------
    reduction, name
        As in `Loss`.

    Notes
    -----
    Predictions and targets below 1e-7 count as 1e-7, as in Keras; there the gradient is 0.
    """

    default_name = "mean_squared_logarithmic_error"

    def equation(self):
        """The square of the difference of the logarithms."""
        return _LOGARITHMIC


@LOSSES.register("log_cosh", "logcosh")
class LogCosh(Loss):
    """``l = mean(log(cosh(y_pred - y_true)))`` over the last dimension: d**2 / 2 if small, |d| - log(2) if large.

    Parameters
    ----------
    reduction, name
        As in `Loss`.
    """

    default_name = "log_cosh"

    def equation(self):
        """``|d| + log(1 + e**(-2 |d|)) - log(2)``, which no difference makes infinite."""
        return _LOG_COSH


@LOSSES.register("poisson")
class Poisson(Loss):
    """``l = mean(y_pred - y_true log(y_pred + 1e-7))`` over the last dimension, of counts and their predicted means.

    Parameters
    ----------
    reduction, name
        As in `Loss`.

    Notes
    -----
    The likelihood of a Poisson distribution, but for a term of ``y_true`` alone. Predictions have to be positive, as
    behind ``Dense(1, "softplus")`` or ``"exponential"``: for others the loss is NaN.
    """

    default_name = "poisson"

    def equation(self):
        """The likelihood of one count."""
        return _POISSON


@LOSSES.register("cosine_similarity")
class CosineSimilarity(Loss):
    """``l = -sum(u_true u_pred)`` with ``u = y / |y|``: from -1, the same direction, to 1, the opposite one.

    Parameters
    ----------
    axis : int, default -1
        The last dimension, in which each row is a vector; no other is supported.
    reduction, name
        As in `Loss`.

    Notes
    -----
    Norms below 1e-7 count as 1e-7, so that a vector of zeros gives 0.
    """

    def __init__(
        self, axis: int = -1, reduction: str = "sum_over_batch_size", name: str = "cosine_similarity"
    ):  # fmt: skip
        super().__init__(reduction, name)
        self.axis = validate.whole_number("axis", axis, -1, "give -1, the last dimension")

    def target(self, target, prediction, mask):
        """Numbers in the predictions' shape."""
        if self.axis not in (-1, prediction.ndim - 1):
            raise ValueError(
                f"axis is {self.axis} and y_pred has shape {prediction.shape}; vectors are in the last dimension, so "
                "give -1, and transpose what has them in another"
            )
        return super().target(target, prediction, mask)

    def rows(self, target, prediction):
        """Values, and gradients ``(u_pred sum(u_true u_pred) - u_true) / |y_pred|``."""
        norm, norm_true = np.sqrt(_dot(prediction, prediction)), np.sqrt(_dot(target, target))
        length, length_true = np.maximum(norm, EPSILON), np.maximum(norm_true, EPSILON)
        similarity = _dot(target, prediction) / (length * length_true)
        along = np.where(norm > EPSILON, similarity, 0) / (length * length)
        gradient = prediction * along[..., None]
        gradient -= target * (1 / (length * length_true))[..., None]
        return -similarity, gradient


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...k,...k->...", a, b)


_SQUARED = LossEquation("squared", lambda t, p: (p - t) ** 2)
_ABSOLUTE = LossEquation("absolute", lambda t, p: abs(p - t))
_PERCENTAGE = LossEquation("percentage", lambda t, p: 100 * abs(p - t) / maximum(abs(t), EPSILON))
_LOGARITHMIC = LossEquation("logarithmic", lambda t, p: (log1p(_least(p)) - log1p(_least(t))) ** 2)
_LOG_COSH = LossEquation("log_cosh", lambda t, p: abs(p - t) + log1p(exp(-2 * abs(p - t))) - math.log(2))
_POISSON = LossEquation("poisson", lambda t, p: p - t * log(p + EPSILON))


def _least(x):
    return where(x > EPSILON, x, EPSILON)


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


def mean_absolute_percentage_error(y_true, y_pred) -> np.ndarray:
    """`MeanAbsolutePercentageError` of each row; otherwise as `mean_squared_error`."""
    return MeanAbsolutePercentageError().values(y_true, y_pred)


def mean_squared_logarithmic_error(y_true, y_pred) -> np.ndarray:
    """`MeanSquaredLogarithmicError` of each row; otherwise as `mean_squared_error`."""
    return MeanSquaredLogarithmicError().values(y_true, y_pred)


def log_cosh(y_true, y_pred) -> np.ndarray:
    """`LogCosh` of each row; otherwise as `mean_squared_error`."""
    return LogCosh().values(y_true, y_pred)


def poisson(y_true, y_pred) -> np.ndarray:
    """`Poisson` of each row; otherwise as `mean_squared_error`."""
    return Poisson().values(y_true, y_pred)


def cosine_similarity(y_true, y_pred, axis: int = -1) -> np.ndarray:
    """`CosineSimilarity` of each row; otherwise as `mean_squared_error`."""
    return CosineSimilarity(axis).values(y_true, y_pred)

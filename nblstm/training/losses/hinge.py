"""Hinge losses, of labels -1 and 1, or 0 and 1, and predictions of any size."""

from __future__ import annotations

import numpy as np

from nblstm.symbolic.elementwise import LossEquation
from nblstm.symbolic.functions import maximum
from nblstm.training.losses.base_loss import LOSSES, Loss


class _Margin(Loss):
    """A loss of ``y_true y_pred``, where labels 0 and 1 stand for -1 and 1."""

    def target(self, target, prediction, mask):
        """Numbers in the predictions' shape; 0 and 1, if there are no others, as -1 and 1."""
        target, mask = super().target(target, prediction, mask)
        return (2 * target - 1 if ((target == 0) | (target == 1)).all() else target), mask


@LOSSES.register("hinge")
class Hinge(_Margin):
    """``l = mean(max(1 - y_true y_pred, 0))`` over the last dimension.

    Parameters
    ----------
    reduction, name
        As in `Loss`.

    Notes
    -----
    Labels are -1 and 1; where a batch has 0 and 1 alone, they stand for these, as in Keras.
    """

    default_name = "hinge"

    def equation(self):
        """The part of a number by which it is below the margin."""
        return _HINGE


@LOSSES.register("squared_hinge")
class SquaredHinge(_Margin):
    """``l = mean(max(1 - y_true y_pred, 0)**2)`` over the last dimension; otherwise as `Hinge`.

    Parameters
    ----------
    reduction, name
        As in `Loss`.
    """

    default_name = "squared_hinge"

    def equation(self):
        """The square of the part by which a number is below the margin."""
        return _SQUARED_HINGE


@LOSSES.register("categorical_hinge")
class CategoricalHinge(Loss):
    """``l = max(max((1 - y_true) y_pred) - sum(y_true y_pred) + 1, 0)``: the margin before the best wrong class.

    Parameters
    ----------
    reduction, name
        As in `Loss`.

    Notes
    -----
    Targets are one-hot rows, in the predictions' shape. Where wrong classes are equally good, they share the gradient.
    """

    default_name = "categorical_hinge"

    def rows(self, target, prediction):
        """Values, and gradients: ``(1 - t)`` of the best wrong class less ``t``, where the margin is too small."""
        wrong = (1 - target) * prediction
        best = np.maximum.reduce(wrong, axis=-1, keepdims=True)
        values = best[..., 0] - np.einsum("...k,...k->...", target, prediction) + 1
        chosen = (wrong == best).astype(prediction.dtype)
        chosen /= np.add.reduce(chosen, axis=-1, keepdims=True)
        gradient = chosen * (1 - target) - target
        return np.maximum(values, 0), gradient * (values > 0)[..., None]


_HINGE = LossEquation("hinge", lambda t, p: maximum(1 - t * p, 0.0))
_SQUARED_HINGE = LossEquation("squared_hinge", lambda t, p: maximum(1 - t * p, 0.0) ** 2)


def hinge(y_true, y_pred) -> np.ndarray:
    """`Hinge` of each row.

    Parameters
    ----------
    y_true : array_like
        Labels -1 and 1, or 0 and 1, in the predictions' shape; only a last dimension of length 1 may be too many or too
        few.
    y_pred : array_like of float, shape (B, ..., C) or (B,)

    Returns
    -------
    ndarray, shape (B, ...)
    """
    return Hinge().values(y_true, y_pred)


def squared_hinge(y_true, y_pred) -> np.ndarray:
    """`SquaredHinge` of each row; otherwise as `hinge`."""
    return SquaredHinge().values(y_true, y_pred)


def categorical_hinge(y_true, y_pred) -> np.ndarray:
    """`CategoricalHinge` of each row, y_true one-hot; otherwise as `hinge`."""
    return CategoricalHinge().values(y_true, y_pred)

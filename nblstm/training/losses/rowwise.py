"""Losses as Keras has them as functions: of y_true and y_pred in this order, one value per row, without a gradient."""

from __future__ import annotations

import numpy as np

from nblstm.training.losses import crossentropy, regression

__all__ = [
    "binary_crossentropy", "categorical_crossentropy", "huber", "mean_absolute_error", "mean_squared_error",
    "sparse_categorical_crossentropy",
]  # fmt: skip


def mean_squared_error(y_true, y_pred) -> np.ndarray:
    """``mean((y_pred - y_true)**2)`` over the last dimension.

    Parameters
    ----------
    y_true : array_like
        Targets.
    y_pred : array_like of float, shape (B, ..., C) or (B,)
        Predictions.

    Returns
    -------
    ndarray, shape (B, ...)

    Raises
    ------
    TypeError, ValueError
        If the shapes do not fit.
    """
    return regression.MeanSquaredError().values(y_true, y_pred)


def mean_absolute_error(y_true, y_pred) -> np.ndarray:
    """``mean(|y_pred - y_true|)`` over the last dimension; otherwise as `mean_squared_error`."""
    return regression.MeanAbsoluteError().values(y_true, y_pred)


def huber(y_true, y_pred, delta: float = 1.0) -> np.ndarray:
    """The values of `regression.Huber`; otherwise as `mean_squared_error`."""
    return regression.Huber(delta).values(y_true, y_pred)


def binary_crossentropy(y_true, y_pred, from_logits: bool = False, label_smoothing: float = 0.0) -> np.ndarray:
    """The values of `crossentropy.BinaryCrossentropy`; otherwise as `mean_squared_error`."""
    return crossentropy.BinaryCrossentropy(from_logits, label_smoothing).values(y_true, y_pred)


def categorical_crossentropy(y_true, y_pred, from_logits: bool = False, label_smoothing: float = 0.0) -> np.ndarray:
    """The values of `crossentropy.CategoricalCrossentropy`; otherwise as `mean_squared_error`."""
    return crossentropy.CategoricalCrossentropy(from_logits, label_smoothing).values(y_true, y_pred)


def sparse_categorical_crossentropy(
    y_true, y_pred, from_logits: bool = False, ignore_class: int | None = None
) -> np.ndarray:
    """The values of `crossentropy.SparseCategoricalCrossentropy`, y_true (B, ...); as `mean_squared_error`."""
    return crossentropy.SparseCategoricalCrossentropy(from_logits, ignore_class).values(y_true, y_pred)

"""Losses: each returns its value and its gradient."""

from __future__ import annotations

import numpy as np


def mean_squared_error(prediction, target) -> tuple[float, np.ndarray]:
    """The mean of ``(prediction - target)**2`` over all entries.

    Parameters
    ----------
    prediction : ndarray of float
    target : array_like
        In the same shape: nothing is broadcast, since (B, 1) against (B,) would mean (B, B) differences.

    Returns
    -------
    loss : float
    d_prediction : ndarray
        Gradient with respect to the prediction, in its shape and dtype.

    Raises
    ------
    ValueError
        If the shapes differ, or there is nothing to average.
    """
    prediction = np.asarray(prediction)
    target = np.asarray(target, prediction.dtype)
    if prediction.shape != target.shape:
        raise ValueError(f"target has shape {target.shape}; it needs that of the prediction, {prediction.shape}")
    if prediction.size == 0:
        raise ValueError(f"prediction has shape {prediction.shape}, with no entries; give at least one")
    difference = prediction - target
    loss = float(np.mean(np.square(difference, dtype=np.float64)))
    return loss, difference * prediction.dtype.type(2 / prediction.size)

"""Quantiles of what is predicted: the loss that is smallest at them."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.training.losses.base_loss import LOSSES, Loss


@LOSSES.register()
class QuantileLoss(Loss):
    """The pinball loss of several quantiles: ``l = mean(max(q (t - p), (q - 1) (t - p)))`` over targets and quantiles.

    Predictions are (B, ..., K Q), with the Q quantiles of a target side by side, and targets (B, ..., K).

    Parameters
    ----------
    quantiles : list of float
        Between 0 and 1.
    reduction, name
        As in `Loss`.

    References
    ----------
    R. Koenker and G. Bassett, "Regression quantiles", Econometrica 46(1), 1978.
    """

    default_name = "quantile_loss"

    def __init__(self, quantiles, reduction: str = "sum_over_batch_size", name: str | None = None):
        super().__init__(reduction, name)
        self.quantiles = [validate.number("a quantile", q, 0, 1, above=True, below=True) for q in quantiles]

    def target(self, target, prediction, mask):
        """Each target once for each quantile."""
        target = validate.real_array("y_true", target, prediction.dtype)
        Q = len(self.quantiles)
        shape = (*prediction.shape[:-1], prediction.shape[-1] // Q)
        return validate.shaped("y_true", target, shape, f"that of y_pred for {Q} quantiles").repeat(Q, axis=-1), mask

    def rows(self, target, prediction):
        """Values and gradients: ``-q`` below the target, ``1 - q`` above it."""
        q = np.tile(np.array(self.quantiles, prediction.dtype), prediction.shape[-1] // len(self.quantiles))
        error = target - prediction
        slope = np.where(error > 0, q, q - 1)
        return (slope * error).mean(axis=-1), slope / -prediction.shape[-1]


def checked_quantiles(quantiles) -> np.ndarray:
    """Quantiles that a user wants, and the median, in ascending order."""
    if not np.iterable(quantiles) or isinstance(quantiles, str):
        raise TypeError(f"quantiles is {quantiles!r}; give numbers between 0 and 1, such as (0.05, 0.5, 0.95), or None")
    found = [validate.number("a quantile", q, 0, 1, above=True, below=True) for q in quantiles]
    if not found:
        raise ValueError("quantiles is empty; give numbers between 0 and 1, such as (0.05, 0.5, 0.95), or None")
    return np.unique([*found, 0.5])

"""The loss of one quantile or several: networks that it trains predict medians and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from nblstm.arguments import validate
from nblstm.symbolic.elementwise import LossEquation
from nblstm.symbolic.functions import where
from nblstm.training.losses.base_loss import LOSSES, Loss, kernel_of, mean_of_last, of_numbers
from nblstm.training.targets import target_like, target_of_outputs


@LOSSES.register("quantile", "pinball")
class Quantile(Loss):
    """The quantile loss, or pinball loss: its minimum is the quantile q of what the target may be.

    ::

        q (t - p)          where t > p
        (1 - q) (p - t)    elsewhere

    averaged over the last dimension. With several quantiles, the last dimension of the predictions has all of them for
    each target: (B, Q) for targets (B,) or (B, 1), (B, ..., D Q) for targets (B, ..., D), where column ``d Q + k`` is
    quantile k of target d. So a network that ends in ``Dense(Q)`` predicts a median and the ends of an interval.

    Parameters
    ----------
    quantiles : float or sequence of float, default 0.5
        Above 0 and below 1; 0.5 is the median.
    reduction, name
        As in `Loss`.

    References
    ----------
    R. Koenker and G. Bassett, "Regression quantiles", Econometrica 46, 1978.
    """

    def __init__(
        self, quantiles: float | Sequence[float] = 0.5, reduction: str = "sum_over_batch_size", name: str = "quantile"
    ):
        super().__init__(reduction, name)
        given = list(quantiles) if isinstance(quantiles, Sequence | np.ndarray) else [quantiles]
        if not given or isinstance(quantiles, str):
            raise ValueError(f"quantiles is {quantiles!r}; give a number above 0 and below 1, or a list of some")
        self.quantiles = tuple(validate.number("quantiles", q, 0, 1, above=True, below=True) for q in given)

    def target(self, target, prediction, mask):
        """The targets (B, ..., D) of predictions (B, ..., D Q)."""
        target, Q = validate.real_array("y_true", target, prediction.dtype), len(self.quantiles)
        if Q == 1:
            return target_like(target, prediction.shape), mask
        return target_of_outputs(target, prediction.shape, Q, f"{Q} quantiles"), mask

    def equation(self):
        """The equation of the quantile, if there is one."""
        return _quantile(self.quantiles[0])

    def rows(self, target, prediction):
        """The mean over the last dimension, and its gradient, each column's from the equation of its quantile."""
        if self._is_compiled:
            return super().rows(target, prediction)
        values, gradient, Q = np.empty_like(prediction), np.empty_like(prediction), len(self.quantiles)
        for k, q in enumerate(self.quantiles):
            columns = np.s_[..., k::Q]
            found = of_numbers(_quantile(q), target, prediction[columns], 1 / prediction.shape[-1])
            values[columns], gradient[columns] = found
        return mean_of_last(values), gradient

    def kernels(self, dtype, weighted):
        """One for each quantile."""
        return [kernel_of(_quantile(q), dtype, weighted or not self._is_compiled) for q in self.quantiles]

    @property
    def _is_compiled(self) -> bool:
        return len(self.quantiles) == 1


@cache
def _quantile(q: float) -> LossEquation:
    return LossEquation("quantile", lambda t, p: where(t > p, q * (t - p), (1 - q) * (p - t)))


def quantile(y_true, y_pred, quantiles: float | Sequence[float] = 0.5) -> np.ndarray:
    """`Quantile` of each row.

    Parameters
    ----------
    y_true : array_like, shape (B, ..., D)
    y_pred : array_like of float, shape (B, ..., D Q)
    quantiles : float or sequence of float, default 0.5

    Returns
    -------
    ndarray, shape (B, ...)
    """
    return Quantile(quantiles).values(y_true, y_pred)

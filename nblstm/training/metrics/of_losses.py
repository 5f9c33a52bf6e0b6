"""Metrics of numbers: the root of the mean square, and the mean of any loss."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.training import losses
from nblstm.training.losses import Loss
from nblstm.training.metrics.base_metric import Metric
from nblstm.training.targets import prediction_array, target_like


class RootMeanSquaredError(Metric):
    """``sqrt(mean((y_pred - y_true)**2))`` over all batches.

    Parameters
    ----------
    name : str, default "root_mean_squared_error"
    """

    direction = "min"

    def __init__(self, name: str = "root_mean_squared_error"):
        super().__init__(name)

    def values(self, y_true, y_pred, mask=None):
        """The squares."""
        prediction = prediction_array(y_pred)
        target = target_like(validate.real_array("target", y_true, prediction.dtype), prediction.shape)
        return np.square(prediction - target)

    def result(self) -> float:
        """The root of the mean since the last `reset_state`."""
        return super().result() ** 0.5


class LossMetric(Metric):
    """The mean of a loss over rows.

    Parameters
    ----------
    loss : Loss
        Its reduction has no part in this.
    name : str, optional
    """

    direction = "min"

    def __init__(self, loss: Loss, name: str | None = None):
        self.loss = losses.get(loss)  # a file has its configuration
        super().__init__(name or self.loss.name)

    def values(self, y_true, y_pred, mask=None):
        """The losses, one per row."""
        return self.loss.values(y_true, y_pred, mask)

    def _argument(self, name: str):
        return getattr(self if name in ("name", "loss") else self.loss, name)


class MeanSquaredError(LossMetric):
    """The mean of ``(y_pred - y_true)**2``.

    Parameters
    ----------
    name : str, default "mean_squared_error"
    """

    def __init__(self, name: str = "mean_squared_error"):
        super().__init__(losses.MeanSquaredError(), name)


class MeanAbsoluteError(LossMetric):
    """The mean of ``|y_pred - y_true|``.

    Parameters
    ----------
    name : str, default "mean_absolute_error"
    """

    def __init__(self, name: str = "mean_absolute_error"):
        super().__init__(losses.MeanAbsoluteError(), name)


class BinaryCrossentropy(LossMetric):
    """The mean of `losses.BinaryCrossentropy`, whose arguments it takes."""

    def __init__(self, name: str = "binary_crossentropy", from_logits: bool = False, label_smoothing: float = 0.0):
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing), name)


class CategoricalCrossentropy(LossMetric):
    """The mean of `losses.CategoricalCrossentropy`, whose arguments it takes."""

    def __init__(self, name: str = "categorical_crossentropy", from_logits: bool = False, label_smoothing: float = 0.0):
        super().__init__(losses.CategoricalCrossentropy(from_logits, label_smoothing), name)


class SparseCategoricalCrossentropy(LossMetric):
    """The mean of `losses.SparseCategoricalCrossentropy`, whose ``from_logits`` it takes."""

    def __init__(self, name: str = "sparse_categorical_crossentropy", from_logits: bool = False):
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits), name)

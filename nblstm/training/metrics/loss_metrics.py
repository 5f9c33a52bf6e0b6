"""Means of losses, with Keras's names, and the root of one."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.training import losses, targets
from nblstm.training.metrics.metric import METRICS, Metric


@METRICS.register()
class LossMetric(Metric):
    """The mean of a loss over rows.

    Parameters
    ----------
    loss : Loss
        Its reduction has no part in this.
    name : str, optional
    """

    direction = "min"

    def __init__(self, loss: losses.Loss, name: str | None = None):
        self.loss = losses.get(loss)  # a file has its configuration
        super().__init__(name or self.loss.name)

    def values(self, y_true, y_pred, mask=None):
        """The losses, one per row."""
        return self.loss.values(y_true, y_pred, mask)

    def _argument(self, name: str):
        return getattr(self if name in ("name", "loss") else self.loss, name)


@METRICS.register("mean_squared_error", "mse", "MSE")
class MeanSquaredError(LossMetric):
    """The mean of ``(y_pred - y_true)**2``."""

    def __init__(self, name: str = "mean_squared_error"):
        super().__init__(losses.MeanSquaredError(), name)


@METRICS.register("mean_absolute_error", "mae", "MAE")
class MeanAbsoluteError(LossMetric):
    """The mean of ``|y_pred - y_true|``."""

    def __init__(self, name: str = "mean_absolute_error"):
        super().__init__(losses.MeanAbsoluteError(), name)


@METRICS.register("binary_crossentropy", "bce", "BCE")
class BinaryCrossentropy(LossMetric):
    """The mean of `losses.BinaryCrossentropy`, whose arguments it takes."""

    def __init__(self, name: str = "binary_crossentropy", from_logits: bool = False, label_smoothing: float = 0.0):
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing), name)


@METRICS.register("categorical_crossentropy")
class CategoricalCrossentropy(LossMetric):
    """The mean of `losses.CategoricalCrossentropy`, whose arguments it takes."""

    def __init__(self, name: str = "categorical_crossentropy", from_logits: bool = False, label_smoothing: float = 0.0):
        super().__init__(losses.CategoricalCrossentropy(from_logits, label_smoothing), name)


@METRICS.register("sparse_categorical_crossentropy")
class SparseCategoricalCrossentropy(LossMetric):
    """The mean of `losses.SparseCategoricalCrossentropy`, whose ``from_logits`` it takes."""

    def __init__(self, name: str = "sparse_categorical_crossentropy", from_logits: bool = False):
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits), name)


@METRICS.register("mean_absolute_percentage_error", "mape", "MAPE")
class MeanAbsolutePercentageError(LossMetric):
    """The mean of ``100 |y_pred - y_true| / |y_true|``."""

    def __init__(self, name: str = "mean_absolute_percentage_error"):
        super().__init__(losses.MeanAbsolutePercentageError(), name)


@METRICS.register("mean_squared_logarithmic_error", "msle", "MSLE")
class MeanSquaredLogarithmicError(LossMetric):
    """The mean of ``(log(1 + y_pred) - log(1 + y_true))**2``."""

    def __init__(self, name: str = "mean_squared_logarithmic_error"):
        super().__init__(losses.MeanSquaredLogarithmicError(), name)


@METRICS.register("log_cosh_error", "logcosh")
class LogCoshError(LossMetric):
    """The mean of ``log(cosh(y_pred - y_true))``."""

    def __init__(self, name: str = "logcosh"):
        super().__init__(losses.LogCosh(), name)


@METRICS.register("poisson")
class Poisson(LossMetric):
    """The mean of `losses.Poisson`."""

    def __init__(self, name: str = "poisson"):
        super().__init__(losses.Poisson(), name)


@METRICS.register("kl_divergence")
class KLDivergence(LossMetric):
    """The mean of `losses.KLDivergence`."""

    def __init__(self, name: str = "kl_divergence"):
        super().__init__(losses.KLDivergence(), name)


@METRICS.register("hinge")
class Hinge(LossMetric):
    """The mean of `losses.Hinge`, over rows of labels -1 and 1, or 0 and 1."""

    def __init__(self, name: str = "hinge"):
        super().__init__(losses.Hinge(), name)


@METRICS.register("squared_hinge")
class SquaredHinge(LossMetric):
    """The mean of `losses.SquaredHinge`."""

    def __init__(self, name: str = "squared_hinge"):
        super().__init__(losses.SquaredHinge(), name)


@METRICS.register("categorical_hinge")
class CategoricalHinge(LossMetric):
    """The mean of `losses.CategoricalHinge`."""

    def __init__(self, name: str = "categorical_hinge"):
        super().__init__(losses.CategoricalHinge(), name)


@METRICS.register("cosine_similarity")
class CosineSimilarity(LossMetric):
    """The mean of the cosine of the angle between prediction and target: 1 for the same direction, -1 for the opposite.

    It is `losses.CosineSimilarity`, whose ``axis`` it takes, with the other sign.
    """

    direction = "max"

    def __init__(self, name: str = "cosine_similarity", axis: int = -1):
        super().__init__(losses.CosineSimilarity(axis), name)

    def values(self, y_true, y_pred, mask=None):
        """The similarities, one per row."""
        return -super().values(y_true, y_pred, mask)


@METRICS.register("root_mean_squared_error")
class RootMeanSquaredError(Metric):
    """``sqrt(mean((y_pred - y_true)**2))`` over all batches."""

    direction = "min"
    default_name = "root_mean_squared_error"

    def values(self, y_true, y_pred, mask=None):
        """The squares."""
        prediction = targets.prediction_array(y_pred)
        target = validate.real_array("y_true", y_true, prediction.dtype)
        return np.square(prediction - targets.target_like(target, prediction.shape))

    def result(self) -> float:
        """The root of the mean since the last `reset_state`."""
        return super().result() ** 0.5

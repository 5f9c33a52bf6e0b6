"""Metrics, gathered batch by batch, with Keras's names: accuracies, errors and the losses."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import custom, validate
from nblstm.training import losses
from nblstm.training.arguments import from_table
from nblstm.training.losses.loss import Loss, like
from nblstm.training.losses.rowwise import (
    binary_crossentropy,
    categorical_crossentropy,
    huber,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from nblstm.training.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    predictions,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from nblstm.training.metrics.metric import Mean, Metric, MetricFunction

__all__ = [
    "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "LossMetric", "Mean", "MeanAbsoluteError", "MeanSquaredError", "Metric", "MetricFunction", "RootMeanSquaredError",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy", "binary_accuracy", "binary_crossentropy", "categorical_accuracy",
    "categorical_crossentropy", "get", "huber", "mean_absolute_error", "mean_squared_error",
    "sparse_categorical_accuracy", "sparse_categorical_crossentropy", "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


def _pair(y_true, y_pred) -> tuple[np.ndarray, np.ndarray]:
    prediction = predictions(y_pred)
    target = validate.real_array("target", y_true, prediction.dtype)
    return like("target", target, prediction.shape), prediction


class RootMeanSquaredError(Metric):
    """``sqrt(mean((prediction - target)**2))`` over all batches.

    Parameters
    ----------
    name : str, default "root_mean_squared_error"
    """

    direction = "min"

    def __init__(self, name: str = "root_mean_squared_error"):
        super().__init__(name)

    def values(self, y_true, y_pred, mask=None):
        """The squares."""
        target, prediction = _pair(y_true, y_pred)
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
    """The mean of ``(prediction - target)**2``.

    Parameters
    ----------
    name : str, default "mean_squared_error"
    """

    def __init__(self, name: str = "mean_squared_error"):
        super().__init__(losses.MeanSquaredError(), name)


class MeanAbsoluteError(LossMetric):
    """The mean of ``|prediction - target|``.

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


_NAMES: dict[str, type] = {
    "accuracy": Accuracy, "binary_accuracy": BinaryAccuracy, "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy, "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "mean_squared_error": MeanSquaredError, "mean_absolute_error": MeanAbsoluteError,
    "root_mean_squared_error": RootMeanSquaredError, "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}  # fmt: skip
_ALIASES: dict[str, type] = {
    "acc": Accuracy, "mse": MeanSquaredError, "MSE": MeanSquaredError, "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError, "bce": BinaryCrossentropy, "BCE": BinaryCrossentropy,
}  # fmt: skip
_ACCURACIES = (
    binary_accuracy, categorical_accuracy, sparse_categorical_accuracy, top_k_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
)  # fmt: skip
_TABLE = _NAMES | _ALIASES | {made.__name__: made for made in (*_NAMES.values(), LossMetric, MetricFunction, Mean)}


def get(identifier) -> Mean:
    """The metric that a name, class, function, configuration or object stands for.

    Parameters
    ----------
    identifier : str, Metric, Loss, type, dict or callable
        Keras's names and aliases: ``"acc"``, ``"mae"``, ``"BinaryAccuracy"``, and the metric has the name given;
        ``{"class_name": ..., "config": ...}``; a loss; a function of this module; or one of the user's own, as in
        `MetricFunction`.

    Returns
    -------
    Mean
        A new one for a name or a class.

    Raises
    ------
    TypeError, ValueError
        If there is none of that name.
    """
    if any(function is identifier for function in _ACCURACIES):
        identifier = identifier.__name__
    if isinstance(identifier, str):
        short = identifier.lower() in ("accuracy", "acc") and custom.found(identifier) is None
        name = identifier.lower() if short else identifier
        found, known = custom.named("metric", name, _TABLE, _NAMES), _TABLE.get(name)
        if known is None or found is not known:
            return get(found)
        metric = known()
        metric.name = identifier
        return metric
    if isinstance(identifier, Loss) or losses.is_own(identifier):
        return LossMetric(losses.get(identifier), getattr(identifier, "__name__", None))
    if callable(identifier) and not isinstance(identifier, type | Mean):
        return MetricFunction(identifier)
    return from_table("metric", identifier, _TABLE, Mean)

"""Metrics, gathered batch by batch, with Keras's names: accuracies, errors and the losses."""

from __future__ import annotations

import numpy as np

from nblstm import own, validate
from nblstm.training import losses
from nblstm.training.arguments import from_table, real
from nblstm.training.loss import Loss, float_array, like
from nblstm.training.metric import Mean, Metric, MetricFunction

__all__ = [
    "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "LossMetric", "Mean", "MeanAbsoluteError", "MeanSquaredError", "Metric", "MetricFunction", "RootMeanSquaredError",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "TopKCategoricalAccuracy", "get",
]  # fmt: skip


def _prediction(y_pred) -> np.ndarray:
    prediction = float_array("prediction", y_pred)
    if prediction.ndim == 0 or prediction.size == 0:
        raise ValueError(f"prediction has shape {prediction.shape}, with no entries in a row; give at least one row")
    return prediction


def _pair(y_true, y_pred) -> tuple[np.ndarray, np.ndarray]:
    prediction = _prediction(y_pred)
    target = validate.real_array("target", y_true, prediction.dtype)
    return like("target", target, prediction.shape), prediction


def _binary(y_true, prediction: np.ndarray, threshold: float) -> np.ndarray:
    if not (type(y_true) is np.ndarray and y_true.dtype.kind in "iub"):  # those are compared as they are
        y_true = validate.real_array("target", y_true, prediction.dtype)
    # In the target's dtype: NumPy takes twice as long to compare bools with other numbers.
    return (prediction > threshold).astype(y_true.dtype) == like("target", y_true, prediction.shape)


def _categorical(y_true, prediction: np.ndarray) -> np.ndarray:
    target = np.asarray(y_true)
    validate.shaped("target", target, prediction.shape, "that of the prediction, a one-hot row for each")
    return target.argmax(axis=-1) == prediction.argmax(axis=-1)


def _sparse(y_true, prediction: np.ndarray) -> np.ndarray:
    return like("target", np.asarray(y_true), prediction.shape[:-1]) == prediction.argmax(axis=-1)


class BinaryAccuracy(Metric):
    """How often ``(prediction > threshold) == target``.

    Parameters
    ----------
    name : str, default "binary_accuracy"
    threshold : float, default 0.5
        From 0 to 1, or any number for logits.
    """

    direction = "max"

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5):
        super().__init__(name)
        self.threshold = real("threshold", threshold, low=-np.inf)

    def values(self, y_true, y_pred, mask=None):
        """1 where they agree, else 0."""
        return _binary(y_true, _prediction(y_pred), self.threshold)


class CategoricalAccuracy(Metric):
    """How often the class predicted as most likely is that of the one-hot target.

    Parameters
    ----------
    name : str, default "categorical_accuracy"
    """

    direction = "max"

    def __init__(self, name: str = "categorical_accuracy"):
        super().__init__(name)

    def values(self, y_true, y_pred, mask=None):
        """1 where they agree, else 0."""
        return _categorical(y_true, _prediction(y_pred))


class SparseCategoricalAccuracy(Metric):
    """How often the class predicted as most likely is the target, a class number.

    Parameters
    ----------
    name : str, default "sparse_categorical_accuracy"
    """

    direction = "max"

    def __init__(self, name: str = "sparse_categorical_accuracy"):
        super().__init__(name)

    def values(self, y_true, y_pred, mask=None):
        """1 where they agree, else 0."""
        return _sparse(y_true, _prediction(y_pred))


class TopKCategoricalAccuracy(Metric):
    """How often the class of the one-hot target is among the ``k`` predicted as most likely.

    Parameters
    ----------
    k : int, default 5
    name : str, default "top_k_categorical_accuracy"

    Notes
    -----
    A class is among them if fewer than k others are predicted as likelier: ties count for it.
    """

    direction = "max"

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy"):
        super().__init__(name)
        self.k = validate.positive_integer("k", k)

    def values(self, y_true, y_pred, mask=None):
        """1 where it is, else 0."""
        prediction = _prediction(y_pred)
        target = np.asarray(y_true)
        validate.shaped("target", target, prediction.shape, "that of the prediction, a one-hot row for each")
        chosen = np.take_along_axis(prediction, target.argmax(axis=-1)[..., None], -1)
        chosen = np.where(np.isnan(chosen), -np.inf, chosen)
        return np.count_nonzero(prediction > chosen, axis=-1) < self.k


class Accuracy(Metric):
    """Binary, categorical or sparse categorical accuracy, by the shapes of predictions and targets.

    Parameters
    ----------
    name : str, default "accuracy"

    Notes
    -----
    As in Keras's ``compile(metrics=["accuracy"])``: one number in a row of predictions is `BinaryAccuracy`; targets
    with a dimension less, or with one number for several, `SparseCategoricalAccuracy`; else `CategoricalAccuracy`.
    Keras's class of this name, which compares for equality, is not this.
    """

    direction = "max"

    def __init__(self, name: str = "accuracy"):
        super().__init__(name)

    def values(self, y_true, y_pred, mask=None):
        """1 where they agree, else 0."""
        prediction = _prediction(y_pred)
        if prediction.shape[-1] == 1 or prediction.ndim == 1:
            return _binary(y_true, prediction, 0.5)
        target = np.shape(y_true)
        if len(target) < prediction.ndim or target[-1] == 1:
            return _sparse(y_true, prediction)
        return _categorical(y_true, prediction)


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
    "mean_squared_error": MeanSquaredError, "mean_absolute_error": MeanAbsoluteError,
    "root_mean_squared_error": RootMeanSquaredError, "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy, "mean": Mean,
}  # fmt: skip
_ALIASES: dict[str, type] = {
    "acc": Accuracy, "mse": MeanSquaredError, "MSE": MeanSquaredError, "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError, "bce": BinaryCrossentropy, "BCE": BinaryCrossentropy,
}  # fmt: skip
_TABLE = _NAMES | _ALIASES | {made.__name__: made for made in (*_NAMES.values(), LossMetric, MetricFunction)}


def get(identifier) -> Mean:
    """The metric that a name, class, function, configuration or object stands for.

    Parameters
    ----------
    identifier : str, Metric, Loss, type, dict or callable
        Keras's names and aliases: ``"acc"``, ``"mae"``, ``"BinaryAccuracy"``, and the metric has the name given;
        ``{"class_name": ..., "config": ...}``; a loss; or a function of the user's own, as in `MetricFunction`.

    Returns
    -------
    Mean
        A new one for a name or a class.

    Raises
    ------
    TypeError, ValueError
        If there is none of that name.
    """
    if isinstance(identifier, str) and identifier not in _TABLE:
        given = own.resolved(identifier)
        if given is not identifier:
            return get(given)
    if isinstance(identifier, Loss) or losses.is_own(identifier):
        return LossMetric(losses.get(identifier), getattr(identifier, "__name__", None))
    if callable(identifier) and not isinstance(identifier, type | Mean):
        return MetricFunction(identifier)
    short = isinstance(identifier, str) and identifier.lower() in ("accuracy", "acc")
    metric = from_table("metric", identifier.lower() if short else identifier, _TABLE, Mean)
    if isinstance(identifier, str):
        metric.name = identifier
    return metric

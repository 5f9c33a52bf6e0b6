"""Accuracies with Keras's names, as metrics and as functions of y_true and y_pred that give one value per row."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.training.metrics.metric import METRICS, Metric
from nblstm.training.targets import prediction_array, target_like


class _Agreement(Metric):
    """Fraction of rows in which ``_agree(y_true, prediction)``."""

    direction = "max"

    def values(self, y_true, y_pred, mask=None):
        """1 where they agree, else 0."""
        return self._agree(y_true, prediction_array(y_pred))

    def _agree(self, y_true, prediction: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no _agree; write it")


@METRICS.register("accuracy", "acc")
class Accuracy(_Agreement):
    """Binary, categorical or sparse categorical accuracy, by the shapes of predictions and targets.

    Notes
    -----
    As in Keras's ``compile(metrics=["accuracy"])``: one number in a row of predictions is `BinaryAccuracy`; targets
    with a dimension less, or with one number for several, `SparseCategoricalAccuracy`; else `CategoricalAccuracy`.
    Keras's class of this name, which compares for equality, is not this.
    """

    default_name = "accuracy"

    def _agree(self, y_true, prediction):
        if prediction.shape[-1] == 1 or prediction.ndim == 1:
            return _BINARY._agree(y_true, prediction)
        target = np.shape(y_true)
        sparse = len(target) < prediction.ndim or target[-1] == 1
        return (_SPARSE if sparse else _CATEGORICAL)._agree(y_true, prediction)


@METRICS.register("binary_accuracy")
class BinaryAccuracy(_Agreement):
    """Fraction of predictions with ``(y_pred > threshold) == y_true``.

    Parameters
    ----------
    name : str, default "binary_accuracy"
    threshold : float, default 0.5
        From 0 to 1, or any number for logits.
    """

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5):
        super().__init__(name)
        self.threshold = validate.number("threshold", threshold)

    def _agree(self, y_true, prediction):
        if not (type(y_true) is np.ndarray and y_true.dtype.kind in "iub"):  # else it is compared as it is
            y_true = validate.real_array("y_true", y_true, prediction.dtype)
        # In the target's dtype: NumPy takes twice as long to compare bools with other numbers.
        return (prediction > self.threshold).astype(y_true.dtype) == target_like(y_true, prediction.shape)


@METRICS.register("categorical_accuracy")
class CategoricalAccuracy(_Agreement):
    """Fraction of rows whose most likely class is that of the one-hot target."""

    default_name = "categorical_accuracy"

    def _agree(self, y_true, prediction):
        return _one_hot(y_true, prediction).argmax(axis=-1) == prediction.argmax(axis=-1)


@METRICS.register("sparse_categorical_accuracy")
class SparseCategoricalAccuracy(_Agreement):
    """Fraction of rows whose most likely class is the target, a class number."""

    default_name = "sparse_categorical_accuracy"

    def _agree(self, y_true, prediction):
        return _class_numbers(y_true, prediction) == prediction.argmax(axis=-1)


@METRICS.register("top_k_categorical_accuracy")
class TopKCategoricalAccuracy(_Agreement):
    """Fraction of rows whose ``k`` most likely classes contain that of the one-hot target.

    Parameters
    ----------
    k : int, default 5
    name : str, default "top_k_categorical_accuracy"

    Notes
    -----
    A class is among them if fewer than k others are predicted as likelier: ties count for it.
    """

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy"):
        super().__init__(name)
        self.k = validate.positive_integer("k", k)

    def _agree(self, y_true, prediction):
        return _among(_one_hot(y_true, prediction).argmax(axis=-1), prediction, self.k)


@METRICS.register("sparse_top_k_categorical_accuracy")
class SparseTopKCategoricalAccuracy(_Agreement):
    """Fraction of rows whose ``k`` most likely classes contain the target, a class number.

    Parameters
    ----------
    k : int, default 5
    name : str, default "sparse_top_k_categorical_accuracy"
    """

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy"):
        super().__init__(name)
        self.k = validate.positive_integer("k", k)

    def _agree(self, y_true, prediction):
        target = _class_numbers(y_true, prediction)
        known = (target >= 0) & (target < prediction.shape[-1])
        return _among(np.where(known, target, 0).astype(np.intp), prediction, self.k) & known


_BINARY, _CATEGORICAL, _SPARSE = BinaryAccuracy(), CategoricalAccuracy(), SparseCategoricalAccuracy()


def _one_hot(y_true, prediction: np.ndarray) -> np.ndarray:
    target = validate.number_array("y_true", y_true)
    return validate.shaped("y_true", target, prediction.shape, "that of y_pred, a one-hot row for each")


def _class_numbers(y_true, prediction: np.ndarray) -> np.ndarray:
    return target_like(validate.number_array("y_true", y_true), prediction.shape[:-1])


def _among(classes: np.ndarray, prediction: np.ndarray, k: int) -> np.ndarray:
    """True where fewer than k others are predicted as likelier than these classes."""
    chosen = np.take_along_axis(prediction, classes[..., None], -1)
    chosen = np.where(np.isnan(chosen), -np.inf, chosen)
    return np.count_nonzero(prediction > chosen, axis=-1) < k


def binary_accuracy(y_true, y_pred, threshold: float = 0.5) -> np.ndarray:
    """`BinaryAccuracy` of each number: 1 where ``(y_pred > threshold) == y_true``, else 0.

    Parameters
    ----------
    y_true : array_like
        Targets.
    y_pred : array_like of float, shape (B, ..., C) or (B,)
        Predictions.
    threshold : float, default 0.5

    Returns
    -------
    ndarray of float32, in the predictions' shape
    """
    return BinaryAccuracy(threshold=threshold).values(y_true, y_pred).astype(np.float32)


def categorical_accuracy(y_true, y_pred) -> np.ndarray:
    """`CategoricalAccuracy` of each row, shape (B, ...); otherwise as `binary_accuracy`."""
    return CategoricalAccuracy().values(y_true, y_pred).astype(np.float32)


def sparse_categorical_accuracy(y_true, y_pred) -> np.ndarray:
    """`SparseCategoricalAccuracy` of each row, shape (B, ...); otherwise as `binary_accuracy`."""
    return SparseCategoricalAccuracy().values(y_true, y_pred).astype(np.float32)


def top_k_categorical_accuracy(y_true, y_pred, k: int = 5) -> np.ndarray:
    """`TopKCategoricalAccuracy` of each row, shape (B, ...); otherwise as `binary_accuracy`."""
    return TopKCategoricalAccuracy(k).values(y_true, y_pred).astype(np.float32)


def sparse_top_k_categorical_accuracy(y_true, y_pred, k: int = 5) -> np.ndarray:
    """`SparseTopKCategoricalAccuracy` of each row, shape (B, ...); otherwise as `binary_accuracy`."""
    return SparseTopKCategoricalAccuracy(k).values(y_true, y_pred).astype(np.float32)

"""Metrics of true and false positives and negatives: their numbers, precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.files import content
from nblstm.training import targets
from nblstm.training.metrics.metric import METRICS, Metric, number_or_array


class Confusion(Metric):
    """A metric of the weights of true and false positives and negatives, added up batch by batch.

    A prediction is positive if it is above a threshold, a target if it is not 0. Subclasses give `score`, and where
    predictions are to be prepared, `prepared`.

    Parameters
    ----------
    thresholds : float or sequence of float, default 0.5
        From 0 to 1. With several, the result is an array, with a value for each.
    name : str, optional

    Notes
    -----
    Weights are kept by the label, 0 or 1, and by the number of thresholds that are below the prediction: a sum of some
    of them is what is counted, without rounding where there are no sample weights.
    """

    #: True if each number of a row of predictions is counted by itself.
    by_output = False

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None):
        self._set_thresholds(thresholds, 0.5)
        super().__init__(name)

    def _set_thresholds(self, thresholds, default: float) -> None:
        listed = isinstance(thresholds, Sequence | np.ndarray) and not isinstance(thresholds, str)
        if thresholds is None:
            used = [default]
        else:
            used = [validate.number("thresholds", one, 0, 1) for one in (thresholds if listed else [thresholds])]
        if not used:
            raise ValueError(f"thresholds is {thresholds!r}; give a number from 0 to 1, or a list of some")
        self.thresholds = used if listed else thresholds
        self._sort(used)

    def _sort(self, thresholds: Sequence[float]) -> None:
        order = np.argsort(thresholds, kind="stable")
        self._sorted, self._places = np.array(thresholds, np.float64)[order], np.argsort(order, kind="stable")

    def reset_state(self) -> None:
        """Forget all batches."""
        self._weights: np.ndarray | None = None  # (label, thresholds below, output)

    def update_state(self, y_true, y_pred, sample_weight=None, mask=None) -> None:
        """Add a batch; the arguments are those of `Metric.update_state`.

        A sample weight may also be given for each number of the predictions.
        """
        try:
            prediction = targets.prediction_array(y_pred)
            target = targets.target_like(validate.real_array("y_true", y_true, prediction.dtype), prediction.shape)
            weight = row_weights(sample_weight, mask, prediction.shape)
            target, prediction, weight = self.prepared(target, prediction, weight)
        except (TypeError, ValueError) as error:
            raise type(error)(f"metric {self.name!r}: {error}") from None
        added = self._histogram(target, prediction, weight)
        if self._weights is not None and added.shape != self._weights.shape:
            outputs = self._weights.shape[-1]
            raise ValueError(f"metric {self.name!r} has seen {outputs} outputs and y_pred has {added.shape[-1]}")
        self._weights = added if self._weights is None else self._weights + added

    def prepared(self, target: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None):
        """Targets, predictions and weights, or None, as they are to be counted, of one shape.

        Targets are bools, or numbers from 0 to 1, which are shared out to both labels.
        """
        return target != 0, prediction, weight

    def _histogram(self, target, prediction, weight) -> np.ndarray:
        """The sums of weights by label, number of thresholds below the prediction, and output."""
        K, outputs = len(self._sorted), prediction.shape[-1] if self.by_output else 1
        # In the predictions' dtype, as Keras compares them: 0.1 of float32 is above the number 0.1, and not above it.
        thresholds, size = self._sorted.astype(prediction.dtype), (K + 1) * outputs
        if K == 1:
            index = (prediction > thresholds[0]) * outputs
        else:
            index = np.searchsorted(thresholds, np.where(np.isnan(prediction), -np.inf, prediction)) * outputs
        if outputs > 1:
            index += np.arange(outputs)
        if target.dtype == bool:
            index += target * size
            sums = np.bincount(index.ravel(), None if weight is None else weight.ravel(), 2 * size)
        else:
            true = target * (1.0 if weight is None else weight)
            false = (1 - target) * (1.0 if weight is None else weight)
            sums = np.array([np.bincount(index.ravel(), label.ravel(), size) for label in (false, true)])
        return sums.reshape(2, K + 1, outputs).astype(np.float64)

    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Weights of true positives, false positives, true negatives and false negatives, of shape (K, outputs)."""
        weights = np.zeros((2, len(self._sorted) + 1, 1)) if self._weights is None else self._weights
        above = weights[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:][:, self._places]
        below = weights.cumsum(axis=1)[:, :-1][:, self._places]
        return above[1], above[0], below[0], below[1]

    def score(self, tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> Any:
        """The result for these `counts`."""
        raise NotImplementedError(f"{type(self).__name__} has no score; define score(tp, fp, tn, fn)")

    def result(self) -> Any:
        """A number, or an array with one for each threshold or output, of all batches since the last `reset_state`."""
        return number_or_array(self.score(*self.counts()))

    def state(self) -> dict[str, Any]:
        """The sums over the batches so far; None before any."""
        return {"weights": self._weights}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        content.expect(f"the state of metric {self.name!r}", state, weights=np.ndarray | None)
        weights, K = state["weights"], len(self._sorted)
        if weights is not None and not (weights.dtype == np.float64 and weights.shape == (2, K + 1, weights.shape[-1])):
            raise ValueError(f"metric {self.name!r} has {K} thresholds, and its state is of shape {weights.shape}")
        self._weights = weights


def row_weights(sample_weight, mask, shape: tuple[int, ...]) -> np.ndarray | None:
    """The product of weights and mask for predictions of ``shape``, in that shape; None if there are none.

    Both have the first dimensions of the predictions, or 1 in their place.
    """
    weight = targets.weight_array(sample_weight, shape, np.float64)
    weight = targets.product(weight, targets.mask_array(mask, shape))
    return None if weight is None else targets.broadcast(weight, shape)


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a / b``, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b != 0)


@METRICS.register("true_positives")
class TruePositives(Confusion):
    """The weight of targets of 1 that are predicted above a threshold; the arguments are those of `Confusion`."""

    direction = "max"
    default_name = "true_positives"

    def score(self, tp, fp, tn, fn):
        """True positives."""
        return tp


@METRICS.register("false_positives")
class FalsePositives(Confusion):
    """The weight of targets of 0 that are predicted above a threshold; the arguments are those of `Confusion`."""

    direction = "min"
    default_name = "false_positives"

    def score(self, tp, fp, tn, fn):
        """False positives."""
        return fp


@METRICS.register("true_negatives")
class TrueNegatives(Confusion):
    """The weight of targets of 0 that are not predicted above a threshold; the arguments are those of `Confusion`."""

    direction = "max"
    default_name = "true_negatives"

    def score(self, tp, fp, tn, fn):
        """True negatives."""
        return tn


@METRICS.register("false_negatives")
class FalseNegatives(Confusion):
    """The weight of targets of 1 that are not predicted above a threshold; the arguments are those of `Confusion`."""

    direction = "min"
    default_name = "false_negatives"

    def score(self, tp, fp, tn, fn):
        """False negatives."""
        return fn


def _checked_choice(top_k, class_id) -> tuple[int | None, int | None]:
    top_k = None if top_k is None else validate.positive_integer("top_k", top_k)
    return top_k, None if class_id is None else validate.whole_number("class_id", class_id)


def _chosen(top_k: int | None, class_id: int | None, target, prediction, weight):
    """All classes or one; predictions behind the ``top_k`` first of a row are below each threshold."""
    classes = prediction.shape[-1] if prediction.ndim > 1 else 1
    for name, given, most in (("top_k", top_k, classes), ("class_id", class_id, classes - 1)):
        if given is not None and (prediction.ndim == 1 or given > most):
            raise ValueError(
                f"{name} is {given} and y_pred has shape {prediction.shape}; give rows of classes, and {most} at most"
            )
    if top_k is not None:
        first = np.argsort(-prediction, axis=-1, kind="stable")[..., :top_k]
        kept = np.full_like(prediction, -np.inf)
        np.put_along_axis(kept, first, np.take_along_axis(prediction, first, -1), -1)
        prediction = kept
    if class_id is not None:
        one = np.s_[..., class_id : class_id + 1]
        target, prediction, weight = target[one], prediction[one], None if weight is None else weight[one]
    return target, prediction, weight


@METRICS.register("precision")
class Precision(Confusion):
    """``TP / (TP + FP)``: of what is predicted as positive, the part that is; 0 if nothing is.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        From 0 to 1, 0.5 if neither this nor ``top_k`` is given; 0 for logits. With several, the result is an array.
    top_k : int, optional
        Of each row of predictions, the ``top_k`` largest alone can be positive.
    class_id : int, optional
        The class to look at, a column of the predictions; all if not given.
    name : str, default "precision"
    """

    direction = "max"
    default_name = "precision"

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, top_k: int | None = None, class_id: int | None = None,
        name: str | None = None,
    ):  # fmt: skip
        super().__init__(thresholds, name)
        self.top_k, self.class_id = _checked_choice(top_k, class_id)
        if self.top_k is not None:
            self._set_thresholds(thresholds, -np.inf)

    def prepared(self, target, prediction, weight):
        """All classes or one, and all predictions or the ``top_k`` first."""
        return _chosen(self.top_k, self.class_id, *super().prepared(target, prediction, weight))

    def score(self, tp, fp, tn, fn):
        """Precision at each threshold."""
        return ratio(tp, tp + fp)


@METRICS.register("recall")
class Recall(Confusion):
    """``TP / (TP + FN)``: of what is positive, the part that is predicted so; 0 if nothing is.

    Parameters
    ----------
    thresholds, top_k, class_id
        As in `Precision`.
    name : str, default "recall"
    """

    direction = "max"
    default_name = "recall"

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, top_k: int | None = None, class_id: int | None = None,
        name: str | None = None,
    ):  # fmt: skip
        super().__init__(thresholds, name)
        self.top_k, self.class_id = _checked_choice(top_k, class_id)
        if self.top_k is not None:
            self._set_thresholds(thresholds, -np.inf)

    def prepared(self, target, prediction, weight):
        """All classes or one, and all predictions or the ``top_k`` first."""
        return _chosen(self.top_k, self.class_id, *super().prepared(target, prediction, weight))

    def score(self, tp, fp, tn, fn):
        """Recall at each threshold."""
        return ratio(tp, tp + fn)

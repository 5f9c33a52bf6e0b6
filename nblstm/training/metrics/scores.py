"""Scores: F1 and F-beta of classes, and R2 of numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.files import content
from nblstm.training import targets
from nblstm.training.losses.base_loss import EPSILON
from nblstm.training.metrics.confusion import Confusion, row_weights
from nblstm.training.metrics.metric import METRICS, Metric, number_or_array

AVERAGES = ("micro", "macro", "weighted")


@METRICS.register("f_beta_score", "fbeta_score")
class FBetaScore(Confusion):
    """``(1 + beta**2) P R / (beta**2 P + R)`` of precision P and recall R of each class.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
        None: the result is an array with the score of each class. ``micro``: of the sums over all classes; ``macro``:
        the mean of the classes' scores; ``weighted``: their mean, weighted by the number of targets.
    beta : float, default 1
        Above 0: the weight of recall.
    threshold : float, optional
        Above 0 and at most 1: what is above it is predicted; if not given, the largest number of each row is.
    name : str, default "fbeta_score"

    Notes
    -----
    Targets are one-hot rows, or rows of 0 and 1. Divisors have 1e-7 added, as in Keras.
    """

    direction = "max"
    by_output = True

    def __init__(
        self, average: str | None = None, beta: float = 1.0, threshold: float | None = None, name: str = "fbeta_score"
    ):
        self.average, self.threshold = _checked(average, threshold)
        super().__init__(threshold, name)
        self.beta = validate.number("beta", beta, 0, above=True)

    def prepared(self, target, prediction, weight):
        """Predictions; without a threshold, 1 for the largest of a row and 0 for all others."""
        return _predicted(self.threshold, target, prediction, weight)

    def score(self, tp, fp, tn, fn):
        """The classes' scores, or their average."""
        return _f_score(self.beta, self.average, tp[0], fp[0], fn[0])


@METRICS.register("f1_score")
class F1Score(Confusion):
    """``2 P R / (P + R)`` of precision P and recall R of each class; otherwise as `FBetaScore`.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
    threshold : float, optional
    name : str, default "f1_score"
    """

    direction = "max"
    by_output = True

    def __init__(self, average: str | None = None, threshold: float | None = None, name: str = "f1_score"):
        self.average, self.threshold = _checked(average, threshold)
        super().__init__(threshold, name)

    def prepared(self, target, prediction, weight):
        """Predictions; without a threshold, 1 for the largest of a row and 0 for all others."""
        return _predicted(self.threshold, target, prediction, weight)

    def score(self, tp, fp, tn, fn):
        """The classes' scores, or their average."""
        return _f_score(1.0, self.average, tp[0], fp[0], fn[0])


def _checked(average, threshold) -> tuple[str | None, float | None]:
    average = average if average is None else validate.choice("average", average, AVERAGES)
    return average, threshold if threshold is None else validate.number("threshold", threshold, 0, 1, above=True)


def _predicted(threshold: float | None, target, prediction, weight):
    if prediction.ndim == 1:
        prediction, target = prediction[:, None], target[:, None]
        weight = weight if weight is None else weight[:, None]
    if threshold is None:
        largest = prediction >= prediction.max(axis=-1, keepdims=True)
        # Not all of a row of zeros, as in Keras.
        prediction = (largest & (np.abs(prediction) > 1e-9)).astype(prediction.dtype)
    return target, prediction, weight


def _f_score(beta: float, average: str | None, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray):
    """``(1 + beta**2) P R / (beta**2 P + R)`` of precision P and recall R, averaged over the classes."""
    square, support = beta**2, tp + fn
    if average == "micro":
        tp, fp, fn = tp.sum(), fp.sum(), fn.sum()
    precision, recall = tp / (tp + fp + EPSILON), tp / (tp + fn + EPSILON)
    score = (1 + square) * (precision * recall / (square * precision + recall + EPSILON))
    if average == "weighted":
        return (score * support).sum() / (support.sum() + EPSILON)
    return score if average is None else score.mean()


AGGREGATIONS = ("uniform_average", "variance_weighted_average")


@METRICS.register("r2_score")
class R2Score(Metric):
    """The coefficient of determination: ``1 - sum((t - p)**2) / sum((t - mean(t))**2)``, over all batches.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average", None}
        The mean of the outputs' scores, without weights or with the variances of their targets; None: an array with
        the score of each output.
    num_regressors : int, default 0
        Above 0, the adjusted score: ``1 - (1 - R2) (n - 1) / (n - num_regressors - 1)`` with n numbers.
    name : str, default "r2_score"

    Notes
    -----
    An output whose targets do not vary has the score 0, as in Keras, and NaN where it is predicted exactly.
    """

    direction = "max"

    def __init__(
        self, class_aggregation: str | None = "uniform_average", num_regressors: int = 0, name: str = "r2_score"
    ):
        super().__init__(name)
        self.class_aggregation = class_aggregation
        if class_aggregation is not None:
            validate.choice("class_aggregation", class_aggregation, AGGREGATIONS)
        self.num_regressors = validate.whole_number("num_regressors", num_regressors)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._sums: np.ndarray | None = None  # of w, w t, w t**2 and w (t - p)**2, for each output
        self._numbers = 0

    def update_state(self, y_true, y_pred, sample_weight=None, mask=None) -> None:
        """Add a batch; the arguments are those of `Metric.update_state`."""
        try:
            p = targets.prediction_array(y_pred)
            t = targets.target_like(validate.real_array("y_true", y_true, p.dtype), p.shape)
            weight = row_weights(sample_weight, mask, p.shape)
        except (TypeError, ValueError) as error:
            raise type(error)(f"metric {self.name!r}: {error}") from None
        outputs = p.shape[-1] if p.ndim > 1 else 1
        if self._sums is not None and self._sums.shape[1] != outputs:
            raise ValueError(f"metric {self.name!r} has seen {self._sums.shape[1]} outputs and y_pred has {outputs}")
        t, p = (array.reshape(-1, outputs).astype(np.float64) for array in (t, p))
        w = np.ones_like(t) if weight is None else weight.reshape(t.shape).astype(np.float64)
        added = np.stack([array.sum(axis=0) for array in (w, w * t, w * t * t, w * (t - p) ** 2)])
        self._sums = added if self._sums is None else self._sums + added
        self._numbers += t.size

    @np.errstate(divide="ignore", invalid="ignore")
    def result(self) -> Any:
        """The score of all batches since the last `reset_state`; 0 before any."""
        if self._sums is None:
            return 0.0
        count, total, squares, residual = self._sums
        variation = squares - total * (total / count)
        scores = 1 - residual / variation
        scores = np.where(np.isinf(scores), 0.0, scores)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation is not None:
            scores = (variation * scores).sum() / variation.sum()
        return number_or_array(self._adjusted(scores))

    def _adjusted(self, scores):
        n, regressors = self._numbers, self.num_regressors
        if not regressors:
            return scores
        if regressors >= n - 1:
            warnings.warn(
                f"the adjusted R2 score needs more than {regressors + 1} numbers for {regressors} regressors, and has "
                f"{n}; it is not adjusted",
                stacklevel=3,
            )
            return scores
        return 1 - (1 - scores) * (n - 1) / (n - regressors - 1)

    def state(self) -> dict[str, Any]:
        """The sums over the batches so far, None before any; and how many numbers there were."""
        return {"sums": self._sums, "numbers": self._numbers}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        content.expect(f"the state of metric {self.name!r}", state, sums=np.ndarray | None, numbers=int)
        sums = state["sums"]
        if sums is not None and not (sums.ndim == 2 and len(sums) == 4 and sums.dtype == np.float64):
            raise ValueError(f"the sums of metric {self.name!r} have shape {sums.shape}, which does not fit")
        self._sums, self._numbers = sums, state["numbers"]

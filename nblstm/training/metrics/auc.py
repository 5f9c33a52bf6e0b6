"""The area under the ROC curve, or under that of precision and recall."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nblstm.arguments import validate
from nblstm.symbolic.elementwise import sigmoid
from nblstm.training.losses.base_loss import EPSILON
from nblstm.training.metrics.confusion import Confusion, ratio
from nblstm.training.metrics.metric import METRICS


@METRICS.register("auc")
class AUC(Confusion):
    """The area under a curve of which each threshold gives a point, added up as Keras does.

    ::

        ROC       x = FP / (FP + TN)    y = TP / (TP + FN)
        PR        x = TP / (TP + FN)    y = TP / (TP + FP)
        PRGAIN    x = 1 - r FN / TP     y = 1 - r FP / TP        r = positives / negatives

    Parameters
    ----------
    num_thresholds : int, default 200
        2 or more, at equal distances from 0 to 1: the more, the closer to the exact area.
    curve : {"ROC", "PR", "PRGAIN"}
    summation_method : {"interpolation", "minoring", "majoring"}
        Trapezoids, in which for ``PR`` the positives are interpolated and not the precision; or rectangles that are
        below the curve, or above it.
    name : str, default "auc"
    thresholds : sequence of float, optional
        From 0 to 1, in place of ``num_thresholds``; one below 0 and one above 1 are added.
    multi_label : bool, default False
        The mean of the areas of each output, in place of that of all outputs together.
    num_labels : int, optional
        The number of outputs, with ``multi_label``; that of the first batch if not given.
    label_weights : sequence of float, optional
        Weights of the outputs, 0 or more: of their areas with ``multi_label``, else of their predictions.
    from_logits : bool, default False
        The predictions are x with p = sigmoid(x), not p.

    Notes
    -----
    Predictions are clipped to [0, 1], as in Keras: give ``from_logits=True`` for logits.

    References
    ----------
    J. Davis and M. Goadrich, "The relationship between precision-recall and ROC curves", ICML 2006; P. Flach and
    M. Kull, "Precision-recall-gain curves: PR analysis done right", NIPS 2015.
    """

    direction = "max"
    default_name = "auc"

    def __init__(
        self, num_thresholds: int = 200, curve: str = "ROC", summation_method: str = "interpolation",
        name: str | None = None, thresholds: Sequence[float] | None = None, multi_label: bool = False,
        num_labels: int | None = None, label_weights: Sequence[float] | None = None, from_logits: bool = False,
    ):  # fmt: skip
        if thresholds is None:
            self.num_thresholds = validate.whole_number("num_thresholds", num_thresholds, 2)
            inner = [k / (self.num_thresholds - 1) for k in range(1, self.num_thresholds - 1)]
        else:
            if not isinstance(thresholds, Sequence | np.ndarray) or isinstance(thresholds, str):
                raise TypeError(f"thresholds is {thresholds!r}; give a list of numbers from 0 to 1")
            inner = sorted(validate.number("thresholds", threshold, 0, 1) for threshold in thresholds)
            self.num_thresholds = len(inner) + 2
        super().__init__(0.5, name)
        self._sort([-EPSILON, *inner, 1 + EPSILON])
        self.thresholds = thresholds if thresholds is None else inner
        self.curve = validate.choice("curve", curve.upper() if isinstance(curve, str) else curve, (*_CURVES,))
        method = summation_method.lower() if isinstance(summation_method, str) else summation_method
        self.summation_method = validate.choice("summation_method", method, (*_METHODS,))
        self.multi_label = self.by_output = validate.flag("multi_label", multi_label)
        self.num_labels = None if num_labels is None else validate.positive_integer("num_labels", num_labels)
        if self.num_labels and not self.multi_label:
            raise ValueError(f"num_labels is {num_labels} without multi_label=True; give both or neither")
        self.label_weights = None
        if label_weights is not None:
            self.label_weights = [validate.number("label_weights", weight, 0) for weight in label_weights]
        self.from_logits = validate.flag("from_logits", from_logits)

    def prepared(self, target, prediction, weight):
        """Probabilities; the outputs' weights, unless each has an area of its own."""
        target, prediction, weight = super().prepared(target, prediction, weight)
        outputs = prediction.shape[-1] if prediction.ndim > 1 else None
        weights = None if self.label_weights is None else len(self.label_weights)
        if (self.multi_label and not outputs) or not {self.num_labels, weights} <= {None, outputs}:
            needed = self.num_labels or weights or "one or more"
            raise ValueError(f"y_pred has shape {prediction.shape}; its rows need {needed} numbers, one for each label")
        if self.label_weights is not None and not self.multi_label:
            weight = (1.0 if weight is None else weight) * np.broadcast_to(self.label_weights, prediction.shape)
        prediction = sigmoid(prediction) if self.from_logits else np.clip(prediction, 0, 1)
        return target, prediction, weight

    def score(self, tp, fp, tn, fn):
        """The area, or the mean of the areas of the outputs."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = _interpolated(tp, fp, fn)
        else:
            x, y = _CURVES[self.curve](tp, fp, tn, fn)
            areas = ((x[:-1] - x[1:]) * _METHODS[self.summation_method](y[:-1], y[1:])).sum(axis=0)
        if not self.multi_label or self.label_weights is None or len(areas) != len(self.label_weights):
            return areas.mean()
        weights = np.array(self.label_weights)
        return ratio((areas * weights).sum(), weights.sum())


def _interpolated(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """The area below precision over recall, between two thresholds the integral of ``(a + s P) / P`` over P = TP + FP.

    It is ``s (dTP + a log(P' / P)) / (TP + FN)`` with the slope s = dTP / dP, and a = TP - s P.
    """
    d_tp, P = tp[:-1] - tp[1:], tp + fp
    slope = ratio(d_tp, P[:-1] - P[1:])
    start = tp[1:] - slope * P[1:]
    both = (P[:-1] > 0) & (P[1:] > 0)
    logarithm = np.log(np.where(both, ratio(P[:-1], P[1:]), 1))
    return ratio(slope * (d_tp + start * logarithm), tp[1:] + fn[1:]).sum(axis=0)


def _roc(tp, fp, tn, fn):
    return ratio(fp, fp + tn), ratio(tp, tp + fn)


def _pr(tp, fp, tn, fn):
    return ratio(tp, tp + fn), ratio(tp, tp + fp)


def _gain(tp, fp, tn, fn):
    """Gains of recall and precision; 0 and 1 where there is no true positive, and no recall gain below 0."""
    scale = ratio(tp + fn, tn + fp)
    recall, precision = 1 - scale * ratio(fn, tp), 1 - scale * ratio(fp, tp)
    return np.where(tp == 0, 0, np.maximum(recall, 0)), np.where(tp == 0, 1, precision)


_CURVES = {"ROC": _roc, "PR": _pr, "PRGAIN": _gain}
_METHODS: dict[str, Callable] = {
    "interpolation": lambda a, b: (a + b) / 2,
    "minoring": np.minimum,
    "majoring": np.maximum,
}

"""Cross-entropies, of probabilities or of logits, with which they are stable for any number; and a divergence."""

from __future__ import annotations

import numbers
from functools import cache

import numpy as np

from nblstm.activations import log_softmax
from nblstm.arguments import validate
from nblstm.arguments.validate import flag, number
from nblstm.symbolic.elementwise import LossEquation
from nblstm.symbolic.functions import clip, exp, log, log1p, where
from nblstm.training.losses.base_loss import EPSILON, LOSSES, Loss, kernel_of, of_numbers
from nblstm.training.targets import spread, target_like


@cache
def _binary(from_logits: bool, label_smoothing: float) -> LossEquation:
    def smoothed(t):
        return t * (1 - label_smoothing) + 0.5 * label_smoothing

    def of_probability(t, p):
        t, p = smoothed(t), where(p < EPSILON, EPSILON, where(p > 1 - EPSILON, 1 - EPSILON, p))
        return -(t * log(p) + (1 - t) * log(1 - p))

    def of_logit(t, x):
        return where(x > 0, x, 0) - smoothed(t) * x + log1p(exp(where(x > 0, -x, x)))

    return LossEquation("binary_crossentropy", of_logit if from_logits else of_probability, fractions=True)


class _Crossentropy(Loss):
    """A cross-entropy with smoothed targets, of probabilities or logits."""

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0.0, reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ):  # fmt: skip
        super().__init__(reduction, name)
        self.from_logits = flag("from_logits", from_logits)
        self.label_smoothing = number("label_smoothing", label_smoothing, 0, 1)


@LOSSES.register("binary_crossentropy", "bce", "BCE")
class BinaryCrossentropy(_Crossentropy):
    """``l = -mean(t log(p) + (1 - t) log(1 - p))`` over the last dimension.

    Parameters
    ----------
    from_logits : bool, default False
        The predictions are x with p = sigmoid(x), not p.
    label_smoothing : float, default 0
        Targets t become ``t (1 - label_smoothing) + label_smoothing / 2``.
    reduction, name
        As in `Loss`.

    Notes
    -----
    Probabilities are clipped to [1e-7, 1 - 1e-7], as Keras does; beyond it the gradient is 0. With logits nothing
    is clipped: ``l = max(x, 0) - t x + log(1 + exp(-|x|))``.
    """

    default_name = "binary_crossentropy"

    def target(self, target, prediction, mask):
        """Numbers in the predictions' shape."""
        target = validate.real_array("y_true", target, prediction.dtype)
        _need_class_dimension(target, prediction, "")
        return target_like(target, prediction.shape), mask

    def check(self, target):
        """Refuse targets below 0 or above 1."""
        _need_fractions(self.name, target)

    def equation(self):
        """The equation of probabilities or of logits, with smoothed targets."""
        return _binary(self.from_logits, self.label_smoothing)


@LOSSES.register("categorical_crossentropy")
class CategoricalCrossentropy(_Crossentropy):
    """``l = -sum(t log(p))`` over the last dimension, the classes.

    Parameters
    ----------
    from_logits : bool, default False
        The predictions are x with p = softmax(x), not p.
    label_smoothing : float, default 0
        Targets t become ``t (1 - label_smoothing) + label_smoothing / C``.
    reduction, name
        As in `Loss`.

    Notes
    -----
    Probabilities are divided by their sum and clipped to [1e-7, 1 - 1e-7], as Keras does; where they are clipped
    the gradient is 0. With logits nothing is clipped: log(p) is ``x - log(sum(exp(x)))``.
    """

    default_name = "categorical_crossentropy"

    def target(self, target, prediction, mask):
        """A distribution over the classes, such as one-hot rows, smoothed."""
        _need_classes(prediction)
        target = validate.real_array("y_true", target, prediction.dtype)
        _need_class_dimension(target, prediction, "; for class numbers use sparse_categorical_crossentropy")
        target = target_like(target, prediction.shape)
        _need_fractions(self.name, target)
        if self.label_smoothing:
            target = target * (1 - self.label_smoothing) + self.label_smoothing / prediction.shape[-1]
        return target, mask

    def rows(self, target, prediction):
        """Values, and gradients: ``softmax(x) sum(t) - t``, or ``(dq - sum(dq q)) / sum(p)`` with q = p / sum(p)."""
        if self.from_logits:
            log_p, _ = log_softmax.forward(prediction)
            gradient = np.exp(log_p) * target.sum(axis=-1, keepdims=True) - target
            return -(target * log_p).sum(axis=-1), gradient
        total = prediction.sum(axis=-1, keepdims=True)
        q = prediction / total
        p, inside = _clipped(q)
        d_q = -(inside * target) / p
        gradient = (d_q - (d_q * q).sum(axis=-1, keepdims=True)) / total
        return -(target * np.log(p)).sum(axis=-1), gradient


@LOSSES.register("sparse_categorical_crossentropy")
class SparseCategoricalCrossentropy(Loss):
    """``l = -log(p[t])`` with t the number of the class.

    Parameters
    ----------
    from_logits : bool, default False
        The predictions are x with p = softmax(x), not p.
    ignore_class : int, optional
        Rows with this target do not count, as if masked.
    reduction, name
        As in `Loss`.

    Notes
    -----
    As `CategoricalCrossentropy` of the one-hot target, which is never made. Targets have shape (B, ...) or
    (B, ..., 1), whole numbers from 0 to C - 1; where the mask is false they are not looked at.
    """

    def __init__(
        self, from_logits: bool = False, ignore_class: int | None = None, reduction: str = "sum_over_batch_size",
        name: str = "sparse_categorical_crossentropy",
    ):  # fmt: skip
        super().__init__(reduction, name)
        self.from_logits = flag("from_logits", from_logits)
        if ignore_class is not None and not isinstance(ignore_class, numbers.Integral):
            raise TypeError(f"ignore_class is {ignore_class!r}; give the number of a class, or None")
        self.ignore_class = None if ignore_class is None else int(ignore_class)

    def target(self, target, prediction, mask):
        """Class numbers as an array of int, 0 where they do not count."""
        _need_classes(prediction)
        labels, rows, classes = validate.number_array("y_true", target), prediction.shape[:-1], prediction.shape[-1]
        if labels.shape not in (rows, (*rows, 1)):
            advice = "; for one-hot rows use categorical_crossentropy" if labels.shape == prediction.shape else ""
            raise ValueError(f"y_true has shape {labels.shape}; it needs one class per row, {rows}{advice}")
        labels = labels.reshape(rows)
        if self.ignore_class is not None:
            counts = labels != self.ignore_class
            mask = counts if mask is None else counts & spread(mask, counts.ndim)
        if mask is not None:
            labels = np.where(spread(mask, labels.ndim), labels, 0)
        if labels.dtype.kind in "iu" and not (labels.min() < 0 or labels.max() >= classes):
            return labels.astype(np.intp, copy=False), mask
        wrong = ~((labels >= 0) & (labels < classes) & (labels == np.floor(labels)))
        if wrong.any():
            raise ValueError(f"y_true contains {labels[wrong][0]}; give class numbers, 0 to {classes - 1}")
        return labels.astype(np.intp), mask

    def rows(self, target, prediction):
        """Values, and gradients: ``softmax(x) - onehot``, or ``1 / sum(p) - onehot / p[t]``."""
        flat = prediction.reshape(-1, prediction.shape[-1])
        chosen = (np.arange(len(flat)), target.ravel())
        if self.from_logits:
            log_p, _ = log_softmax.forward(flat)
            gradient = np.exp(log_p)
            gradient[chosen] -= 1
            return -log_p[chosen].reshape(target.shape), gradient.reshape(prediction.shape)
        total = np.add.reduce(flat, axis=-1)
        p, inside = _clipped(flat[chosen] / total)
        each = inside / total
        gradient = np.empty_like(flat)
        gradient[...] = each[:, None]
        gradient[chosen] = each - each / p
        return -np.log(p).reshape(target.shape), gradient.reshape(prediction.shape)


@LOSSES.register("kl_divergence", "kld", "KLD", "kullback_leibler_divergence")
class KLDivergence(Loss):
    """``l = sum(t log(t / p))`` over the last dimension: how far the distribution p is from t.

    Parameters
    ----------
    reduction, name
        As in `Loss`.

    Notes
    -----
    Targets and predictions are clipped to [1e-7, 1], as in Keras; where predictions are, the gradient is 0.
    """

    default_name = "kl_divergence"

    def equation(self):
        """The term of one number, which `rows` adds up."""
        return _DIVERGENCE

    def rows(self, target, prediction):
        """Sums over the last dimension, and the gradient."""
        values, gradient = of_numbers(_DIVERGENCE, target, prediction, 1)
        return np.add.reduce(values, axis=-1), gradient

    def kernels(self, dtype, weighted):
        """The kernel of values, with weights or without."""
        return [kernel_of(_DIVERGENCE, dtype, True)]


def _divergence(t, p):
    t, p = clip(t, EPSILON, 1), clip(p, EPSILON, 1)
    return t * log(t / p)


_DIVERGENCE = LossEquation("divergence", _divergence)


def _clipped(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities clipped to [EPSILON, 1 - EPSILON], and False where that changed them: the gradient is 0 there."""
    clipped = np.maximum(probability, EPSILON)
    np.minimum(clipped, 1 - EPSILON, out=clipped)
    return clipped, clipped == probability


def _need_classes(prediction: np.ndarray) -> None:
    if prediction.shape[-1] == 1:
        raise ValueError("y_pred has one class in a row; give (B, ..., classes), or use binary_crossentropy")


def _need_fractions(name: str, target: np.ndarray) -> None:
    if not (np.minimum.reduce(target, None) >= 0 and np.maximum.reduce(target, None) <= 1):
        outside = ~((target >= 0) & (target <= 1))
        raise ValueError(f"y_true contains {target[outside][0]}; {name} takes numbers from 0 to 1")


def _need_class_dimension(target: np.ndarray, prediction: np.ndarray, advice: str) -> None:
    if target.ndim < prediction.ndim and prediction.shape[-1] > 1:
        needs = f"it needs that of y_pred, {prediction.shape}"
        raise ValueError(f"y_true has shape {target.shape}; {needs}{advice}")


def binary_crossentropy(y_true, y_pred, from_logits: bool = False, label_smoothing: float = 0.0) -> np.ndarray:
    """`BinaryCrossentropy` of each row.

    Parameters
    ----------
    y_true : array_like
        Numbers from 0 to 1 in the predictions' shape; only a last dimension of length 1 may be too many or too few.
    y_pred : array_like of float, shape (B, ..., C) or (B,)
        Probabilities, or logits.
    from_logits : bool, default False
    label_smoothing : float, default 0

    Returns
    -------
    ndarray, shape (B, ...)

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, or a target is out of its range.
    """
    return BinaryCrossentropy(from_logits, label_smoothing).values(y_true, y_pred)


def categorical_crossentropy(y_true, y_pred, from_logits: bool = False, label_smoothing: float = 0.0) -> np.ndarray:
    """`CategoricalCrossentropy` of each row (B, ..., C); otherwise as `binary_crossentropy`."""
    return CategoricalCrossentropy(from_logits, label_smoothing).values(y_true, y_pred)


def sparse_categorical_crossentropy(
    y_true, y_pred, from_logits: bool = False, ignore_class: int | None = None
) -> np.ndarray:
    """`SparseCategoricalCrossentropy` of each row, y_true (B, ...); otherwise as `binary_crossentropy`."""
    return SparseCategoricalCrossentropy(from_logits, ignore_class).values(y_true, y_pred)


def kl_divergence(y_true, y_pred) -> np.ndarray:
    """`KLDivergence` of each row (B, ..., C); otherwise as `binary_crossentropy`, without its options."""
    return KLDivergence().values(y_true, y_pred)

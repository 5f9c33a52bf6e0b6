"""What all losses share: checks, sample weights and masks, the reduction to one number and its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from nblstm.arguments import custom, validate
from nblstm.arguments.configured import Configured
from nblstm.engine.device import backend_of
from nblstm.symbolic.elementwise import LossEquation
from nblstm.training.data import weights

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight")

_COMPUTED = tuple(np.dtype(name) for name in validate.DTYPES)


def float_array(name: str, value) -> np.ndarray:
    """``value`` in its own dtype if that is float32 or float64, else in float64."""
    if type(value) is np.ndarray and value.dtype in _COMPUTED:
        return value
    given = str(getattr(value, "dtype", ""))
    return validate.real_array(name, value, given if given in validate.DTYPES else "float64")


def like(name: str, value: np.ndarray, needed: tuple[int, ...]) -> np.ndarray:
    """``value`` in the shape ``needed``; only a last dimension of length 1 is added or dropped.

    Nothing else is broadcast, since (B, 1) against (B,) would mean (B, B) values.
    """
    if value.shape == needed:
        return value
    if value.shape != (*needed, 1) and (*value.shape, 1) != needed:
        raise ValueError(f"{name} has shape {value.shape}; it needs that of the prediction, {needed}")
    return value.reshape(needed)


def mean_of_rows(values: np.ndarray) -> np.ndarray:
    """The mean over the last dimension; `numpy.mean` takes 5 us for a batch of 32, mostly in Python."""
    width = values.shape[-1]
    return values[..., 0] if width == 1 else np.add.reduce(values, axis=-1) / width


@cache
def _of_numbers() -> Callable:
    """What computes compiled equations: losses are computed on the CPU, where targets are."""
    return backend_of("cpu").loss_of_numbers


class Loss(Configured):
    """A loss: one value per row of predictions, reduced to their weighted mean.

    Subclasses give the equation, either that of one number, `equation`, whose mean over a row is the row's value and
    which is compiled, or that of arrays, `rows`; and what their targets must be, `target` and `check`.

    Parameters
    ----------
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"}
        ``sum_over_batch_size`` and ``mean`` divide the weighted sum by the number of values, whatever the weights;
        with a mask, by the number of values that count. ``mean_with_sample_weight`` divides by the sum of weights.
    name : str, optional

    Raises
    ------
    ValueError
        If the reduction is unknown.

    Notes
    -----
    With values l of shape (B, ...), weights w and a mask k, as Keras 3 has it::

        sum_over_batch_size = sum(l w k) / sum(k)
        sum = sum(l w k)
        mean_with_sample_weight = sum(l w k) / sum(w k)

    where a divisor of 0 gives 0.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None):
        self.reduction = validate.choice("reduction", reduction, REDUCTIONS)
        self.name = name or type(self).__name__

    def __call__(self, y_true, y_pred, sample_weight=None, mask=None) -> float:
        """The loss alone; the arguments are those of `value_and_gradient`."""
        return self.value_and_gradient(y_true, y_pred, sample_weight, mask)[0]

    def value_and_gradient(self, y_true, y_pred, sample_weight=None, mask=None) -> tuple[float, np.ndarray]:
        """The loss and its gradient, in Keras's order of arguments.

        Parameters
        ----------
        y_true : array_like
            Targets.
        y_pred : array_like of float, shape (B, ..., C) or (B,)
            Predictions.
        sample_weight : array_like, optional
            In the first dimensions of the predictions: (B,), or (B, T) for sequences.
        mask : array_like of bool, optional
            Likewise; false where a prediction is not to count.

        Returns
        -------
        loss : float
        d_prediction : ndarray
            In the prediction's shape and dtype.

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit, a target or weight is out of its range, or there is nothing to average.
        """
        given, rows, target, mask = self._checked(y_true, y_pred, mask)
        if sample_weight is None and mask is None and type(self).rows is Loss.rows:
            divisor = rows.shape[-1] if self.reduction == "sum" else rows.size
            total, gradient = _of_numbers()(self.equation(), rows, target, 1 / divisor)
        else:
            total, divisor, gradient = self._weighted(rows, target, sample_weight, mask)
        if total != total:
            self.check(target)
        return total / divisor, gradient.reshape(given.shape)

    def kernels(self, dtype: str, weighted: bool) -> list[tuple]:
        """What a fit will need: functions that compile it, each with its arguments."""
        if type(self).rows is not Loss.rows:
            return []
        return [(backend_of("cpu").loss_kernel, self.equation(), np.dtype(dtype).itemsize, weighted)]

    @np.errstate(under="ignore")
    def values(self, y_true, y_pred, mask=None) -> np.ndarray:
        """One value per row, shape (B, ...), neither weighted nor reduced."""
        _, rows, target, _ = self._checked(y_true, y_pred, mask)
        values = self.rows(target, rows)[0]
        if np.isnan(values).any():
            self.check(target)
        return values

    def equation(self) -> LossEquation:
        """The equation of one number."""
        raise NotImplementedError(f"{type(self).__name__} has no equation; define rows(target, prediction)")

    def rows(self, target: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The equation of arrays: values (B, ...) and d value / d prediction (B, ..., C), a new array."""
        values = np.empty(prediction.shape, prediction.dtype)
        _, gradient = _of_numbers()(self.equation(), prediction, target, 1 / prediction.shape[-1], values)
        return mean_of_rows(values), gradient

    def target(self, target, prediction: np.ndarray, mask: np.ndarray | None):
        """The target as `rows` takes it, and the mask with what the target itself leaves out."""
        target = validate.real_array("target", target, prediction.dtype)
        return like("target", target, prediction.shape), mask

    def check(self, target: np.ndarray) -> None:
        """Refuse a target, as `target` gives it, that has what is out of range.

        Beside such a target, a compiled equation is worth NaN; it is checked when a loss has come out so.
        """

    def checked_target(self, target, prediction: np.ndarray, mask: np.ndarray | None):
        """As `target`, and what that gives has been checked."""
        target, mask = self.target(target, prediction, mask)
        self.check(target)
        return target, mask

    def _checked(self, y_true, y_pred, mask):
        given = float_array("prediction", y_pred)
        if given.ndim == 0 or given.size == 0:
            raise ValueError(f"prediction has shape {given.shape}, with no entries in a row; give at least one row")
        rows = given
        if given.ndim == 1:
            rows, shape = given[:, None], np.shape(y_true)
            if shape not in (given.shape, rows.shape):
                raise ValueError(f"target has shape {shape}; it needs that of the prediction, {given.shape}")
        if mask is not None:
            mask = weights.mask_array(mask, rows.shape[:-1])
        taken = self.target if type(self).rows is Loss.rows else self.checked_target
        return given, rows, *taken(y_true, rows, mask)

    @np.errstate(under="ignore")
    def _weighted(self, rows: np.ndarray, target: np.ndarray, sample_weight, mask) -> tuple[float, float, np.ndarray]:
        """The weighted sum, what to divide it by, and the gradient of the quotient."""
        shape = rows.shape[:-1]
        weight, divisor = self._weights(shape, weights.weight_array(sample_weight, shape, rows.dtype), mask, rows.dtype)
        values, gradient = self.rows(target, rows)
        if weight is not None:
            values = values * weight
            gradient *= (weight / divisor)[..., None]
        else:
            gradient *= 1 / divisor
        return float(np.add.reduce(values, None, np.float64)), divisor, gradient

    def _weights(self, shape, weight, mask, dtype):
        """One weight per value, or None, and what to divide their weighted sum by."""
        count = float(math.prod(shape))
        if weight is None and mask is None:
            return None, 1.0 if self.reduction == "sum" else count
        if mask is not None and self.reduction in ("sum_over_batch_size", "mean"):
            count = float(np.count_nonzero(weights.spread(mask, shape)))
        weight = weights.product(weight, mask)
        if weight is not None:
            weight = weights.spread(weight, shape).astype(dtype, copy=False)
        if self.reduction == "sum":
            count = 1.0
        elif self.reduction == "mean_with_sample_weight" and weight is not None:
            count = float(np.sum(weight, dtype=np.float64))
        # Keras divides without NaN: with no value that counts the loss is 0. The weighted sum is 0 then, or
        # its weights cancel, and the weights are set to 0.
        return (weight, count) if count else (np.zeros(shape, dtype), 1.0)


class LossFunction(Loss):
    """A loss from a function of the user's own.

    Parameters
    ----------
    fn : callable
        ``fn(y_true, y_pred)`` gives values (B, ...), one per row of ``y_pred`` (B, ..., C), and their gradient
        (B, ..., C) with respect to it. Both arguments come as arrays of one shape.
    reduction, name
        As in `Loss`.

    Raises
    ------
    TypeError, ValueError
        When called, if the function gives something else.
    """

    def __init__(self, fn, reduction: str = "sum_over_batch_size", name: str | None = None):
        fn = custom.function(fn)
        super().__init__(reduction, name or getattr(fn, "__name__", type(fn).__name__))
        self.fn = fn

    def _plain(self, name: str, value):
        return super()._plain("the loss" if name == "fn" else name, value)

    def rows(self, target, prediction):
        """What the function gives, checked."""
        result = self.fn(target, prediction)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                f"the loss {self.name} gave {type(result).__name__}; let it return two arrays, the value of each row "
                "and its gradient with respect to y_pred, which nblstm derives for cells only"
            )
        values = self._given("value", result[0], prediction.dtype, prediction.shape[:-1], "one value per row")
        return values, self._given("gradient", result[1], prediction.dtype, prediction.shape, "y_pred's")

    def _given(self, kind: str, part, dtype, shape: tuple[int, ...], meaning: str) -> np.ndarray:
        """A new array of what the function gives."""
        name = f"the {kind} that {self.name} gives"
        array = np.array(validate.number_array(name, part, f"give shape {shape}"), dtype)
        return validate.shaped(name, array, shape, meaning)

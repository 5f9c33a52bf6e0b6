"""Loss, from which all losses derive: checks, sample weights and masks, reduction to one number, its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from nblstm.arguments import custom, validate
from nblstm.arguments.configured import Configured, Registry
from nblstm.engine.device import backend_of
from nblstm.symbolic.elementwise import LossEquation
from nblstm.training import targets

#: Keras's backend.epsilon(): probabilities are clipped to [EPSILON, 1 - EPSILON].
EPSILON = 1e-7

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight")


class Loss(Configured):
    """A loss: one value per row of predictions, reduced to their weighted mean.

    Subclasses define either `equation`, that of one number, which is compiled and whose mean over a row is the row's
    value, or `rows`, that of arrays; and where their targets are not arrays like the predictions, `target` and `check`.

    Parameters
    ----------
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"}
        ``sum_over_batch_size`` and ``mean`` divide the weighted sum by the number of values, whatever the weights;
        with a mask, by the number of values that count. ``mean_with_sample_weight`` divides by the sum of weights.
    name : str, optional

    Notes
    -----
    With values l of shape (B, ...), weights w and a mask k, as Keras 3 has it::

        sum_over_batch_size = sum(l w k) / sum(k)
        sum = sum(l w k)
        mean_with_sample_weight = sum(l w k) / sum(w k)

    where a divisor of 0 gives 0.
    """

    #: Its name, if none is given; by default, that of the class.
    default_name: str | None = None

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None):
        self.reduction = validate.choice("reduction", reduction, REDUCTIONS)
        self.name = name or self.default_name or type(self).__name__

    def __call__(self, y_true, y_pred, sample_weight=None, mask=None) -> float:
        """The loss alone; the arguments are those of `value_and_gradient`."""
        return self.value_and_gradient(y_true, y_pred, sample_weight, mask)[0]

    def value_and_gradient(self, y_true, y_pred, sample_weight=None, mask=None) -> tuple[float, np.ndarray]:
        """The loss and its gradient with respect to ``y_pred``.

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
        shape, prediction, target, mask = self._checked(y_true, y_pred, mask)
        if sample_weight is None and mask is None and self._is_compiled:
            divisor = target.shape[-1] if self.reduction == "sum" else target.size
            total, gradient = _loss_of_numbers()(self.equation(), prediction, target, 1 / divisor)
        else:
            total, divisor, gradient = self._weighted(target, prediction, sample_weight, mask)
        if total != total:  # NaN
            self.check(target)
        return total / divisor, gradient.reshape(shape)

    @np.errstate(under="ignore")
    def values(self, y_true, y_pred, mask=None) -> np.ndarray:
        """One value per row, shape (B, ...), neither weighted nor reduced."""
        _, prediction, target, _ = self._checked(y_true, y_pred, mask)
        values = self.rows(target, prediction)[0]
        if np.isnan(values).any():
            self.check(target)
        return values

    def equation(self) -> LossEquation:
        """The equation of one number."""
        raise NotImplementedError(f"{type(self).__name__} has no equation; define rows(target, prediction)")

    def rows(self, target: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (B, ...), and d value / d prediction (B, ..., C), a new array; by default those of `equation`."""
        values, gradient = of_numbers(self.equation(), target, prediction, 1 / target.shape[-1])
        return mean_of_last(values), gradient

    def target(self, target, prediction: np.ndarray, mask: np.ndarray | None):
        """The target as `rows` takes it, and the mask with what the target itself leaves out."""
        target = validate.real_array("y_true", target, prediction.dtype)
        return targets.target_like(target, prediction.shape), mask

    def check(self, target: np.ndarray) -> None:
        """Refuse a target, as `target` gives it, with numbers out of range.

        The value of a compiled equation is NaN beside such a number, so that only a loss of NaN has to be looked into.
        """

    def check_equation(self) -> None:
        """Refuse an equation of the user's own that cannot be traced, or has changed since it was."""

    def kernels(self, dtype: str, weighted: bool) -> list[tuple]:
        """Functions that compile what a fit will need, each with its arguments."""
        return [kernel_of(self.equation(), dtype, weighted)] if self._is_compiled else []

    @property
    def _is_compiled(self) -> bool:
        """True if `equation` is computed, and not `rows` of a subclass."""
        return type(self).rows is Loss.rows

    def _checked(self, y_true, y_pred, mask):
        """The prediction's shape; prediction (B, ..., C), target and mask as arrays that fit each other."""
        prediction = targets.prediction_array(y_pred)
        shape = prediction.shape
        if prediction.ndim == 1:
            prediction = prediction[:, None]
            if np.shape(y_true) not in (shape, prediction.shape):
                raise ValueError(f"y_true has shape {np.shape(y_true)}; it needs that of y_pred, {shape}")
        if mask is not None:
            mask = targets.mask_array(mask, prediction.shape[:-1])
        target, mask = self.target(y_true, prediction, mask)
        if not self._is_compiled:
            self.check(target)
        return shape, prediction, target, mask

    @np.errstate(under="ignore")
    def _weighted(self, target: np.ndarray, prediction: np.ndarray, weight, mask) -> tuple[float, float, np.ndarray]:
        """The weighted sum of the values, its divisor, and the gradient of the quotient."""
        shape, dtype = prediction.shape[:-1], prediction.dtype
        weight, divisor = self._weights(shape, targets.weight_array(weight, shape, dtype), mask, dtype)
        values, gradient = self.rows(target, prediction)
        if weight is not None:
            values = values * weight
            gradient *= (weight / divisor)[..., None]
        else:
            gradient *= 1 / divisor
        return float(np.add.reduce(values, None, np.float64)), divisor, gradient

    def _weights(self, shape, weight, mask, dtype):
        """One weight per value, or None, and the divisor of their weighted sum."""
        count = float(math.prod(shape))
        if weight is None and mask is None:
            return None, 1.0 if self.reduction == "sum" else count
        if mask is not None and self.reduction in ("sum_over_batch_size", "mean"):
            count = float(np.count_nonzero(targets.broadcast(mask, shape)))
        weight = targets.broadcast(targets.product(weight, mask), shape).astype(dtype, copy=False)
        if self.reduction == "sum":
            count = 1.0
        elif self.reduction == "mean_with_sample_weight":
            count = float(np.sum(weight, dtype=np.float64))
        # Keras divides without NaN: with no value that counts the loss is 0. The weighted sum is 0 then, or
        # its weights cancel, and the weights are set to 0.
        return (weight, count) if count else (np.zeros(shape, dtype), 1.0)


@cache
def _loss_of_numbers() -> Callable:
    """The function that computes compiled equations: on the CPU, where targets are."""
    return backend_of("cpu").loss_of_numbers


def of_numbers(
    equation: LossEquation, target: np.ndarray, prediction: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Values of the equation in the targets' shape, and derivatives by the predictions, times ``factor``, in theirs."""
    values = np.empty(target.shape, prediction.dtype)
    _, gradient = _loss_of_numbers()(equation, prediction, target, factor, values)
    return values, gradient


def mean_of_last(values: np.ndarray) -> np.ndarray:
    """The mean over the last dimension; `numpy.mean` takes 5 us for a batch of 32, mostly in Python."""
    C = values.shape[-1]
    return values[..., 0] if C == 1 else np.add.reduce(values, axis=-1) / C


def kernel_of(equation: LossEquation, dtype: str, weighted: bool) -> tuple:
    """The function that compiles an equation's kernel, with its arguments."""
    return backend_of("cpu").loss_kernel, equation, np.dtype(dtype).itemsize, weighted


LOSSES = Registry("loss", Loss)


@LOSSES.register()
class LossFunction(Loss):
    """A loss from a function of the user's own.

    Parameters
    ----------
    fn : callable
        ``fn(y_true, y_pred)`` gives values (B, ...), one per row of ``y_pred`` (B, ..., C), and their gradient
        (B, ..., C) with respect to it. Both arguments come as arrays of one shape.
    reduction, name
        As in `Loss`.
    """

    def __init__(self, fn, reduction: str = "sum_over_batch_size", name: str | None = None):
        fn = custom.function(fn)
        super().__init__(reduction, name or getattr(fn, "__name__", type(fn).__name__))
        self.fn = fn

    def _plain(self, name: str, value):
        return super()._plain("the loss" if name == "fn" else name, value)

    def rows(self, target, prediction):
        """Values and gradients that the function gives, checked."""
        result = self.fn(target, prediction)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                f"the loss {self.name} gave {type(result).__name__}; let it return two arrays, the value of each row "
                "and its gradient with respect to y_pred; or decorate its equation with nblstm.loss, which derives it"
            )
        values = self._given("value", result[0], prediction.dtype, prediction.shape[:-1], "one value per row")
        return values, self._given("gradient", result[1], prediction.dtype, prediction.shape, "y_pred's")

    def _given(self, kind: str, part, dtype, shape: tuple[int, ...], meaning: str) -> np.ndarray:
        """The ``kind`` that the function gives, as a new array."""
        name = f"the {kind} that {self.name} gives"
        array = np.array(validate.number_array(name, part, f"give shape {shape}"), dtype)
        return validate.shaped(name, array, shape, meaning)

"""Metric, from which all metrics derive: the weighted mean of one value per row, added up batch by batch.

Beside it are means of values, and of a function.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from nblstm.arguments import custom, signatures, validate
from nblstm.arguments.configured import Configured, Registry
from nblstm.files import content
from nblstm.training import targets


class Metric(Configured):
    """A metric: the weighted mean of one value per row of predictions, over batches.

    Subclasses give the equation, ``values(y_true, y_pred, mask)``; or, as in Keras, ``update_state(y_true, y_pred,
    sample_weight=None)``, ``result()`` and ``reset_state()``, which the constructor calls. An ``update_state`` that
    takes no ``mask`` behind these gets it as weights of 0 and 1, multiplied by the sample weights.

    Parameters
    ----------
    name : str, optional
        A default of the class's if not given.

    Notes
    -----
    As in Keras 3, dimensions behind the first are averaged within a batch, weights too, and the batches' sums over
    rows are added up: ``sum(mean(v w)) / sum(mean(w))``. Sums are kept in float64.
    """

    #: "max" if more of it is better, "min" if less; None if that is not known.
    direction: str | None = None

    #: True if `update_state` takes a mask behind ``y_true``, ``y_pred`` and ``sample_weight``.
    takes_mask = True

    #: Its name, if none is given.
    default_name = "mean"

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse methods that cannot be called as they will be."""
        super().__init_subclass__(**options)
        cls.takes_mask = signatures.takes(cls.update_state, 5)
        cls._check_methods()

    @classmethod
    def _check_methods(cls) -> None:
        signatures.overridden(cls, Metric, "update_state", least=3)
        signatures.overridden(cls, Metric, "values")

    def __init__(self, name: str | None = None):
        self.name = name or self.default_name
        self.reset_state()

    def __call__(self, *batch, **weights) -> float:
        """`update_state`, then `result`."""
        self.update_state(*batch, **weights)
        return self.result()

    def reset_state(self) -> None:
        """Forget all batches."""
        self._total = self._count = 0.0

    @np.errstate(under="ignore")
    def update_state(self, y_true, y_pred, sample_weight=None, mask=None) -> None:
        """Add a batch.

        Parameters
        ----------
        y_true : array_like
            Targets.
        y_pred : array_like, shape (B, ..., C) or (B,)
            Predictions.
        sample_weight : array_like, shape (B,), (B, T), ..., optional
        mask : array_like of bool, shape (B,), (B, T), ..., optional
            False where a prediction is not to count.

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit, or a weight is not finite.
        """
        try:
            values = self.values(y_true, y_pred, mask)
        except (TypeError, ValueError) as error:
            raise type(error)(f"metric {self.name!r}: {error}") from None
        self._add(values, sample_weight, mask)

    def values(self, y_true, y_pred, mask=None) -> np.ndarray:
        """The equation: values of shape (B, ...)."""
        raise NotImplementedError(f"{type(self).__name__} has no equation; define values(y_true, y_pred, mask)")

    def result(self) -> float:
        """The mean over all batches since the last `reset_state`; 0 before any."""
        return self._total / self._count if self._count else 0.0

    def state(self) -> dict[str, Any]:
        """The sums over the batches so far."""
        return {"total": self._total, "count": self._count}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        content.expect(f"the state of metric {self.name!r}", state, total=Real, count=Real)
        self._total, self._count = float(state["total"]), float(state["count"])

    @np.errstate(under="ignore")
    def _add(self, values, sample_weight, mask) -> None:
        """Add a batch of values (B, ...), or of one number."""
        values = validate.number_array(f"the value of metric {self.name!r}", values)
        if sample_weight is None and mask is None:
            size, rows = values.size, len(values) if values.ndim else 1
            bools = values.dtype.kind == "b"
            total = np.count_nonzero(values) if bools else float(np.add.reduce(values, None, np.float64))
            self._total += total if rows == size else total * rows / max(size, 1)
            self._count += rows
            return
        values = values.astype(np.float64)
        weight = targets.weight_array(sample_weight, values.shape, np.float64)
        weight = targets.product(weight, targets.mask_array(mask, values.shape))
        values = values.mean(axis=tuple(range(weight.ndim, values.ndim)))
        weight = np.broadcast_to(weight, values.shape)
        self._total += float(_mean_of_rows(values * weight).sum())
        self._count += float(_mean_of_rows(weight).sum())


def _mean_of_rows(values: np.ndarray) -> np.ndarray:
    """The mean over all dimensions but the first."""
    return values.mean(axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values


def number_or_array(values) -> Any:
    """An array of results, or the number of one."""
    if type(values) is float:  # as most metrics give it: NumPy would take 1 us
        return values
    values = np.asarray(values, np.float64)
    return values.item() if values.size == 1 else values.reshape(-1)


METRICS = Registry("metric", Metric)


@METRICS.register()
class Mean(Metric):
    """The weighted mean of values, such as the losses of an epoch's batches."""

    @classmethod
    def _check_methods(cls) -> None:
        """Accept an `update_state` of values as well as one of targets and predictions."""

    def update_state(self, values, sample_weight=None, mask=None) -> None:  # type: ignore[override]
        """Add a batch.

        Parameters
        ----------
        values : array_like, shape () or (B, ...)
        sample_weight : array_like, optional
            In the first dimensions of the values.
        mask : array_like of bool, optional
            Likewise; false where a value is not to count.

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit, or a weight is not finite.
        """
        self._add(values, sample_weight, mask)


@METRICS.register()
class MetricFunction(Metric):
    """A metric from a function of the user's own.

    Parameters
    ----------
    fn : callable
        ``fn(y_true, y_pred)`` gives values (B, ...), or one number for the batch.
    name : str, optional
    """

    def __init__(self, fn, name: str | None = None):
        fn = custom.function(fn)
        super().__init__(name or str(getattr(fn, "__name__", type(fn).__name__)))
        self.fn = fn

    def _plain(self, name: str, value):
        return super()._plain("a metric" if name == "fn" else name, value)

    def values(self, y_true, y_pred, mask=None):
        """Values that the function gives."""
        return self.fn(validate.plain_array("y_true", y_true), validate.plain_array("y_pred", y_pred))

"""Objective: the loss and the metrics of a model, over the batches of an epoch."""

from __future__ import annotations

import copy
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np

from nblstm.files import content
from nblstm.training import losses, metrics, targets
from nblstm.training.losses import Loss
from nblstm.training.metrics import Mean, Metric
from nblstm.training.metrics.metric import number_or_array


class Objective:
    """A loss, and metrics beside it, without and with the samples' weights, as `Sequential.compile` takes them."""

    def __init__(self, loss, measured=None, weighted=None):
        self.loss: Loss = losses.get(_of_one_output("loss", loss))
        self.metrics: list[Metric] = [_metric(metric) for metric in _listed("metrics", measured)]
        self.weighted_metrics: list[Metric] = [_metric(metric) for metric in _listed("weighted_metrics", weighted)]
        for each in (self.loss, *(metric.loss for metric in self._loss_metrics())):
            each.check_equation()
        self._names = _unique(self.metrics, self.weighted_metrics)
        self.reset()

    def copy(self) -> Objective:
        """The same loss, which keeps nothing, and copies of the metrics."""
        made = copy.copy(self)
        made.metrics = [_copied(metric) for metric in self.metrics]
        made.weighted_metrics = [_copied(metric) for metric in self.weighted_metrics]
        return made

    def reset(self) -> None:
        """Forget all batches."""
        self._total = self._samples = 0.0
        for metric in (*self.metrics, *self.weighted_metrics):
            metric.reset_state()

    def add(self, y, prediction: np.ndarray, weight, mask, value: float) -> None:
        """Take a batch into account whose loss is ``value``."""
        B = len(prediction)
        self._total += value * B
        self._samples += B
        for metric in self.metrics:
            _update(metric, y, prediction, None, mask)
        for metric in self.weighted_metrics:
            _update(metric, y, prediction, weight, mask)

    def kernels(self, dtype: str, weighted: bool) -> list[tuple]:
        """Functions that compile what a fit will need, each with its arguments."""
        measured = [call for metric in self._loss_metrics() for call in metric.loss.kernels(dtype, True)]
        return [*self.loss.kernels(dtype, weighted), *measured]

    def _loss_metrics(self) -> list[metrics.LossMetric]:
        return [m for m in (*self.metrics, *self.weighted_metrics) if isinstance(m, metrics.LossMetric)]

    def logs(self) -> dict[str, Any]:
        """The mean loss, each sample counting once, and the metrics, by name, arrays of those with several values."""
        measured: dict[str, Any] = {"loss": self._total / self._samples if self._samples else 0.0}
        for name, metric in zip(self._names, (*self.metrics, *self.weighted_metrics), strict=True):
            measured[name] = number_or_array(metric.result())
        return measured

    def state(self) -> dict[str, Any]:
        """The sums over the batches so far."""
        kept = [metric.state() for metric in (*self.metrics, *self.weighted_metrics)]
        return {"total": self._total, "samples": self._samples, "metrics": kept}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        content.expect("what was measured", state, total=Real, samples=Real, metrics=list)
        measured = (*self.metrics, *self.weighted_metrics)
        if len(state["metrics"]) != len(measured):
            raise ValueError(f"it was made with {len(state['metrics'])} metrics, and now there are {len(measured)}")
        self._total, self._samples = float(state["total"]), float(state["samples"])
        for metric, kept in zip(measured, state["metrics"], strict=True):
            metric.load_state(kept)


def _copied(metric: Metric) -> Metric:
    """A copy of a metric; what Python cannot copy, such as a lock or an open file, is the same in both."""
    made = copy.copy(metric)
    memo = {id(metric): made}
    for name, value in vars(metric).items():
        with suppress(TypeError):
            setattr(made, name, copy.deepcopy(value, memo))
    return made


def _listed(name: str, given) -> list:
    if given is None:
        return []
    if isinstance(given, dict) or not isinstance(given, list | tuple):
        raise TypeError(f"{name} is {given!r}; give a list, such as ['accuracy']")
    return list(_of_one_output(name, given) if given and isinstance(given[0], list | tuple) else given)


def _of_one_output(name: str, given):
    """``given``, or the one entry of Keras's list of one per output."""
    if not isinstance(given, list | tuple):
        return given
    if len(given) != 1:
        raise ValueError(f"{name} has {len(given)} parts, one per output; a Sequential has one output, so give one")
    return given[0]


def _metric(given) -> Metric:
    metric = metrics.get(given)
    if type(metric).update_state is Mean.update_state:
        raise TypeError(
            f"metrics has {metric!r}, a mean of values, which knows of no targets; give metrics of y_true and y_pred, "
            "such as 'accuracy' or 'mae'"
        )
    return metric


def _update(metric, y, prediction: np.ndarray, weight, mask) -> None:
    if metric.takes_mask:
        metric.update_state(y, prediction, weight, mask)
    else:  # a weight for each step that the mask tells of, as Keras's metrics make of it
        kept = None if mask is None else mask.astype(prediction.dtype)
        metric.update_state(y, prediction, targets.product(weight, kept))


def _unique(measured: list[Metric], weighted: list[Metric]) -> list[str]:
    """Names as Keras makes them: accuracy, accuracy_1; and weighted_accuracy where it is also measured unweighted.

    A metric named loss is loss_1, beside the loss, in whose place Keras has it.
    """
    names = ["loss"]
    for k, metric in enumerate((*measured, *weighted)):
        base = metric.name
        if k >= len(measured) and base in names:
            base = f"weighted_{base}"
        name, count = base, 0
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names.append(name)
    return names[1:]

"""The learning rate range test (Smith 2017): a short training whose learning rate grows from step to step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.models import data
from nblstm.models.fitting import need_compiled
from nblstm.models.step import measured, prepare
from nblstm.training.figures import axes_for
from nblstm.training.loop import Interrupts

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential

#: The test ends where the smoothed loss is so many times its least value, as in fastai.
DIVERGED = 4.0


class LearningRateRange:
    """Losses over learning rates, from `Sequential.lr_find`.

    Attributes
    ----------
    learning_rates : ndarray, shape (N,)
        Of each step, rising by a constant factor.
    losses : ndarray, shape (N,)
        Of each step's batch, before the step.
    smoothed : ndarray, shape (N,)
        Their exponential moving average, ``sum(b**(n - k) losses[k]) / sum(b**(n - k))``.
    suggestion : float or None
        Where the loss falls fastest over the logarithm of the learning rate, before the smoothed one is least: about
        the middle of the steepest line through a quarter of the losses up to there. None if it never falls.
    """

    def __init__(self, learning_rates: np.ndarray, losses: np.ndarray, smoothing: float):
        self.learning_rates, self.losses = learning_rates, losses
        self.smoothed = np.array([*_averages(losses, smoothing)])
        self.suggestion = _steepest(learning_rates, losses, int(np.argmin(self.smoothed)))

    def __repr__(self):
        tried = f"{self.learning_rates[0]:.3g} to {self.learning_rates[-1]:.3g}"
        found = "none" if self.suggestion is None else f"{self.suggestion:.3g}"
        return f"<LearningRateRange of {len(self.losses)} steps, from {tried}: suggestion {found}>"

    def plot(self, ax=None):
        """Draw the losses over the learning rate, on a logarithmic scale, and the suggestion.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; without it, in a new figure.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``ax`` is no Axes.
        """
        ax = axes_for("plot", ax)
        ax.plot(self.learning_rates, self.losses, color="0.8", label="loss of a batch")
        [line] = ax.plot(self.learning_rates, self.smoothed, label="smoothed")
        if self.suggestion is not None:
            place = int(np.searchsorted(self.learning_rates, self.suggestion))
            text = f"suggestion: {self.suggestion:.2g}"
            ax.plot(self.suggestion, self.smoothed[place], "o", color=line.get_color(), label=text)
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
        before = self.losses[: int(np.argmin(self.smoothed)) + 1]
        low, high = float(before.min()), float(before.max())
        if high > low:
            ax.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))  # where it diverges, it leaves the picture
        ax.legend(frameon=False)
        return ax


def lr_find(
    model: Sequential, x, y=None, batch_size: int | None = None, *, start: float = 1e-6, end: float = 10.0,
    steps: int = 100, smoothing: float = 0.9, sample_weight=None, class_weight: dict | None = None,
) -> LearningRateRange:  # fmt: skip
    """Find a learning rate: train for some steps with one that grows from step to step, and look at the losses.

    Behind it the model is as before, to the bit: parameters, the optimizer with its learning rate, states of stateful
    layers, what was measured, and all sources of randomness. A model that was not built is built.

    Parameters
    ----------
    x, y, batch_size, sample_weight, class_weight
        As in `fit`; an iterable is read for as many batches as there are steps.
    start, end : float, default 1e-6 and 10
        Learning rates of the first step and of the last.
    steps : int, default 100
        Fewer are made where the loss becomes 4 times its least value, or is no longer finite.
    smoothing : float, default 0.9
        Weight b of the moving average of losses; 0 for none.

    Returns
    -------
    LearningRateRange
        With ``learning_rates``, ``losses``, ``smoothed``, ``suggestion`` and ``plot()``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or there is no batch.
    RuntimeError
        If the model is not compiled, or a fit of it is under way.

    Notes
    -----
    Leslie N. Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3. Callbacks are not called.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm.layers import LSTM, Dense
    >>> from nblstm.models import Sequential
    >>> model = Sequential([LSTM(8, input_shape=(20, 1)), Dense(1)], seed=0)
    >>> model.compile("adam", "mse")
    >>> x = np.random.default_rng(0).normal(size=(256, 20, 1))
    >>> found = model.lr_find(x, x.mean(axis=1))
    >>> model.optimizer.learning_rate = found.suggestion
    """
    need_compiled(model, "lr_find")
    if model._fitting:
        raise RuntimeError("lr_find() is called while a fit of this model runs; call it before or behind that one")
    start = validate.number("start", start, 0, above=True)
    end = validate.number("end", end, start, above=True)
    steps = validate.whole_number("steps", steps, 2)
    smoothing = validate.probability("smoothing", smoothing)
    batches, _ = data.training_batches(model, x, y, sample_weight, class_weight, batch_size, None, True, 0.0)
    rates = np.geomspace(start, end, steps)
    losses = np.array(_losses(model, _endless(batches), rates, smoothing))
    if not losses.size:
        raise ValueError("lr_find got no batch with a finite loss; give data, and a smaller start")
    return LearningRateRange(rates[: losses.size], losses, smoothing)


@np.errstate(over="ignore", invalid="ignore")  # it trains until it diverges
def _losses(model: Sequential, batches: Iterator, rates: np.ndarray, smoothing: float) -> list[float]:
    """The loss of each step; then the model is as before."""
    optimizer: Any = model.optimizer
    losses: list[float] = []
    batch: Any = None if model.built else next(batches, None)  # of an iterable, the first tells the layers' parameters
    if not model.built:
        return losses
    prepare(model)
    with Interrupts() as interrupts, measured(model, whole=True) as objective:
        before, rate_before = model.state(), optimizer._learning_rate
        model._fitting = True
        try:
            for rate in rates:
                batch = next(batches, None) if batch is None else batch
                if batch is None:
                    break
                optimizer.learning_rate = _constant(float(rate))
                objective.reset()
                model.train_step(batch.x, batch.y, batch.weight, objective)
                loss, batch = float(objective.logs()["loss"]), None
                if not math.isfinite(loss):
                    break
                losses.append(loss)
                averages = [*_averages(losses, smoothing)]
                if averages[-1] > DIVERGED * abs(min(averages)):
                    break
        finally:
            interrupts.held = True
            optimizer._learning_rate, model._fitting = rate_before, False
            model.load_state(before)
            interrupts.release()
    return losses


def _constant(rate: float):
    """A learning rate in the place of a number or of a schedule."""
    return lambda step: rate


def _endless(batches) -> Iterator:
    """Batches of epoch after epoch, until one has none."""
    while True:
        empty = True
        for batch in batches.epoch():
            empty = False
            yield batch
        if empty:
            return


def _averages(losses, smoothing: float) -> Iterator[float]:
    """Exponential moving averages, each divided by the sum of its weights."""
    total = weights = 0.0
    for loss in losses:
        total, weights = smoothing * total + loss, smoothing * weights + 1.0
        yield total / weights


def _steepest(rates: np.ndarray, losses: np.ndarray, least: int) -> float | None:
    """The learning rate about which a line through the losses falls fastest, of lines that end at ``least`` or before.

    A line goes through a quarter of the losses up to there: those of a few batches fall and rise by chance.
    """
    window = max(3, (least + 1) // 4)
    if least + 1 < window:
        return None
    u = np.arange(window) - (window - 1) / 2
    slopes = np.correlate(losses[: least + 1], u, "valid")  # least squares, but for the factor 1 / sum(u**2)
    place = int(np.argmin(slopes))
    return float(rates[place + window // 2]) if slopes[place] < 0 else None

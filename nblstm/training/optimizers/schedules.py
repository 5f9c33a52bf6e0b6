"""Learning rates: schedules, each a function of the number of steps taken, and the number as an optimizer shows it."""

from __future__ import annotations

import math
import numbers
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from nblstm.arguments.configured import Configured, Registry
from nblstm.arguments.missing import explain_missing_names
from nblstm.arguments.validate import flag, number

__all__ = [
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay", "LearningRateSchedule",
    "PiecewiseConstantDecay", "PolynomialDecay", "get",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


#: A number, a schedule or other function of the step, or what a schedule was saved as.
LearningRateLike: TypeAlias = float | Callable[[int], float] | dict[str, Any]


class LearningRate(float):
    """The learning rate of an optimizer's next step: a number, with the methods of Keras's variable."""

    _optimizer: Any

    def assign(self, value: float) -> None:
        """Set the optimizer's learning rate."""
        self._optimizer.learning_rate = value

    def numpy(self) -> np.float64:
        """The number, as NumPy's."""
        return np.float64(self)

    def __reduce__(self):
        """For copies and pickle: a number alone."""
        return float, (float(self),)


class LearningRateSchedule(Configured):
    """A learning rate as a function of the step."""

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} has no equation; define __call__(step)")


SCHEDULES = Registry("schedule", LearningRateSchedule)


class _RateDecay(LearningRateSchedule):
    """Decay at a rate in ``step / decay_steps``, rounded down in a staircase."""

    def __init__(self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False):
        self.initial_learning_rate = number("initial_learning_rate", initial_learning_rate, 0)
        self.decay_steps = number("decay_steps", decay_steps, 0, above=True)
        self.decay_rate = number("decay_rate", decay_rate, 0)
        self.staircase = flag("staircase", staircase)

    def _times(self, step: int) -> float:
        times = step / self.decay_steps
        return math.floor(times) if self.staircase else times


@SCHEDULES.register()
class ExponentialDecay(_RateDecay):
    """``initial_learning_rate decay_rate**(step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : float
        Above 0.
    decay_rate : float
    staircase : bool, default False
        The exponent is rounded down.
    """

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.initial_learning_rate * self.decay_rate ** self._times(step)


@SCHEDULES.register()
class InverseTimeDecay(_RateDecay):
    """``initial_learning_rate / (1 + decay_rate step / decay_steps)``; arguments as of `ExponentialDecay`."""

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.initial_learning_rate / (1 + self.decay_rate * self._times(step))


@SCHEDULES.register()
class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[k]`` where ``boundaries[k - 1] < step <= boundaries[k]``.

    Parameters
    ----------
    boundaries : sequence of int
        Increasing.
    values : sequence of float
        One more than boundaries.
    """

    def __init__(self, boundaries, values) -> None:
        self.boundaries, self.values = tuple(boundaries), tuple(number("a value", value, 0) for value in values)
        if not all(isinstance(b, numbers.Integral) for b in self.boundaries):
            raise TypeError(f"boundaries has {self.boundaries}; give whole numbers of steps")
        if any(a >= b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"boundaries has {self.boundaries}; give them in increasing order")
        if not self.boundaries or len(self.values) != len(self.boundaries) + 1:
            came = f"{len(self.values)} values for {len(self.boundaries)} boundaries"
            raise ValueError(f"there are {came}; give at least one boundary, and one value more than boundaries")

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.values[bisect_left(self.boundaries, step)]


@SCHEDULES.register()
class PolynomialDecay(LearningRateSchedule):
    """``(initial - end) (1 - step / decay_steps)**power + end``, and ``end`` after decay_steps.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : float
        Above 0.
    end_learning_rate : float, default 0.0001
    power : float, default 1
    cycle : bool, default False
        Decay again beyond decay_steps, towards the next multiple of it.
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, end_learning_rate: float = 0.0001, power: float = 1.0,
        cycle: bool = False,
    ):  # fmt: skip
        self.initial_learning_rate = number("initial_learning_rate", initial_learning_rate, 0)
        self.decay_steps = number("decay_steps", decay_steps, 0, above=True)
        self.end_learning_rate = number("end_learning_rate", end_learning_rate, 0)
        self.power = number("power", power, 0)
        self.cycle = flag("cycle", cycle)

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        steps = self.decay_steps
        if self.cycle:
            steps *= max(1, math.ceil(step / steps))
        left = 1 - min(step, steps) / steps
        return (self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate


@SCHEDULES.register()
class CosineDecay(LearningRateSchedule):
    """Half a cosine wave from the initial learning rate down to ``alpha`` times it, after a linear warm-up.

    ::

        initial_learning_rate ((1 - alpha) (1 + cos(pi step / decay_steps)) / 2 + alpha)

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : float
        Above 0; the warm-up comes before them.
    alpha : float, default 0
    warmup_target : float, optional
        The learning rate rises to this one in ``warmup_steps`` steps and decays from it.
    warmup_steps : float, default 0

    References
    ----------
    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017; with its restarts:
    `CosineDecayRestarts`.
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, alpha: float = 0.0, *,
        warmup_target: float | None = None, warmup_steps: float = 0,
    ):  # fmt: skip
        self.initial_learning_rate = number("initial_learning_rate", initial_learning_rate, 0)
        self.decay_steps = number("decay_steps", decay_steps, 0, above=True)
        self.alpha = number("alpha", alpha, 0)
        self.warmup_target = None if warmup_target is None else number("warmup_target", warmup_target, 0)
        self.warmup_steps = number("warmup_steps", warmup_steps, 0)
        if self.warmup_steps and self.warmup_target is None:
            raise ValueError(f"warmup_steps is {warmup_steps} without a warmup_target; give both or none")

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        peak = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return peak + (self.warmup_target - peak) * step / self.warmup_steps
            peak = self.warmup_target
        done = min(step - self.warmup_steps, self.decay_steps) / self.decay_steps
        wave = 0.5 * (1 + math.cos(math.pi * done))
        return peak * ((1 - self.alpha) * wave + self.alpha)


@SCHEDULES.register()
class CosineDecayRestarts(LearningRateSchedule):
    """Half a cosine wave down to ``alpha`` times the learning rate, then another one, and so on.

    Wave i, counted from 0, takes ``first_decay_steps t_mul**i`` steps, and begins at
    ``initial_learning_rate ((1 - alpha) m_mul**i + alpha)``.

    Parameters
    ----------
    initial_learning_rate : float
    first_decay_steps : float
        Above 0.
    t_mul : float, default 2
        1 or more.
    m_mul : float, default 1
    alpha : float, default 0

    References
    ----------
    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.
    """

    def __init__(
        self, initial_learning_rate: float, first_decay_steps: float, t_mul: float = 2.0, m_mul: float = 1.0,
        alpha: float = 0.0,
    ):  # fmt: skip
        self.initial_learning_rate = number("initial_learning_rate", initial_learning_rate, 0)
        self.first_decay_steps = number("first_decay_steps", first_decay_steps, 0, above=True)
        self.t_mul = number("t_mul", t_mul, 1)
        self.m_mul = number("m_mul", m_mul, 0)
        self.alpha = number("alpha", alpha, 0)

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        length, restarts, done = self.first_decay_steps, 0.0, float(step)
        if self.t_mul == 1:
            restarts, done = divmod(done, length)
        while done >= length:
            done, length, restarts = done - length, length * self.t_mul, restarts + 1
        wave = 0.5 * (1 + math.cos(math.pi * done / length)) * self.m_mul**restarts
        return self.initial_learning_rate * ((1 - self.alpha) * wave + self.alpha)


def get(identifier) -> LearningRateSchedule:
    """The schedule that a configuration or an object stands for.

    Parameters
    ----------
    identifier : LearningRateSchedule or dict
        As ``{"class_name": "CosineDecay", "config": {...}}``, which an optimizer's `get_config` has in it.
    """
    return SCHEDULES.make(identifier)

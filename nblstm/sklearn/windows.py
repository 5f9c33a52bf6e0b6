"""Windows of series: origins, differences and their continuation, scales, and what a network reads and forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.sklearn.series import TimeSeries


@dataclass(frozen=True)
class Windowing:
    """Arguments of a forecaster that say what a window is, checked.

    Parameters
    ----------
    lags, horizon : int
    difference : tuple of int
    fraction : float
        The part at the end of each series on which the network is not trained; 0 for none.
    """

    lags: int
    horizon: int
    difference: tuple[int, ...]
    fraction: float

    @classmethod
    def of(cls, forecaster: Any) -> Windowing:
        """Windowing of a `RecurrentForecaster`."""
        given = () if forecaster.difference is None else forecaster.difference
        given = tuple(given) if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else (given,)
        fix, fraction = "give 1, a season, both as a tuple, or None", 0.0
        difference = tuple(validate.positive_integer("difference", each, fix) for each in given)
        lags = validate.positive_integer("lags", forecaster.lags)
        horizon = validate.positive_integer("horizon", forecaster.horizon)
        if validate.flag("early_stopping", forecaster.early_stopping):
            given = forecaster.validation_fraction
            fraction = validate.number("validation_fraction", given, 0, 1, above=True, below=True)
        return cls(lags, horizon, difference, fraction)

    @property
    def back(self) -> int:
        """Steps that a forecast needs before it."""
        return self.lags + sum(self.difference)

    @property
    def fewest(self) -> int:
        """Steps of the shortest series that has a window to train on."""
        T = int((self.back + self.horizon) / (1 - self.fraction))
        while self.end(T) < self.back + self.horizon:
            T += 1
        return T

    def end(self, T: int) -> int:
        """The first step of a series of T steps that is held out; T if none is."""
        return max(T - max(self.horizon, int(np.ceil(self.fraction * T))), 0) if self.fraction else T

    def check_lengths(self, lengths: list[int]) -> None:
        """Refuse series of which none has a window to train on, or one has too few steps to forecast behind it."""
        d = self.difference
        given = f"lags={self.lags}, horizon={self.horizon} and difference={d[0] if len(d) == 1 else d or None}"
        if max(lengths) < self.fewest:
            held_out = f" with validation_fraction={self.fraction:g}" if self.fraction else ""
            raise ValueError(
                f"y has {max(lengths)} steps; {given} need {self.fewest} or more{held_out}; give a longer series, "
                "fewer lags or a shorter horizon"
            )
        if min(lengths) < self.back:
            raise ValueError(
                f"y has a series of {min(lengths)} steps, and {given} need {self.back} in each; leave it out, or give "
                "fewer lags"
            )

    def origins(self, T: int) -> tuple[np.ndarray, np.ndarray]:
        """Last known steps of the windows to train on and of those held out, of a series of T steps.

        No window to train on has a target at ``end(T)`` or behind; those held out have all their targets there.
        """
        end, first = self.end(T), self.back - 1
        held_out = np.arange(max(end - 1, first), T - self.horizon) if self.fraction else np.arange(0)
        return np.arange(first, end - self.horizon), held_out


def differences(values: np.ndarray, difference: tuple[int, ...]) -> np.ndarray:
    """``w = (1 - B**d1) (1 - B**d2) ... y``, where B shifts by a step: values (..., T, K) to (..., T - sum(d), K)."""
    for d in difference:
        values = values[..., d:, :] - values[..., :-d, :]
    return values


def continuation(values: np.ndarray, difference: tuple[int, ...], horizon: int) -> np.ndarray:
    """The steps behind some values whose differences are 0: (..., T, K) to (..., H, K).

    It repeats the last value if ``difference`` is (1,), the last season if it is (12,); with (1, 12) the last season
    moved by the change since the season before. Without differences it is 0.
    """
    coefficients = np.ones(1)  # of the polynomial in B, 1 first
    for d in difference:
        coefficients = np.append(coefficients, np.zeros(d)) - np.append(np.zeros(d), coefficients)
    p = len(coefficients) - 1
    found = np.zeros((*values.shape[:-2], p + horizon, values.shape[-1]))
    if p:
        found[..., :p, :] = values[..., -p:, :]
    for h in range(p, p + horizon):  # y[t] = w[t] - sum over j >= 1 of coefficient j times y[t - j]
        for j in np.flatnonzero(coefficients[1:]) + 1:
            found[..., h, :] -= coefficients[j] * found[..., h - j, :]
    return found[..., p:, :]


@dataclass
class Scale:
    """Mean and standard deviation of the differences of one series, (K,) each."""

    center: np.ndarray
    unit: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, difference: tuple[int, ...]) -> Scale:
        """The scale of values (T, K); of a constant column it is 1."""
        w = differences(values, difference)
        unit = w.std(axis=0)
        return cls(w.mean(axis=0), np.where(unit > 1e-12 * np.abs(values).max(axis=0), unit, 1.0))

    def scaled(self, w: np.ndarray) -> np.ndarray:
        """Differences of mean 0 and standard deviation 1."""
        return (w - self.center) / self.unit


@dataclass
class Known:
    """A series as far as it is known, with its scaled columns and its scale.

    Parameters
    ----------
    series : TimeSeries
        Its values are (T, K).
    columns : ndarray, shape (T or more, P)
        Scaled columns that are known beyond the window.
    past_columns : ndarray, shape (T, R)
        Scaled columns that are known as far as the series.
    scale : Scale
    """

    series: TimeSeries
    columns: np.ndarray
    past_columns: np.ndarray
    scale: Scale

    def last(self, rows: int) -> Known:
        """The last steps, in memory of their own."""
        return Known(self.series.last(rows), self.columns[-rows:].copy(), self.past_columns[-rows:].copy(), self.scale)

    def inputs(self, at: np.ndarray, lags: int, horizon: int, difference: tuple[int, ...]) -> np.ndarray:
        """Inputs of the network at origins, the last known steps, as float32.

        Returns
        -------
        ndarray, shape (N, lags, K + R), or (N, lags + H, K + R + P + 1)
            With ``columns``, steps of the horizon follow: 0 where nothing is known, and 1 in a last column, which tells
            them.
        """
        w = self.scale.scaled(differences(self._past(at, lags, difference), difference))
        back, K, R = at[:, None] - np.arange(lags)[::-1], w.shape[2], self.past_columns.shape[1]
        beyond = horizon if self.columns.shape[1] else 0
        whole = np.zeros((len(at), lags + beyond, K + R + (self.columns.shape[1] + 1 if beyond else 0)), np.float32)
        with np.errstate(over="ignore"):
            whole[:, :lags, :K], whole[:, :lags, K : K + R] = w, self.past_columns[back]
            if beyond:
                whole[:, :, K + R : -1] = self.columns[at[:, None] + np.arange(1 - lags, horizon + 1)]
                whole[:, lags:, -1] = 1
        if not np.isfinite(whole).all():
            raise ValueError(
                "the history, X or past_X has numbers that are beyond float32 in units of their scale in fit; give "
                "such as were fitted on, or fit anew"
            )
        return whole

    def start(self, at: np.ndarray, horizon: int, difference: tuple[int, ...]) -> np.ndarray:
        """The forecasts that the network corrects, (N, H, K): the `continuation`, or without differences the mean."""
        if not difference:
            return np.broadcast_to(self.scale.center, (len(at), horizon, len(self.scale.center)))
        return continuation(self._past(at, 0, difference), difference, horizon)

    def corrections(self, at: np.ndarray, horizon: int, difference: tuple[int, ...]) -> np.ndarray:
        """The corrections that make these right, in units of the scale, (N, H, K)."""
        actual = self.series.values[at[:, None] + np.arange(1, horizon + 1)]
        return (actual - self.start(at, horizon, difference)) / self.scale.unit

    def _past(self, at: np.ndarray, lags: int, difference: tuple[int, ...]) -> np.ndarray:
        return self.series.values[at[:, None] - np.arange(lags + sum(difference))[::-1]]


def widening(residuals: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Distances by which quantiles are moved outwards, so that they hold on data that was kept back.

    Parameters
    ----------
    residuals : ndarray, shape (N, H, K, Q)
        ``actual - quantile``.
    levels : tuple of float
        The Q quantiles.

    Returns
    -------
    ndarray, shape (H, K, Q)
        For q above 0.5 the ``floor((N + 1) (1 - q))``-th largest residual if it is above 0; for q below 0.5 likewise
        the smallest ones, if below 0; else 0.
    """
    ranked, N = np.sort(residuals, axis=0), len(residuals)
    found = np.zeros(residuals.shape[1:])
    for k, q in enumerate(levels):
        place = max(int((N + 1) * min(q, 1 - q) + 1e-9), 1)
        if q < 0.5:
            found[..., k] = np.minimum(ranked[place - 1, ..., k], 0)
        elif q > 0.5:
            found[..., k] = np.maximum(ranked[N - place, ..., k], 0)
    return found

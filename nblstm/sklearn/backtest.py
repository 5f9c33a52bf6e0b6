"""Backtests: forecasts from rolling origins, beside what came and naive forecasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from nblstm.arguments import validate
from nblstm.sklearn.quantiles import intervals
from nblstm.sklearn.series import TimeSeries
from nblstm.sklearn.windows import continuation


@dataclass(repr=False, eq=False)
class Backtest:
    """Forecasts from O origins, H steps each, of a series that is known as it went on.

    Shapes are those of one series given as (T,). Of (T, K), arrays have a last axis K (``quantiles``: before Q); of a
    list of N series a first axis N.

    Parameters
    ----------
    known : ndarray of int, shape (O,)
        Steps known at each origin: the first forecast is for the step of this number.
    forecasts, actuals : ndarray, shape (O, H)
    quantiles : ndarray, shape (O, H, Q), or None
    levels : tuple of float
        The Q levels of ``quantiles``.
    baselines : dict of str to ndarray, shape (O, H)
        Naive forecasts by name; others of this shape that are added here are compared too.
    fits : int
        Trainings that took place.
    labels : list of pandas.Index or None
        The index of each series.
    names : list
        Of the K columns.
    flat : bool
        Whether the series were given as (T,).

    Examples
    --------
    ``print(result)`` prints errors and coverage by horizon; see `RecurrentForecaster.backtest`.
    """

    known: np.ndarray
    forecasts: np.ndarray
    actuals: np.ndarray
    quantiles: np.ndarray | None
    levels: tuple[float, ...]
    baselines: dict[str, np.ndarray]
    fits: int
    labels: list
    names: list
    flat: bool

    def errors(self, measure: str = "mae") -> dict[str, np.ndarray]:
        """Errors by horizon, (H,) each, of the forecaster ("forecast") and of each baseline.

        Parameters
        ----------
        measure : {"mae", "rmse", "bias"}
            Of ``e = forecast - actual`` the mean of abs(e), the root of the mean of e**2, or the mean.
        """
        validate.choice("measure", measure, ("mae", "rmse", "bias"))
        found = {}
        for name, forecasts in {"forecast": self.forecasts, **self.baselines}.items():
            e = forecasts - self.actuals
            if measure == "rmse":
                found[name] = np.sqrt(self._by_horizon(e**2))
            else:
                found[name] = self._by_horizon(np.abs(e) if measure == "mae" else e)
        return found

    def coverage(self) -> dict[float, np.ndarray]:
        """The share of actual values inside each interval, by horizon (H,); keys are the shares that were asked for."""
        found = {}
        for share, (low, high) in intervals(self.levels).items():
            assert self.quantiles is not None
            inside = (self.quantiles[..., low] <= self.actuals) & (self.actuals <= self.quantiles[..., high])
            found[share] = self._by_horizon(inside)
        return found

    def to_frame(self):
        """A pandas DataFrame with a row for each forecast.

        Its columns are series and column (where there are several), known, horizon, label (of an index), actual,
        forecast, the quantiles and the baselines.
        """
        import pandas

        whole = self.forecasts.shape if not self.flat else (*self.forecasts.shape, 1)
        whole = whole if len(whole) == 4 else (1, *whole)
        n, o, h, k = (axis.ravel() for axis in np.indices(whole))
        known = self.known.reshape(whole[:2])[n, o]
        table: dict[Any, Any] = {"series": n} if self.known.ndim == 2 else {}
        table |= {} if self.flat else {"column": [self.names[column] for column in k]}
        table |= {"known": known, "horizon": h + 1}
        if any(index is not None for index in self.labels):
            rows = zip((self.labels[i] for i in n), known + h, strict=True)
            table["label"] = [None if index is None else index[row] for index, row in rows]
        table |= {"actual": self.actuals.ravel(), "forecast": self.forecasts.ravel()}
        if self.quantiles is not None:
            table |= dict(zip(self.levels, self.quantiles.reshape(-1, len(self.levels)).T, strict=True))
        return pandas.DataFrame(table | {name: values.ravel() for name, values in self.baselines.items()})

    def __str__(self) -> str:
        """Return a table of mean absolute errors and coverage: twelve horizons at most, and the mean of all."""
        errors, shares = self.errors(), self.coverage()
        columns = [(name, each, "{:.4g}") for name, each in errors.items()]
        columns += [(f"in {share:.0%} interval", each, "{:.0%}") for share, each in shares.items()]
        H = len(errors["forecast"])
        table = [["steps ahead", *(name for name, _, _ in columns)]]
        for h in np.unique(np.linspace(0, H - 1, min(H, 12)).round().astype(int)):
            table.append([str(h + 1), *(form.format(each[h]) for _, each, form in columns)])
        table.append(["all", *(form.format(each.mean()) for _, each, form in columns)])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        fits = f"{self.fits} fit{'s' * (self.fits > 1)}"
        return "\n".join([f"Mean absolute error from {self.known.shape[-1]} origins, {fits}", "", *lines])

    __repr__ = __str__  # which a notebook shows

    def _by_horizon(self, values: np.ndarray) -> np.ndarray:
        axis = values.ndim - (1 if self.flat else 2)
        return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).mean(axis=1)


def rolling(
    forecaster: Any, series: list[TimeSeries], several: bool, X: list | None, past_X: list | None,
    known: np.ndarray, every: int, naive: dict[str, np.ndarray],
) -> Backtest:  # fmt: skip
    """Forecast by copies of a forecaster, each fitted on what was known.

    Parameters
    ----------
    forecaster : RecurrentForecaster
    series : list of N TimeSeries
    several : bool
        Whether a list was given.
    X, past_X : list of ndarray, shape (T, P)
        Of each series; or None.
    known : ndarray of int, shape (N, O)
        Steps of each series that are known at each origin.
    every : int
        Origins from one fit to the next.
    naive : dict
        See `baselines`.
    """
    H, outputs, fits = forecaster.horizon, [], 0

    def first(rows: list | None, at: np.ndarray, more: int = 0):
        cut = None if rows is None else [each[: k + more] for each, k in zip(rows, at, strict=True)]
        return cut if several or cut is None else cut[0]

    values = [one.values for one in series]
    for o, at in enumerate(known.T):
        if o % every == 0:
            fitted, fits = clone(forecaster), fits + 1
            fitted.fit(first(values, at), first(X, at), first(past_X, at))
        levels = None if fitted.quantiles_ is None else tuple(fitted.quantiles_.tolist())
        forecast = fitted.predict if levels is None else fitted.predict_quantiles
        found = forecast(H, first(X, at, H), history=first(values, at), past_X=first(past_X, at))
        outputs.append(np.array(found if several else [found]))
    found = np.stack(outputs, axis=1)  # (N, O, H, K), and quantiles
    actuals = np.array([[one[k : k + H] for k in at] for one, at in zip(values, known, strict=True)])
    flat = series[0].flat

    def as_given(array: np.ndarray) -> np.ndarray:
        array = array[:, :, :, 0] if flat else array
        return array if several else array[0]

    return Backtest(
        known if several else known[0], as_given(found if levels is None else found[..., levels.index(0.5)]),
        as_given(actuals), None if levels is None else as_given(found), levels or (),
        {name: as_given(array) for name, array in naive.items()}, fits,
        [one.index for one in series], list(_names(series[0])), flat,
    )  # fmt: skip


def _names(series: TimeSeries):
    return range(series.values.shape[1]) if series.flat or series.names is None else series.names


def baselines(
    series: list[TimeSeries], known: np.ndarray, horizon: int, season: int, difference: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Naive forecasts by name, (N, O, H, K) each."""

    def of(forecast: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.array([[forecast(one.values[:k]) for k in at] for one, at in zip(series, known, strict=True)])

    found = {"naive": of(lambda values: continuation(values, (1,), horizon))}
    if season > 1:
        found[f"seasonal naive ({season})"] = of(lambda values: continuation(values, (season,), horizon))
    if len(difference) > 1:
        found[f"continued {difference}"] = of(lambda values: continuation(values, difference, horizon))
    return found

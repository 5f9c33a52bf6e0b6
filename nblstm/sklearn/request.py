"""The series behind which a fitted forecaster is asked to forecast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nblstm.arguments import validate
from nblstm.sklearn.columns import Columns, as_tables
from nblstm.sklearn.horizon_model import HorizonModel
from nblstm.sklearn.series import follow, read_series
from nblstm.sklearn.windows import Known, Scale


@dataclass
class Request:
    """Series as far as they are known, with the labels of what is forecast.

    Parameters
    ----------
    known : list of N Known
    horizon : int
    labels : list of pandas.Index or None
        Of the steps that are forecast, for each series.
    several : bool
        Whether they came as a list.
    """

    known: list[Known]
    horizon: int
    labels: list
    several: bool

    def labelled(self, values: np.ndarray, kind: str | None = None, last=None):
        """Values of all series (N, H, K), or (N, H, K, Q), as objects of the kinds that the series had."""
        found = [
            each.series.labelled(rows, labels, kind, last)
            for each, rows, labels in zip(self.known, values, self.labels, strict=True)
        ]
        return found if self.several else found[0]


@dataclass
class Fitted:
    """Data of a fit, as far as forecasts need it.

    Parameters
    ----------
    network : HorizonModel
    known : list of Known
        The ends of the series.
    several : bool
        Whether they came as a list; else the scale of later histories is that of the fit.
    columns, past_columns : Columns
        Of X and of past_X.
    """

    network: HorizonModel
    known: list[Known]
    several: bool
    columns: Columns
    past_columns: Columns

    def request(self, horizon, X, history, past_X) -> Request:
        """The series behind which to forecast, checked; for arguments see `RecurrentForecaster.predict`."""
        most = self.network.horizon
        if np.ndim(horizon):
            raise TypeError(
                f"horizon is of type {type(horizon).__name__}; give a number of steps first, and data by name, as X= "
                "or history="
            )
        steps = most if horizon is None else validate.positive_integer("horizon", horizon)
        if steps > most:
            raise ValueError(f"horizon is {steps}, and the forecaster was fitted for {most} steps; fit it for {steps}")
        if history is None and past_X is not None:
            raise ValueError("past_X is given without history; give both, or neither, to go on behind the fit")
        return self._behind_the_fit(steps, X) if history is None else self._behind(steps, X, history, past_X)

    def _behind_the_fit(self, horizon: int, X) -> Request:
        series = [one.series for one in self.known]
        labels = _labels(series, horizon)
        rows = self.columns.of_series(as_tables("X", X, series, self.several), labels, [horizon] * len(series))
        known = [
            Known(one.series, np.concatenate([one.columns, self.columns.scaled(more)]), one.past_columns, one.scale)
            for one, more in zip(self.known, rows, strict=True)
        ]
        return Request(known, horizon, labels, self.several)

    def _behind(self, horizon: int, X, history, past_X) -> Request:
        series, several = read_series("history", history)
        K, lengths = self.known[0].series.values.shape[1], [len(one) for one in series]
        difference = self.network.difference
        least = self.network.lags + sum(difference)
        if series[0].values.shape[1] != K:
            raise ValueError(f"history has {series[0].values.shape[1]} columns, and y in fit had {K}; give as many")
        series = [one.ordered("history", self.known[0].series) for one in series]
        if min(lengths) < least:
            raise ValueError(f"history has {min(lengths)} steps; give {least} or more, for lags and differences")
        labels, index = _labels(series, horizon), [one.index for one in series]
        whole = [None if old is None else old.append(new) for old, new in zip(index, labels, strict=True)]
        rows = self.columns.of_series(as_tables("X", X, series, several), whole, [T + horizon for T in lengths])
        past = self.past_columns.of_series(as_tables("past_X", past_X, series, several), index, lengths)
        known = [
            Known(one, self.columns.scaled(x), self.past_columns.scaled(before), self._scale(one.values))
            for one, x, before in zip(series, rows, past, strict=True)
        ]
        return Request(known, horizon, labels, several)

    def _scale(self, values: np.ndarray) -> Scale:
        return Scale.of(values, self.network.difference) if self.several else self.known[0].scale


def _labels(series: list, horizon: int) -> list:
    return [None if one.index is None else follow("y", one.index, horizon) for one in series]

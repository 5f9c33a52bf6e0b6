"""Forecasts of one or several series by a recurrent network, with prediction intervals."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from nblstm.arguments import validate
from nblstm.sklearn.backtest import Backtest, baselines, rolling
from nblstm.sklearn.columns import Columns, as_tables, measured_columns
from nblstm.sklearn.horizon_model import HorizonModel
from nblstm.sklearn.networks import LEARNING_RATE
from nblstm.sklearn.quantiles import checked_quantiles, interval, intervals
from nblstm.sklearn.request import Fitted, Request
from nblstm.sklearn.series import read_series
from nblstm.sklearn.windows import Known, Scale, Windowing


class RecurrentForecaster(BaseEstimator):
    """Forecast series by a recurrent network that reads the last steps and gives all steps of the horizon at once.

    Parameters
    ----------
    lags : int, default 24
        Steps that the network reads (L), best a season or more.
    horizon : int, default 12
        Steps ahead that it forecasts (H).
    quantiles : sequence of float, or None, default (0.1, 0.5, 0.9)
        What is forecast: quantiles, by the pinball loss; `predict` gives the median, which is added if missing. With
        None it is the mean, by the squared error, and there are no intervals.
    difference : int, sequence of int, or None, default 1
        Differences that are taken of the series before and added again behind. 1 is for series that wander or grow;
        12 for months of which the next year is like the last one; (1, 12) for both; None for series that
        return to a mean.
    cell : str or Cell, default "lstm"
    hidden_size : int, default 32
    num_layers : int, default 1
    bidirectional : bool, default False
    dropout : float, default 0
        Behind each recurrent layer, in training. These five are as in `RecurrentRegressor`.
    optimizer : str or Optimizer, default "adam"
    learning_rate : float, default 3e-3
        Of an optimizer given by its name.
    batch_size : int, default 32
    max_epochs : int, default 200
    early_stopping : bool, default True
        Whether the last part of each series is kept back from training. Training ends when the loss there improves no
        more, with the parameters of the best epoch; and intervals are widened by as much as they miss there.
    validation_fraction : float, default 0.15
        This part, of the steps of each series; at least the horizon.
    n_iter_no_change : int, default 20
        Epochs without improvement after which training ends.
    tol : float, default 0
        An improvement of the loss that is not larger is none.
    callbacks : list of Callback, optional
        Of `nblstm.callbacks`.
    verbose : int, default 0
        As in `Sequential.fit`.
    random_state : int, RandomState or None
        Fixes initial weights, the order of windows, and dropout.
    model : Sequential or callable, optional
        The network instead, as in `RecurrentRegressor`: ``model(features, outputs)`` makes it, for inputs and outputs
        of the shapes below.

    Attributes
    ----------
    model_ : Sequential
        The network.
    n_iter_ : int
        Epochs of training.
    loss_curve_ : list of float
        The loss of each epoch, in training.
    validation_loss_curve_ : list of float, or None
        That on the last part; None without early stopping.
    quantiles_ : ndarray of float, shape (Q,), or None
    widening_ : ndarray, shape (H, K, Q)
        Added to the quantiles of the standardised network outputs, 0 without early stopping.

    Notes
    -----
    Of a series y (T, K) with differences d, the network reads at origin t, after step t, the L scaled differences
    before it::

        w = (1 - B^d1) (1 - B^d2) ... y,    B y[t] = y[t-1]
        x[i] = (w[t-L+1+i] - mean(w)) / std(w),    i = 0 .. L-1                  (windows, L, K + R)
        z = Dense(H K Q)(recurrent(x))                                           (windows, H, K, Q)
        y[t+h] = start[t, h] + std(w) (m[h] + s[h] z[h]),    h = 1 .. H

    ``start`` continues y with w = 0: the last value for d = 1, the last season for d = 12. m and s are mean and
    standard deviation of what is to be added in training, by horizon. mean(w) and std(w) belong to a series: where
    the forecaster was fitted on a single one, to that; where on several, to each, and of a history that is given
    later they are taken from it. R columns of ``past_X`` stand beside w.

    With P columns of ``X`` the network goes on over the steps of the horizon, where w is 0 and X is known, and has an
    output at each: (windows, L + H, K + R + P + 1) to (windows, H, K Q). The last input is 1 on the horizon.

    No window of training reaches into the last part, and scales are of the rows before it. Quantiles of all horizons
    are sorted, so that they do not cross [2]_; they are moved outwards by what was missing on the last part, a
    conformal correction that only widens [3]_.

    References
    ----------
    .. [1] R. Wen et al., "A multi-horizon quantile recurrent forecaster", 2017, arXiv:1711.11053.
    .. [2] V. Chernozhukov, I. Fernandez-Val and A. Galichon, "Quantile and probability curves without crossing",
       Econometrica 78, 2010.
    .. [3] Y. Romano, E. Patterson and E. Candes, "Conformalized quantile regression", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm.sklearn import RecurrentForecaster
    >>> y = np.sin(np.arange(200) * 2 * np.pi / 12)
    >>> forecaster = RecurrentForecaster(lags=24, horizon=6, max_epochs=5, random_state=0).fit(y)
    >>> forecaster.predict(6).shape
    (6,)
    >>> forecaster.predict_interval(6, coverage=0.8).shape
    (6, 2)
    >>> forecaster.predict(3, history=y[:100]).shape
    (3,)
    """

    def __init__(
        self, lags=24, horizon=12, *, quantiles=(0.1, 0.5, 0.9), difference=1, cell="lstm", hidden_size=32,
        num_layers=1, bidirectional=False, dropout=0.0, optimizer="adam", learning_rate=LEARNING_RATE, batch_size=32,
        max_epochs=200, early_stopping=True, validation_fraction=0.15, n_iter_no_change=20, tol=0.0, callbacks=None,
        verbose=0, random_state=None, model=None,
    ):  # fmt: skip
        self.lags = lags
        self.horizon = horizon
        self.quantiles = quantiles
        self.difference = difference
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state
        self.model = model

    def fit(self, y, X=None, past_X=None):
        """Train on one or several series.

        Parameters
        ----------
        y : array_like, shape (T,) or (T, K), Series, DataFrame, or list of these
            A series of T steps, of one or K columns; or several series, which may have different lengths, for one
            network that serves all of them. An index of pandas is continued by forecasts, so it has a frequency, or
            whole numbers at one distance.
        X : array_like, shape (T, P) or (T,), DataFrame, Series, or list with one for each series
            Columns that will be known over the horizon too, such as holidays, prices or weather forecasts. Rows of
            pandas objects are found by the labels of y, if it has an index.
        past_X : likewise, of R columns
            Columns that are known no longer than y, such as other measurements.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, has NaN or infinity, or the series are too short.
        """
        windowing = Windowing.of(self)
        quantiles = None if self.quantiles is None else tuple(checked_quantiles(self.quantiles).tolist())
        series, several = read_series("y", y)
        lengths, d = [len(one) for one in series], windowing.difference
        windowing.check_lengths(lengths)
        # Scales are of the rows before what is held out; a series that is short takes as many as it needs for one.
        ends = [windowing.end(T) for T in lengths]
        columns, X = measured_columns("X", X, series, several, ends)
        past_columns, past_X = measured_columns("past_X", past_X, series, several, ends)
        scales = [Scale.of(one.values[: max(end, sum(d) + 2)], d) for one, end in zip(series, ends, strict=True)]
        known = [Known(*each) for each in zip(series, X, past_X, scales, strict=True)]
        found = HorizonModel(self, known, windowing, quantiles)
        self.model_, self.widening_ = found.model, found.widening
        self.quantiles_ = None if quantiles is None else np.array(quantiles)
        self.loss_curve_ = found.log.get("loss", [])  # empty if it was interrupted in the first epoch
        self.validation_loss_curve_ = found.log.get("val_loss", []) if windowing.fraction else None
        self.n_iter_ = len(self.loss_curve_)
        self._fitted = Fitted(found, [each.last(windowing.back) for each in known], several, columns, past_columns)
        return self

    def predict(self, horizon=None, X=None, *, history=None, past_X=None):
        """Forecast the next steps: medians, or means if ``quantiles`` is None.

        Parameters
        ----------
        horizon : int, optional
            Steps, up to the forecaster's horizon, which is the default (H).
        X : as in `fit`
            If fitted with X: its rows over the horizon; with ``history`` those of its T steps, then those of the
            horizon. Rows of pandas objects are found by their labels, so they may be more.
        history : as y in `fit`, optional
            Series behind whose ends the forecasts begin, instead of those of the fit: these at a later time, say, or
            other ones. At least ``lags`` steps and those that differences take.
        past_X : as in `fit`
            If fitted with past_X: its rows of the history.

        Returns
        -------
        ndarray, shape (H,) or (H, K), Series or DataFrame, or list of these
            As the series came; those of pandas with the index continued.
        """
        check_is_fitted(self)
        request, forecasts = self._forecasts(horizon, X, history, past_X)
        return request.labelled(forecasts[..., 0 if self.quantiles_ is None else self._levels().index(0.5)])

    def predict_quantiles(self, horizon=None, X=None, *, history=None, past_X=None):
        """Forecast all quantiles, ``quantiles_``.

        Parameters
        ----------
        horizon, X, history, past_X
            As in `predict`.

        Returns
        -------
        ndarray, shape (H, Q) or (H, K, Q), or DataFrame, or list of these
            Quantiles are the columns of the DataFrame; if the series has columns, below each of them.
        """
        levels = self._levels()
        request, forecasts = self._forecasts(horizon, X, history, past_X)
        return request.labelled(forecasts, "quantile", levels)

    def predict_interval(self, horizon=None, X=None, *, coverage=None, history=None, past_X=None):
        """Forecast the bounds between which values will lie with a given probability.

        Parameters
        ----------
        coverage : float, optional
            Such as 0.8, between the quantiles 0.1 and 0.9, which are to be among ``quantiles``; by default that of
            the outermost ones.
        horizon, X, history, past_X
            As in `predict`.

        Returns
        -------
        ndarray, shape (H, 2) or (H, K, 2), or DataFrame, or list of these
            The lower and the upper bound; "lower" and "upper" are columns of the DataFrame, or stand below each.
        """
        pairs = intervals(levels := self._levels())
        if not pairs:
            raise ValueError(
                f"quantiles {levels} have no pair with an interval between; fit with such as (0.1, 0.5, 0.9)"
            )
        ends = list(next(iter(pairs.values()))) if coverage is None else interval(levels, coverage)
        request, forecasts = self._forecasts(horizon, X, history, past_X)
        return request.labelled(forecasts[..., ends], "bound", ["lower", "upper"])

    def backtest(self, y, X=None, past_X=None, *, origins=10, stride=1, refit=False, season=None) -> Backtest:
        """Forecast from rolling origins in the last part of series, as if what follows were unknown.

        The forecaster itself stays as it is; copies of it are fitted, each on what was known.

        Parameters
        ----------
        y, X, past_X
            As in `fit`.
        origins : int, default 10
            Number of origins (O). The last one has the horizon behind it.
        stride : int, default 1
            Steps from an origin to the next.
        refit : bool or int, default False
            Whether to fit at each origin, or at every so many; else at the first one alone.
        season : int, optional
            Steps of a season, for the seasonal naive forecast; by default the largest one in ``difference``.

        Returns
        -------
        Backtest
            Forecasts, actual values, errors by horizon and coverage of the intervals; beside those of the naive
            forecasts: "naive" repeats the last value, "seasonal naive" the last season, and with several differences
            "continued" is what the network corrects.
        """
        windowing = Windowing.of(self)
        H, d = windowing.horizon, windowing.difference
        series, several = read_series("y", y)
        O, stride = validate.positive_integer("origins", origins), validate.positive_integer("stride", stride)
        every = validate.whole_number("refit", int(refit) if isinstance(refit, bool | np.bool_) else refit) or O
        season = max((*d, 1)) if season is None else validate.positive_integer("season", season)
        index, lengths = [one.index for one in series], [len(one) for one in series]

        def rows(name: str, given) -> list[np.ndarray] | None:
            tables = as_tables(name, given, series, several)
            return None if tables is None else Columns.of(name, tables).of_series(tables, index, lengths)

        X, past_X = rows("X", X), rows("past_X", past_X)
        back, needed = H + stride * (O - 1), max(windowing.fewest, season)
        if min(lengths) - back < needed:
            raise ValueError(
                f"y has a series of {min(lengths)} steps; {O} origins at a stride of {stride} need {back} and {needed} "
                "before; give a longer series or fewer origins"
            )
        known = np.array([T - H - stride * np.arange(O)[::-1] for T in lengths])
        return rolling(self, series, several, X, past_X, known, every, baselines(series, known, H, season, d))

    def _forecasts(self, horizon, X, history, past_X) -> tuple[Request, np.ndarray]:
        """The request of these arguments, and its forecasts (N, H, K, Q)."""
        request = self._fitted.request(horizon, X, history, past_X)
        return request, self._fitted.network.forecasts(request.known, request.horizon)

    def _levels(self) -> tuple[float, ...]:
        check_is_fitted(self)
        if self.quantiles_ is None:
            raise ValueError("quantiles is None, so no quantiles were fitted; give such as quantiles=(0.1, 0.5, 0.9)")
        return tuple(self.quantiles_.tolist())

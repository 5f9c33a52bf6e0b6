"""Forecasting libraries of others, with `RecurrentRegressor` as the regressor of their windows.

Its tables (N, T) are sequences of one channel, so columns are to be in the order of time, the oldest first. darts and
sktime have them so; mlforecast has them as its ``lags`` are listed.
"""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='needs scikit-learn, the extra "sklearn"')

from nblstm.sklearn import RecurrentRegressor

T, H, LAGS = 132, 12, 24
TIME = np.arange(T + H)
SERIES = np.sin(TIME * np.pi / 6) + 0.5 * np.sin(TIME * np.pi / 3)

#: Warnings of these libraries are theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


class WindowsSeen(RecurrentRegressor):
    """Checks the windows that it gets: (N, T) in the order of time, with the step behind it as the target."""

    def fit(self, X, y, sample_weight=None):
        windows = np.asarray(X)
        assert windows.shape[1] == LAGS
        np.testing.assert_allclose(windows[1:, :-1], windows[:-1, 1:])  # the next window is a step later
        np.testing.assert_allclose(np.reshape(y, (len(y), -1))[:-1, 0], windows[1:, -1])
        return super().fit(X, y, sample_weight)


def regressor():
    return WindowsSeen(hidden_size=16, learning_rate=0.01, max_epochs=40, random_state=0)


def check(forecast):
    """Better than half of what is wrong with the naive forecast, which repeats the last value."""
    actual = SERIES[T:]
    error, naive = np.abs(np.ravel(forecast) - actual).mean(), np.abs(SERIES[T - 1] - actual).mean()
    assert error < naive / 2, (error, naive)


def imported(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"needs {name.partition('.')[0]}, which is tried where it is installed")


@pytest.mark.parametrize("chunk", [1, H])
def test_darts(chunk):
    """Recursively step by step, or the whole horizon as outputs of one network."""
    darts, models = imported("darts"), imported("darts.models")
    model = models.SKLearnModel(lags=LAGS, model=regressor(), output_chunk_length=chunk)
    model.fit(darts.TimeSeries.from_values(SERIES[:T]))
    check(model.predict(H).values())


@pytest.mark.parametrize("strategy", ["recursive", "multioutput"])
def test_sktime(strategy):
    """Its regressors for time series would get (N, 1, T); an estimator of scikit-learn gets tables (N, T)."""
    pandas, compose = pytest.importorskip("pandas"), imported("sktime.forecasting.compose")
    forecaster = compose.make_reduction(regressor(), window_length=LAGS, strategy=strategy)
    check(forecaster.fit(pandas.Series(SERIES[:T]), fh=np.arange(1, H + 1)).predict())


def test_mlforecast():
    """Its columns are in the order of ``lags``."""
    pandas, mlforecast = pytest.importorskip("pandas"), imported("mlforecast")
    days = pandas.date_range("2020-01-01", periods=T, freq="D")
    table = pandas.DataFrame({"unique_id": "a", "ds": days, "y": SERIES[:T]})
    forecast = mlforecast.MLForecast({"lstm": regressor()}, freq="D", lags=range(LAGS, 0, -1))
    check(forecast.fit(table).predict(H)["lstm"])

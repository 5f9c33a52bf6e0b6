"""`RecurrentForecaster`: windows against plain NumPy, kinds of series and their indexes, intervals, leaks, errors."""

import pickle
import re

import numpy as np
import pytest
from messages import message_of

pytest.importorskip("sklearn", reason='needs scikit-learn, the extra "sklearn"')

from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import nblstm
from nblstm.callbacks import Callback, CSVLogger
from nblstm.layers import GRU, Dense
from nblstm.models import Sequential
from nblstm.optimizers import Adam
from nblstm.sklearn import RecurrentForecaster
from nblstm.sklearn.columns import Columns
from nblstm.sklearn.series import TimeSeries, follow
from nblstm.sklearn.windows import Known, Scale, continuation, differences, widening

RANDOM = np.random.default_rng(0)
WALK = RANDOM.normal(size=(90, 2)).cumsum(axis=0)
RANDOM_COLUMNS = RANDOM.normal(size=(90, 3))


def forecaster(**changes):
    """One that is small and quick."""
    small = {"lags": 8, "horizon": 3, "hidden_size": 4, "max_epochs": 2, "random_state": 0}
    return RecurrentForecaster(**small | changes)


# ---- differences and windows, by loops ----


@pytest.mark.parametrize("difference", [(1,), (4,), (1, 4), (1, 1), (2, 3, 1)])
def test_a_continuation_has_differences_of_zero(difference):
    ahead = continuation(WALK, difference, 11)
    whole = np.concatenate([WALK, ahead])
    np.testing.assert_allclose(differences(whole, difference)[-11:], 0, atol=1e-9)


def test_continuations_that_have_names():
    y, h = WALK[:, :1], np.arange(10)
    np.testing.assert_array_equal(continuation(y, (1,), 10), np.repeat(y[-1:], 10, axis=0))
    np.testing.assert_array_equal(continuation(y, (4,), 10), y[len(y) - 4 + h % 4])
    drift = y[-1] - y[-5]
    np.testing.assert_allclose(continuation(y, (1, 4), 10), y[len(y) - 4 + h % 4] + drift * (h // 4 + 1)[:, None])
    assert not continuation(y, (), 10).any()


@pytest.mark.parametrize("difference", [(), (1,), (1, 4)])
@pytest.mark.parametrize(("P", "R"), [(0, 0), (0, 2), (3, 0), (2, 1)])
def test_windows(difference, P, R):
    """Each number of inputs, and of what is to be added to the start, by the formulas of the class."""
    lags, H, T = 5, 3, 30
    y, X, past = WALK[:T], RANDOM.normal(size=(T, P)), RANDOM.normal(size=(T, R))
    known, at = Known(TimeSeries(y, False), X, past, Scale.of(y, difference)), np.array([11, 12, 20])
    x, right = known.inputs(at, lags, H, difference), known.corrections(at, H, difference)

    w = y
    for d in difference:
        w = w[d:] - w[:-d]
    center, unit = w.mean(axis=0), w.std(axis=0)
    w = np.concatenate([np.full((sum(difference), 2), np.nan), (w - center) / unit])
    assert x.shape == (3, lags + (H if P else 0), 2 + R + (P + 1 if P else 0))
    assert x.dtype == np.float32
    for n, t in enumerate(at):
        for i in range(lags):
            row = np.concatenate([w[t - lags + 1 + i], past[t - lags + 1 + i], X[t - lags + 1 + i], [0.0] * bool(P)])
            np.testing.assert_allclose(x[n, i], row, rtol=1e-6, atol=1e-6)
        for h in range(H):
            start = continuation(y[: t + 1], difference, H)[h] if difference else center
            np.testing.assert_allclose(start + unit * right[n, h], y[t + 1 + h], rtol=1e-9)
            if P:
                np.testing.assert_allclose(x[n, lags + h], [*[0] * (2 + R), *X[t + 1 + h], 1], rtol=1e-6)


def test_a_constant_series_has_a_scale_of_one():
    assert Scale.of(np.full((20, 1), 1e9 / 3), ()).unit == 1
    assert forecaster().fit(np.full(60, 7.0)).predict().tolist() == [7, 7, 7]
    wave = np.tile([1.0, 2.0, 5.0, 3.0], 20)
    assert forecaster(difference=4).fit(wave).predict().tolist() == [1, 2, 5]


def test_what_quantiles_are_widened_by():
    residuals = RANDOM.normal(size=(99, 2, 1, 1))
    moved = widening(np.repeat(residuals, 4, axis=3), (0.1, 0.4, 0.5, 0.9))
    for h in range(2):
        ranked = np.sort(residuals[:, h, 0, 0])
        np.testing.assert_array_equal(moved[h, 0], [ranked[9], min(ranked[39], 0), 0, ranked[-10]])
    assert not widening(np.tile([2.0, -2.0], (5, 1, 1, 1)), (0.1, 0.9)).any(), "what holds is not narrowed"


# ---- fit and predict ----


@pytest.mark.parametrize("early_stopping", [False, True])
def test_forecasts_follow_from_the_network_by_the_formula(early_stopping):
    """Those of the public API, from the network's own outputs, and what they are widened by."""
    y, H, L, T = WALK[:, 0], 3, 8, 90
    fitted = forecaster(quantiles=(0.2, 0.8), early_stopping=early_stopping).fit(y)
    end = T - 14 if early_stopping else T  # 0.15 of 90 steps, rounded up
    w, trained = np.diff(y), np.diff(y[:end])
    z = fitted.model_.predict(((w[-L:] - trained.mean()) / trained.std())[None, :, None].astype("float32"), verbose=0)
    origins = np.arange(L, end - H)
    add = (y[origins[:, None] + np.arange(1, H + 1)] - y[origins][:, None]) / trained.std()
    z = np.sort(np.sort(z.reshape(H, 3), axis=1) + fitted.widening_[:, 0], axis=1)
    expected = y[-1] + trained.std() * (add.mean(axis=0)[:, None] + add.std(axis=0)[:, None] * z)
    assert fitted.quantiles_.tolist() == [0.2, 0.5, 0.8]
    assert fitted.widening_.any() == early_stopping
    np.testing.assert_allclose(fitted.predict_quantiles(), expected, rtol=1e-6)
    np.testing.assert_array_equal(fitted.predict(), fitted.predict_quantiles()[:, 1])
    np.testing.assert_array_equal(fitted.predict_interval(2), fitted.predict_quantiles(2)[:, [0, 2]])


@pytest.mark.parametrize("P", [0, 2])
def test_the_loss_is_that_of_the_horizon(P):
    """Of a network that does not change: the pinball loss of its outputs, on the steps ahead alone."""
    X, H, L, T = RANDOM_COLUMNS[:, :P], 3, 8, 90
    still = forecaster(difference=None, early_stopping=False, optimizer=Adam(0.0), max_epochs=1)
    fitted = still.fit(WALK, X if P else None)
    scaled = Columns("X", P)
    scaled.measure([X])
    known, at = Known(TimeSeries(WALK, False), scaled.scaled(X), np.empty((T, 0)), Scale.of(WALK, ())), np.arange(7, 87)
    z = fitted.model_.predict(known.inputs(at, L, H, ()), verbose=0)[:, L * bool(P) :].reshape(80, H, 2, 3)
    right = known.corrections(at, H, ())
    e = ((right - right.mean(axis=0)) / right.std(axis=0))[..., None] - z
    q = np.array([0.1, 0.5, 0.9])
    assert fitted.loss_curve_[0] == pytest.approx(np.maximum(q * e, (q - 1) * e).mean(), rel=1e-5)


@pytest.mark.parametrize("columns", [False, True])
def test_training_sees_nothing_of_the_last_part(columns):
    """Other values there change the loss there, and not that of training."""
    part, T = 30, 90

    def curves(*, changed):
        """Losses where the last rows of the series and its columns are others."""
        given = [WALK[:, 0], RANDOM_COLUMNS[:, :2], RANDOM_COLUMNS[:, 2:]] if columns else [WALK[:, 0]]
        given = [np.concatenate([rows[: T - changed], 50 + rows[T - changed :] ** 2]) for rows in given]
        fitted = forecaster(validation_fraction=part / T).fit(*given)
        return fitted.loss_curve_, fitted.validation_loss_curve_

    kept, validation = curves(changed=0)
    assert curves(changed=part)[0] == kept
    assert curves(changed=part)[1] != validation
    assert curves(changed=part + 1)[0] != kept


def test_early_stopping_keeps_the_best_epoch():
    fitted = forecaster(max_epochs=60, n_iter_no_change=3, learning_rate=0.05).fit(RANDOM.normal(size=90))
    best = int(np.argmin(fitted.validation_loss_curve_))
    assert fitted.n_iter_ == len(fitted.loss_curve_) == best + 1 + 3 < 60
    assert forecaster(early_stopping=False).fit(WALK[:, 0]).validation_loss_curve_ is None


def test_it_learns_and_its_intervals_hold():
    """Noise of known size on a wave: the median errs by little more than the noise, and 80 % of values are inside."""
    t = np.arange(900)
    y = 3 * np.sin(t * np.pi / 6) + RANDOM.normal(size=900)
    result = forecaster(
        lags=24, horizon=6, hidden_size=16, max_epochs=60, difference=None, learning_rate=0.005
    ).backtest(y, origins=200, season=12)
    assert (result.errors()["forecast"] < 1.2 * np.sqrt(2 / np.pi)).all()
    assert 0.72 < np.mean(result.coverage()[0.8]) < 0.88
    assert np.mean(result.errors()["seasonal naive (12)"]) > 1.15 * np.mean(result.errors()["forecast"])


def test_columns_that_are_known_ahead_help_where_they_act():
    T = 400
    X = (RANDOM.random((T, 1)) < 0.3) * 1.0
    y = np.convolve(X[:, 0], [2, -1], "full")[:T] + 0.05 * RANDOM.normal(size=T)
    small = forecaster(quantiles=None, difference=None, hidden_size=12, max_epochs=60, learning_rate=0.01)
    with_X = np.mean(small.backtest(y, X, origins=40).errors()["forecast"])
    without = np.mean(small.backtest(y, origins=40).errors()["forecast"])
    assert with_X < 0.25 * without
    past = small.backtest(np.roll(X[:, 0], 1), past_X=X, origins=40).errors()["forecast"]
    assert past[0] < 0.2 * past[1], "the first step ahead is in past_X, later ones are not"


@pytest.mark.parametrize("kind", ["X", "past_X", "both", "neither"])
def test_a_history_like_that_of_the_fit_gives_the_same_forecasts(kind):
    y, X, past = WALK, RANDOM.normal(size=(93, 2)), RANDOM.normal(size=(90, 1))
    X, past = X if kind in ("X", "both") else None, past if kind in ("past_X", "both") else None
    now, ahead = (None, None) if X is None else (X[:90], X[90:])
    fitted = forecaster(difference=(1, 4)).fit(y, now, past)
    np.testing.assert_array_equal(fitted.predict(3, ahead), fitted.predict(3, X, history=y, past_X=past))
    end = None if X is None else X[70:]
    tail = fitted.predict(3, end, history=y[70:], past_X=None if past is None else past[70:])
    np.testing.assert_array_equal(tail, fitted.predict(3, ahead))
    first = fitted.predict(2, None if ahead is None else ahead[:2])
    np.testing.assert_allclose(first, fitted.predict(3, ahead)[:2], rtol=1e-12)
    quantiles = fitted.predict_quantiles(3, ahead)
    assert quantiles.shape == (3, 2, 3)
    assert (np.diff(quantiles, axis=2) >= 0).all()


def test_several_series():
    """Of different lengths; a later history of any of them, or of another one, has its own scale."""
    series = [WALK[:, 0], 1000 + 50 * WALK[:60, 1], WALK[20:75, 0]]
    fitted = forecaster().fit(series)
    found = fitted.predict()
    assert [each.shape for each in found] == [(3,)] * 3
    assert 900 < found[1][0] < 1500
    other = fitted.predict(history=[series[1], 7 * series[1]])
    np.testing.assert_allclose(other[1], 7 * other[0], rtol=1e-6)
    np.testing.assert_allclose(fitted.predict(history=series[1]), other[0], rtol=1e-6)
    result = forecaster().backtest(series, origins=4, stride=2)
    assert result.forecasts.shape == result.actuals.shape == (3, 4, 3)
    assert result.quantiles.shape == (3, 4, 3, 3)
    assert result.known.tolist() == [[len(y) - 3 - 2 * k for k in (3, 2, 1, 0)] for y in series]
    short = forecaster(horizon=12).fit([WALK[:, 0], WALK[:10, 1]])  # too short to train on, and not to forecast
    assert len(short.predict()[1]) == 12
    with_X = forecaster().fit(series, [np.ones((len(y), 1)) for y in series])
    assert len(with_X.predict(1, [np.ones((1, 1))] * 3)) == 3


def test_cells_and_models_of_ones_own():
    @nblstm.cell(gates="u g", states="h")
    def update_gate(u, g, h):
        u = nblstm.sigmoid(u)
        return u * h + (1 - u) * nblstm.tanh(g)

    for cell in ("gru", "rnn", update_gate):
        assert forecaster(cell=cell, num_layers=2, dropout=0.1).fit(WALK).predict().shape == (3, 2)
    shapes = []

    def model(features, outputs):
        shapes.append((features, outputs))
        return Sequential([GRU(3), Dense(outputs)])

    made = forecaster(hidden_size=32, model=model)
    assert made.fit(WALK).predict().shape == (3, 2)
    assert shapes == [(2, 3 * 2 * 3)]
    with pytest.raises(ValueError, match=re.escape("let its last layers give (N, 18)")):
        forecaster(hidden_size=32, model=Sequential([GRU(3), Dense(4)])).fit(WALK)
    with pytest.raises(ValueError, match="hidden_size is 4, and model is given"):
        forecaster(model=model).fit(WALK)


def test_estimators_conventions(tmp_path):
    made = forecaster(difference=(1, 4))
    assert clone(made).get_params() == made.get_params()
    assert made.fit(WALK) is made
    assert clone(made.set_params(lags=9)).lags == 9
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(again.predict(), made.predict())
    np.testing.assert_array_equal(forecaster(difference=(1, 4)).fit(WALK).predict(), made.predict())
    with pytest.raises(NotFittedError):
        forecaster().predict()
    with pytest.raises(NotFittedError):
        forecaster().predict_interval()
    own = forecaster(optimizer=Adam(0.0), callbacks=[CSVLogger(tmp_path / "log.csv")]).fit(WALK)
    assert own.loss_curve_[0] == pytest.approx(own.loss_curve_[1], rel=1e-5), "a learning rate of 0"
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    means = forecaster(quantiles=None).fit(WALK[:, 0])
    assert means.quantiles_ is None
    assert means.predict().shape == (3,)
    assert means.backtest(WALK[:, 0]).quantiles is None


# ---- pandas ----


def test_pandas_objects_come_back_with_their_index_continued():
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    months = pandas.date_range("2015-01-31", periods=90, freq="ME", name="month")
    series = pandas.Series(WALK[:, 0], months, name="price")
    ahead = pandas.date_range("2022-07-31", periods=3, freq="ME", name="month")
    fitted = forecaster().fit(series)
    pandas.testing.assert_index_equal(fitted.predict().index, ahead)
    assert fitted.predict().name == "price"
    assert fitted.predict_quantiles().columns.tolist() == [0.1, 0.5, 0.9]
    assert fitted.predict_interval().columns.tolist() == ["lower", "upper"]
    assert fitted.predict(1, history=series[:50]).index[0] == months[50]
    assert isinstance(fitted.predict(history=series.to_numpy()), np.ndarray)

    frame = pandas.DataFrame(WALK, months.to_period("M"), columns=pandas.Index(["a", "b"], name="shop"))
    fitted = forecaster().fit(frame)
    assert fitted.predict().columns.equals(frame.columns)
    assert fitted.predict().index.tolist() == ahead.to_period("M").tolist()
    assert fitted.predict_quantiles()["b"].columns.tolist() == [0.1, 0.5, 0.9]
    assert fitted.predict_interval().columns.names == ["shop", "bound"]
    np.testing.assert_array_equal(fitted.predict_interval()[("a", "upper")], fitted.predict_quantiles()[("a", 0.9)])


def test_indexes():
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    days = pandas.date_range("2024-03-28", periods=6, freq="h", tz="Europe/Berlin")
    for index in (
        days, pandas.period_range("2024", periods=6, freq="W"), pandas.RangeIndex(5, 65, 10, name="n"),
        pandas.Index([3, 5, 7, 9, 11, 13]),
        pandas.timedelta_range("1h", periods=6, freq="30min"), pandas.bdate_range("2024-05-03", periods=6),
    ):  # fmt: skip
        first, more = index[:4], follow("y", index[:4], 2)
        assert more.equals(index[4:]), index
        assert more.name == index.name
        assert first.append(more).equals(index)
    inferred = pandas.DatetimeIndex(list(pandas.date_range("2024-01-01", periods=6, freq="QS")))
    assert inferred.freq is None
    assert follow("y", inferred[:4], 2).tolist() == inferred[4:].tolist()
    gaps = pandas.period_range("2024", periods=6, freq="D")[[0, 1, 3, 4]]
    for index, words in (
        (gaps, "the PeriodIndex of y has gaps"), (gaps.to_timestamp(), "no frequency"),
        (pandas.RangeIndex(4, 0, -1), "give y.sort_index()"), (days[:4][::-1], "not in the order of time"),
        (pandas.MultiIndex.from_product([["a", "b"], days[:2]]), "has 2 levels; give a list of series"),
        (pandas.Index([1, 2, 4]), "several distances"), (pandas.Index([1, 1]), "has 1 more than once"),
        (pandas.Index(["a", "b"]), "cannot be continued"), (pandas.Index([0.5, 1.5]), "cannot be continued"),
        (days[[0, 1]], "no frequency"), (days[[0, 1, 1, 2]], "more than once; give each step one row"),
        (pandas.DatetimeIndex([None, *days[1:3]]), "no label in row 0"),
        (pandas.Index(["2024-01-01", "2024-01-02"]), re.escape("make dates of it by pandas.to_datetime()")),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            forecaster().fit(pandas.Series(np.zeros(len(index)), index))


def test_exogenous_rows_are_found_by_their_labels():
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    days = pandas.date_range("2024-01-01", periods=100, freq="D")
    X = pandas.DataFrame(RANDOM.normal(size=(100, 2)), days, columns=["sun", "rain"])
    y = pandas.Series(WALK[:, 0], days[:90])
    fitted = forecaster().fit(y, X.iloc[::-1])
    arrays = forecaster().fit(y.to_numpy(), X.to_numpy()[:90])
    expected = arrays.predict(3, X.to_numpy()[90:93])
    np.testing.assert_array_equal(fitted.predict(3, X[["rain", "sun"]]), expected)
    np.testing.assert_array_equal(fitted.predict(3, X, history=y[50:]), expected)
    table = fitted.backtest(y, X, origins=4).to_frame()
    assert table["label"].tolist()[-1] == days[89]
    with pytest.raises(
        ValueError, match=r"X has no row 2024-04-01 00:00:00; give one for each of the 3 steps from 2024-03-31"
    ):
        fitted.predict(3, X[:91])
    with pytest.raises(ValueError, match="X has no column 'rain'"):
        fitted.predict(3, X[["sun"]])
    with pytest.raises(ValueError, match="several rows of one label"):
        fitted.predict(3, pandas.concat([X, X]))
    for other, kind in ((X.tz_localize("UTC"), "UTC"), (X.to_period("D"), "period")):
        with pytest.raises(ValueError, match=f"X has an index of dtype .*{kind}.*, and y has datetime64"):
            fitted.predict(3, other)


def test_columns_of_series_are_found_by_their_names():
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    frame = pandas.DataFrame(WALK * [1, 1000], columns=["small", "large"])
    turned, fitted = frame[["large", "small"]], forecaster().fit(frame)
    expected = fitted.predict(history=frame)
    pandas.testing.assert_frame_equal(fitted.predict(history=turned), expected)
    pandas.testing.assert_frame_equal(fitted.predict(history=[frame, turned])[1], expected)
    both = forecaster().fit([frame, turned]).predict()
    pandas.testing.assert_frame_equal(both[1], forecaster().fit([frame, frame]).predict()[1])
    for call in (
        lambda: fitted.predict(history=frame.set_axis(["small", "other"], axis=1)),
        lambda: fitted.predict(history=frame.set_axis(["small", "small"], axis=1)),
    ):
        message_of(ValueError, call, "history has the columns ['small', ", "['small', 'large'] came before")
    message_of(ValueError, lambda: forecaster().fit([frame, frame.add_suffix("2")]), "y[1] has the columns ['small2',")
    twice = frame.set_axis(["same", "same"], axis=1)
    by_place = forecaster().fit(WALK[:, 0], twice).predict(history=WALK[:87, 0], X=twice)
    expected = forecaster().fit(WALK[:, 0], frame.to_numpy()).predict(history=WALK[:87, 0], X=frame.to_numpy())
    np.testing.assert_array_equal(by_place, expected)
    other = forecaster().fit(frame[["small"]]).predict(history=frame[["large"]])
    assert other.columns.tolist() == ["large"], "one column needs no name to be found"


# ---- backtest ----


@pytest.mark.parametrize(("refit", "fits"), [(False, 1), (True, 5), (2, 3)])
def test_backtests_are_forecasts_from_what_was_known(refit, fits):
    """Each by a forecaster that has seen no more, as one would do it by hand."""
    y, X, past = WALK[:, 0], RANDOM.normal(size=(90, 1)), RANDOM.normal(size=(90, 1))
    small = forecaster(difference=(1, 4))
    result = small.backtest(y, X, past, origins=5, stride=2, refit=refit)
    assert not hasattr(small, "model_")
    assert result.fits == fits
    assert result.known.tolist() == [79, 81, 83, 85, 87]
    every = int(refit) or 5
    for o, k in enumerate(result.known):
        first = result.known[o // every * every]
        fitted = forecaster(difference=(1, 4)).fit(y[:first], X[:first], past[:first])
        expected = fitted.predict_quantiles(3, X[: k + 3], history=y[:k], past_X=past[:k])
        np.testing.assert_array_equal(result.quantiles[o], expected)
        np.testing.assert_array_equal(result.forecasts[o], expected[:, 1])
        np.testing.assert_array_equal(result.actuals[o], y[k : k + 3])
        np.testing.assert_array_equal(result.baselines["naive"][o], [y[k - 1]] * 3)
        np.testing.assert_array_equal(result.baselines["seasonal naive (4)"][o], y[k - 4 : k - 1])
        drift = y[k - 1] - y[k - 5]
        np.testing.assert_allclose(result.baselines["continued (1, 4)"][o], y[k - 4 : k - 1] + drift)


def test_errors_and_coverage_by_horizon():
    result = forecaster(quantiles=(0.05, 0.1, 0.9, 0.95)).backtest(WALK, origins=7)
    e = result.forecasts - result.actuals
    assert e.shape == (7, 3, 2)
    np.testing.assert_allclose(result.errors()["forecast"], np.abs(e).mean(axis=(0, 2)))
    np.testing.assert_allclose(result.errors("rmse")["forecast"], np.sqrt((e**2).mean(axis=(0, 2))))
    naive = result.baselines["naive"] - result.actuals
    np.testing.assert_allclose(result.errors("bias")["naive"], naive.mean(axis=(0, 2)))
    shares = result.coverage()
    assert list(shares) == [0.9, 0.8]
    inside = (result.quantiles[..., 1] <= result.actuals) & (result.actuals <= result.quantiles[..., 3])
    np.testing.assert_allclose(shares[0.8], inside.mean(axis=(0, 2)))
    text = repr(result).splitlines()
    assert text[0] == "Mean absolute error from 7 origins, 1 fit"
    assert text[2].split()[:4] == ["steps", "ahead", "forecast", "naive"]
    assert [line.split()[0] for line in text[3:]] == ["1", "2", "3", "all"]
    assert float(text[3].split()[1]) == pytest.approx(result.errors()["forecast"][0], rel=1e-3)


def test_backtests_as_a_table():
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    result = forecaster().backtest([WALK, WALK[:70]], origins=4)
    table = result.to_frame()
    assert table.columns.tolist() == [
        "series",
        "column",
        "known",
        "horizon",
        "actual",
        "forecast",
        0.1,
        0.5,
        0.9,
        "naive",
    ]
    assert len(table) == 2 * 4 * 3 * 2
    mean = (table["forecast"] - table["actual"]).abs().groupby(table["horizon"]).mean()
    np.testing.assert_allclose(mean, result.errors()["forecast"])
    one = table[(table["series"] == 1) & (table["column"] == 1) & (table["horizon"] == 2)]
    np.testing.assert_array_equal(one["actual"], WALK[one["known"] + 1, 1])
    flat = forecaster().backtest(WALK[:, 0], origins=4).to_frame()
    index = pandas.date_range("2024-01-01", periods=90)
    mixed = [WALK[:, 0], pandas.Series(WALK[:, 1], index)]
    table = forecaster().backtest(mixed, origins=2).to_frame()
    assert table["label"][table["series"] == 0].isna().all()
    assert table["label"].tolist()[-1] == index[89]
    columns = pandas.MultiIndex.from_tuples([("north", "a"), ("south", "b")], names=["region", "shop"])
    frame = pandas.DataFrame(WALK, index, columns)
    assert forecaster().backtest(frame, origins=2).to_frame()["column"].tolist()[:2] == [*columns]
    quantiles = forecaster().fit(frame).predict_quantiles().columns
    assert quantiles.names == ["region", "shop", "quantile"]
    assert quantiles[-1] == ("south", "b", 0.9)
    assert flat.columns.tolist()[:3] == ["known", "horizon", "actual"]


# ---- errors, each one sentence before any work ----

SERIES = WALK[:, 0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lags": 0}, "lags is 0"), ({"horizon": 1.5}, "horizon is 1.5"), ({"difference": 0}, "difference is 0"),
        ({"difference": "season"}, "difference is"), ({"quantiles": (0.5, 1.2)}, "quantile is 1.2"),
        ({"quantiles": ()}, "quantiles is empty"), ({"cell": "lstn"}, "lstn"), ({"hidden_size": 0}, "hidden_size is 0"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"), ({"early_stopping": "yes"}, "early_stopping is"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0"), ({"tol": -1}, "tol is -1"),
        ({"lags": 80}, "y has 90 steps; lags=80, horizon=3 and difference=1 need 99 or more with validation"),
        ({"lags": 87, "early_stopping": False}, "lags=87, horizon=3 and difference=1 need 91 or more; give a longer"),
        ({"validation_fraction": 0.9}, "y has 90 steps; lags=8, horizon=3 and difference=1 need 120 or more with"),
        ({"max_epochs": 0}, "max_epochs is 0"), ({"batch_size": -1}, "batch_size is -1"),
    ],
)  # fmt: skip
def test_arguments(changes, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)) as caught:
        forecaster(**changes).fit(SERIES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.zeros((4, 5, 6)), "give several series as a list"), ([], "y has shape (0,)"), (5.0, "y has shape ()"),
        (np.where(np.arange(90) == 7, np.nan, SERIES), "y has nan in row 7; a forecaster reads each step, so fill"),
        ([WALK, SERIES], "y has series of [2, 1] columns"), (["a", "b"], "real numbers"),
        (SERIES[:12], "y has 12 steps"), ([WALK, WALK[:7]], "y has a series of 7 steps"),
        (SERIES * 1e200, "e+199 in row 0; give numbers below 1e+150"),
    ],
)  # fmt: skip
def test_series_that_cannot_be_forecast(y, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        forecaster().fit(y)


@pytest.mark.parametrize("fraction", [0.05, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_message_names_the_fewest_steps_that_can_be_fitted(early_stopping, fraction):
    """Whatever the part that is held out: one step fewer is refused."""
    for lags, horizon, difference in ((24, 2, 1), (1, 1, None), (7, 5, (1, 4))):
        made = forecaster(
            lags=lags, horizon=horizon, difference=difference, max_epochs=1, early_stopping=early_stopping,
            validation_fraction=fraction,
        )  # fmt: skip
        y = RANDOM.normal(size=400)
        message = message_of(ValueError, lambda made=made, y=y: made.fit(y[:1]), "y has 1 steps; lags=")
        fewest = int(re.search(r"need (\d+) or more", message)[1])
        assert made.fit(y[:fewest]).predict().shape == (horizon,)
        message_of(ValueError, lambda made=made, y=y[: fewest - 1]: made.fit(y), f"need {fewest} or more")
        assert made.backtest(y[: fewest + horizon + 1], origins=2, refit=True).fits == 2


class InterruptedAtOnce(Callback):
    def on_train_batch_begin(self, batch, logs=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_fit_that_was_interrupted_in_its_first_epoch(early_stopping):
    """It is as after an interrupt in a later one: fitted, by the epochs that there were."""
    made = forecaster(callbacks=InterruptedAtOnce(), early_stopping=early_stopping).fit(SERIES)
    assert (made.n_iter_, made.loss_curve_) == (0, [])
    assert made.validation_loss_curve_ == ([] if early_stopping else None)
    assert np.isfinite(made.predict_quantiles()).all()


def test_what_does_not_fit_the_fit():
    X, fitted = np.ones((90, 2)), forecaster().fit(SERIES)
    with_X, with_past = forecaster().fit(SERIES, X), forecaster().fit(SERIES, past_X=X)
    for call, words in (
        (lambda: fitted.predict(X), "horizon is of type ndarray; give a number of steps first, and data by name"),
        (lambda: fitted.predict(4), "horizon is 4, and the forecaster was fitted for 3 steps"),
        (lambda: fitted.predict(3, X[:3]), "X is given, and the forecaster was fitted without"),
        (lambda: fitted.predict(3, past_X=X), "past_X is given without history"),
        (lambda: fitted.predict(3, history=SERIES, past_X=X), "past_X is given, and the forecaster was fitted without"),
        (lambda: fitted.predict(3, history=SERIES[:8]), "history has 8 steps; give 9 or more"),
        (lambda: fitted.predict(3, history=SERIES * 1e60), "X or past_X has numbers that are beyond float32"),
        (lambda: with_X.predict(3, X[:3] * 1e60), "X or past_X has numbers that are beyond float32"),
        (lambda: fitted.predict(3, history=WALK), "history has 2 columns, and y in fit had 1"),
        (lambda: fitted.predict_interval(coverage=0.9), "coverage is 0.9, and quantiles (0.1, 0.5, 0.9) have"),
        (lambda: forecaster(quantiles=(0.2, 0.9)).fit(SERIES).predict_interval(), "(0.2, 0.5, 0.9) have no pair"),
        (lambda: forecaster(quantiles=None).fit(SERIES).predict_quantiles(), "quantiles is None, so no quantiles"),
        (lambda: with_X.predict(3), "X is None, and the forecaster was fitted with 2 columns of it; give their 3 rows"),
        (lambda: with_X.predict(3, X), "X has shape (90, 2); give 3 rows of 2 columns"),
        (lambda: with_X.predict(3, X, history=SERIES), "X has shape (90, 2); give 93 rows of 2 columns"),
        (lambda: with_X.predict(3, X[:3] / 0.0 * 0), "X has nan in row 0"),
        (lambda: with_past.predict(3, history=SERIES), "past_X is None"),
        (lambda: forecaster().fit(SERIES, X[:50]), "X has shape (50, 2); give 90 rows of 2 columns"),
        (lambda: forecaster().fit([SERIES, SERIES], X), "X is ndarray; give a list of 2, one for each series"),
        (lambda: forecaster().fit(SERIES, np.ones((3, 3, 3))), "X has shape (3, 3, 3); give (T, P)"),
        (lambda: forecaster().backtest(SERIES[:30], origins=14), "14 origins at a stride of 1 need 16 and 15"),
        (lambda: forecaster().backtest(SERIES, origins=0), "origins is 0"),
        (lambda: forecaster().backtest(SERIES, refit=-1), "refit is -1"),
        (lambda: forecaster().backtest(SERIES).errors("mape"), "measure is 'mape'"),
    ):  # fmt: skip
        with np.errstate(all="ignore"), pytest.raises((TypeError, ValueError), match=re.escape(words)):
            call()

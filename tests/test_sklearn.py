"""Estimators of scikit-learn: its own checks, its tools on sequences of different lengths, and what they learn."""

import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6", reason="needs scikit-learn 1.6, the extra 'sklearn'")

from processes import run_python
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from nblstm import cells, sigmoid, tanh
from nblstm.callbacks import BackupAndRestore, LambdaCallback
from nblstm.cells import cell
from nblstm.layers import GRU, LSTM, Dense, Input, Masking
from nblstm.models import Sequential, load_model
from nblstm.optimizers import SGD, Adam
from nblstm.sklearn import RecurrentClassifier, RecurrentRegressor, SequenceScaler

EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "rows are drawn into mini-batches, where a row of weight 2 "
    "comes once and the same row twice comes in two batches"
}


@cell(gates="f g", states="h")
def minimal(f, g, h):
    f = sigmoid(f + 1)
    return f * h + (1 - f) * tanh(g)


def ragged(N=120, F=3, seed=0, lengths=(4, 12)):
    """Sequences, labels by the sign of the last step's first feature, and its number."""
    random = np.random.default_rng(seed)
    X = [random.normal(size=(T, F)) for T in random.integers(*lengths, size=N)]
    last = np.array([x[-1, 0] for x in X])
    return X, np.where(last > 0, "up", "down"), last


def quick(kind, **options):
    return kind(**{"hidden_size": 8, "learning_rate": 0.02, "max_epochs": 15, "random_state": 0} | options)


@pytest.mark.parametrize("kind", [RecurrentClassifier, RecurrentRegressor, SequenceScaler])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(kind):
    expected = {} if kind is SequenceScaler else EXPECTED
    results = check_estimator(kind(), expected_failed_checks=expected, on_skip=None)
    assert len(results) > 40
    assert {found["status"] for found in results} <= {"passed", "xfail", "skipped"}
    assert [found["check_name"] for found in results if found["status"] == "xfail"] == [*expected]


def test_tags():
    tags = RecurrentRegressor().__sklearn_tags__()
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert tags.target_tags.multi_output
    assert RecurrentClassifier().__sklearn_tags__().estimator_type == "classifier"


def test_cross_validation_on_lists():
    X, y, last = ragged()
    assert cross_val_score(quick(RecurrentClassifier), X, y, cv=3).mean() > 0.75
    assert cross_val_score(quick(RecurrentRegressor), X, last, cv=3).mean() > 0.6
    assert cross_val_predict(quick(RecurrentClassifier), X, y, cv=3, method="predict_proba").shape == (len(X), 2)


def test_grid_search_in_two_processes():
    X, y, _ = ragged()
    pipeline = make_pipeline(SequenceScaler(), quick(RecurrentClassifier, max_epochs=4))
    grid = {"recurrentclassifier__cell": ["gru", minimal], "recurrentclassifier__hidden_size": [4, 8]}
    one, two = (GridSearchCV(pipeline, grid, cv=2, n_jobs=n).fit(X, y) for n in (1, 2))
    assert np.array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert one.best_params_ == two.best_params_
    assert two.predict(X[:3]).shape == (3,)


def test_processes_of_joblib_use_as_many_threads_as_it_says():
    code = """
from joblib import Parallel, delayed, parallel_config
import nblstm
with parallel_config("loky", inner_max_num_threads=1):
    print(*Parallel(n_jobs=2)(delayed(nblstm.num_threads)() for _ in range(2)))
"""
    assert run_python(code, NUMBA_NUM_THREADS=None).split() == ["1", "1"]


def test_the_extra_is_named_where_scikit_learn_is_missing():
    code = """
import sys
sys.modules["sklearn"] = None
try:
    import nblstm.sklearn
except ImportError as error:
    print(error)
"""
    printed = run_python(code)
    assert "nblstm.sklearn needs scikit-learn 1.6 or newer" in printed
    assert "'.[sklearn]'" in printed


@pytest.mark.parametrize("kind", [RecurrentClassifier, RecurrentRegressor])
def test_clone_copy_and_pickle(kind):
    X, y, last = ragged()
    y = y if kind is RecurrentClassifier else last
    made = quick(kind, cell=minimal, optimizer=SGD(0.1, momentum=0.9), learning_rate=3e-3).fit(X, y)
    again = pickle.loads(pickle.dumps(made))
    assert np.array_equal(again.predict(X), made.predict(X))
    new = clone(made)
    assert new.get_params()["cell"] is minimal
    with pytest.raises(NotFittedError):
        new.predict(X)
    assert np.array_equal(new.fit(X, y).predict(X), made.predict(X))
    assert new.partial_fit(X, y).n_iter_ == again.partial_fit(X, y).n_iter_ == made.n_iter_ + 1
    assert np.array_equal(new.predict(X), again.predict(X))


def test_metadata_routing_of_weights():
    import sklearn

    X, _, last = ragged()
    weight = (last > 0).astype(float) + 0.1
    with sklearn.config_context(enable_metadata_routing=True):
        found = []
        for asks in (True, False):
            made = quick(RecurrentRegressor).set_fit_request(sample_weight=asks).set_score_request(sample_weight=True)
            params = {"sample_weight": weight}
            found.append(cross_validate(made, X, last, cv=2, params=params, return_estimator=True))
    asked, ignored = (each["estimator"][0].predict(X) for each in found)
    assert not np.array_equal(asked, ignored)


def test_the_seed_gives_the_same_bits():
    X, y, _ = ragged()
    options = {"dropout": 0.2, "early_stopping": True, "num_layers": 2, "bidirectional": True, "max_epochs": 4}
    one, same = (quick(RecurrentClassifier, **options).fit(X, y).predict_proba(X) for _ in range(2))
    other = quick(RecurrentClassifier, **options).set_params(random_state=1).fit(X, y).predict_proba(X)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    random = np.random.RandomState(0)
    first, second = (quick(RecurrentClassifier, max_epochs=1, random_state=random).fit(X, y) for _ in range(2))
    assert not np.array_equal(first.predict_proba(X), second.predict_proba(X))


def test_padding_changes_nothing():
    """Predictions, one by one, in a batch of other lengths and in any order."""
    X, y, _ = ragged(F=2)
    X[3] = np.zeros_like(X[3])  # zeros are data
    made = quick(RecurrentClassifier, bidirectional=True).fit(X, y)
    alone = np.concatenate([made.predict_proba([x]) for x in X])
    assert np.abs(made.predict_proba(X) - alone).max() < 1e-6
    assert np.abs(made.predict_proba(X[::-1])[::-1] - alone).max() < 1e-6
    assert isinstance(made.model_.layers[0], Masking)
    longer = [*X, np.ones((500, 2))]
    assert np.abs(made.predict_proba(longer)[:-1] - alone).max() < 1e-6


def test_the_network_is_the_one_that_keras_names_describe():
    """Trained on equal lengths, the same numbers as the Sequential, data and seed that the estimator uses."""
    random = np.random.default_rng(0)
    X, y = random.normal(size=(50, 6, 2)), random.normal(size=(50, 3)).astype("float32")
    made = quick(RecurrentRegressor, cell="gru", max_epochs=3).fit(X, y)
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    model = Sequential([Input((None, 2)), GRU(8), Dense(3)], seed=int(seed))
    model.compile(Adam(0.02), "mse")
    history = model.fit(X, y, epochs=3, verbose=0)
    assert made.loss_curve_ == history.history["loss"]
    assert np.array_equal(made.predict(X), model.predict(X))
    assert (made.n_iter_, made.n_features_in_) == (3, 2)


def test_sequences_of_different_lengths_train_as_padded_ones_behind_a_mask():
    """In one batch, whose order only rounds differently; each loss is the one of the parameters before it."""
    X, _, last = ragged()
    made = quick(RecurrentRegressor, max_epochs=8, batch_size=len(X), num_layers=2).fit(X, last)
    padded = np.full((len(X), 11, 3), 777.0)
    for n, x in enumerate(X):
        padded[n, : len(x)] = x
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    layers = [Masking(777.0), LSTM(8, return_sequences=True), LSTM(8), Dense(1)]
    model = Sequential([Input((None, 3)), *layers], seed=int(seed))
    model.compile(Adam(0.02), "mse")
    losses = model.fit(padded, last, epochs=8, batch_size=len(X), verbose=0).history["loss"]
    assert np.allclose(made.loss_curve_, losses, rtol=1e-4)
    assert made.loss_curve_[-1] < made.loss_curve_[0]


def test_early_stopping_keeps_the_best_epoch():
    X, y, _ = ragged(200)
    made = quick(RecurrentClassifier, early_stopping=True, max_epochs=200, n_iter_no_change=5, validation_fraction=0.2)
    made.fit(X, y)
    assert made.n_iter_ < 200
    assert len(made.loss_curve_) == len(made.validation_scores_) == made.n_iter_
    assert made.best_validation_score_ in made.validation_scores_
    assert made.validation_scores_[0] < made.best_validation_score_ > 0.85
    plain = clone(made).set_params(early_stopping=False, tol=0.05).fit(X, y)
    assert plain.n_iter_ < 200
    assert not hasattr(plain, "validation_scores_")
    with pytest.raises(ValueError, match="y has one sequence of the class 'rare'"):
        made.fit(X, ["rare", *y[1:]])


def test_what_is_held_out_has_all_classes_alike():
    X, _, _ = ragged(100)
    y = np.array(["common"] * 90 + ["rare"] * 10)
    seen = []
    made = quick(RecurrentClassifier, early_stopping=True, validation_fraction=0.2, max_epochs=1)
    made._score_of = lambda targets, outputs, weight: seen.append(np.bincount(targets)) or 0.0
    made.fit(X, y)
    assert seen[0].tolist() == [18, 2]


def test_classes_count_alike_if_balanced():
    X, y, last = ragged(150, seed=1)
    y = np.where(last > 1.2, "rare", "common")
    recalls = []
    for weight in (None, "balanced", {"common": 1, "rare": 50}):
        made = quick(RecurrentClassifier, max_epochs=6, class_weight=weight).fit(X, y)
        recalls.append((made.predict(X)[y == "rare"] == "rare").mean())
    assert recalls[0] < recalls[1] <= recalls[2]


def test_weights_are_those_of_the_loss():
    X, _, last = ragged()
    weight = (np.arange(len(X)) % 2).astype(float)
    half = quick(RecurrentRegressor, max_epochs=40, n_iter_no_change=40).fit(
        X, last * weight + 5 * (1 - weight), weight
    )
    assert half.score(X, last, weight) > 0.8
    assert np.abs(half.predict(X)[weight == 0]).mean() < 2
    ones = quick(RecurrentRegressor).fit(X, last, np.ones(len(X))).predict(X)
    assert np.allclose(ones, quick(RecurrentRegressor).fit(X, last).predict(X), atol=1e-5)


def test_going_on():
    X, y, _ = ragged()
    whole = quick(RecurrentClassifier, max_epochs=6).fit(X, y)
    parts = quick(RecurrentClassifier, max_epochs=3, warm_start=True).fit(X, y)
    parts.fit(X, y)
    single = quick(RecurrentClassifier)
    for _ in range(6):
        single.partial_fit(X, y, classes=["down", "up"])
    assert whole.loss_curve_ == parts.loss_curve_ == single.loss_curve_
    assert np.array_equal(whole.predict_proba(X), parts.predict_proba(X))
    assert single.n_iter_ == 6
    assert parts.set_params(warm_start=False).fit(X, y).n_iter_ == 3
    before = parts.predict_proba(X)
    parts.set_params(warm_start=True, learning_rate=1e-9).fit(X, y)
    assert np.allclose(parts.predict_proba(X), before, atol=1e-5)
    assert parts.model_.optimizer.learning_rate == 1e-9


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "simple_rnn", cells.lstm, minimal])
def test_cells(name):
    X, y, _ = ragged(60)
    made = quick(RecurrentClassifier, cell=name, num_layers=2, bidirectional=True, dropout=0.1, max_epochs=1).fit(X, y)
    kinds = [type(layer).__name__ for layer in made.model_.layers]
    assert kinds == ["Masking", "Bidirectional", "Dropout", "Bidirectional", "Dropout", "Dense"]


def test_a_model_of_ones_own():
    X, y, last = ragged()
    template = Sequential([Input((None, 3)), LSTM(8, return_sequences=True), GRU(4), Dense(2, "softmax")])
    made = quick(RecurrentClassifier, model=template, hidden_size=32).fit(X, y)
    assert [type(layer).__name__ for layer in made.model_.layers] == ["Masking", "LSTM", "GRU", "Dense"]
    assert not template.compiled
    assert clone(made).fit(X, y).score(X, y) == made.score(X, y) > 0.7

    def build(features, outputs):
        return Sequential([Input((None, features)), Masking(-1.0), GRU(8), Dense(outputs)])

    own = RecurrentRegressor(model=build, max_epochs=10, learning_rate=0.02, random_state=0).fit(X, last)
    assert own.model_.layers[0].mask_value == -1
    alone = np.concatenate([own.predict([x]) for x in X])
    assert np.abs(own.predict(X) - alone).max() < 1e-5


def test_a_model_is_saved_by_itself(tmp_path):
    X, y, _ = ragged()
    made = quick(RecurrentClassifier, max_epochs=2).fit(X, y)
    made.model_.save(tmp_path / "model.nblstm")
    loaded = load_model(tmp_path / "model.nblstm")
    assert np.allclose(loaded.predict(X[0][None])[0, 0], made.predict_proba(X[:1])[0, 1])


def test_callbacks_and_schedules():
    X, y, _ = ragged(60)
    epochs = []
    callback = LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(logs["loss"]))
    made = quick(RecurrentClassifier, max_epochs=2, callbacks=[callback]).fit(X, y)
    assert epochs == made.loss_curve_
    from nblstm.optimizers.schedules import ExponentialDecay

    made.set_params(learning_rate=ExponentialDecay(0.1, 10, 0.9), callbacks=None).fit(X, y)
    assert made.model_.optimizer.learning_rate < 0.1


class KilledError(Exception):
    """What ends a program in the middle of a fit."""


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_fit_that_was_killed_ends_in_the_same_bits(early_stopping, tmp_path):
    X, y, _ = ragged()
    options = {"max_epochs": 6, "dropout": 0.1, "early_stopping": early_stopping}
    whole = quick(RecurrentClassifier, **options).fit(X, y)
    kills = [True]

    def kill(epoch, logs):
        if epoch == 3 and kills:
            kills.clear()
            raise KilledError

    made = quick(RecurrentClassifier, **options)
    made.set_params(callbacks=[BackupAndRestore(tmp_path), LambdaCallback(on_epoch_begin=kill)])
    with pytest.raises(KilledError):
        made.fit(X, y)
    again = made.fit(X, y)
    assert again.loss_curve_ == whole.loss_curve_
    assert getattr(again, "validation_scores_", 0) == getattr(whole, "validation_scores_", 0)
    assert np.array_equal(again.predict_proba(X), whole.predict_proba(X))


def test_several_outputs_and_targets_of_steps():
    X, _, last = ragged()
    Y = np.stack([last, -last, 0 * last], axis=1)
    made = quick(RecurrentRegressor).fit(X, Y)
    assert made.predict(X).shape == Y.shape
    assert made.n_outputs_ == 3
    running = [np.cumsum(x[:, :2], axis=0) for x in X]
    steps = quick(RecurrentRegressor, max_epochs=30, early_stopping=True).fit(X, running)
    assert [part.shape for part in steps.predict(X)] == [part.shape for part in running]
    assert steps.score(X, running) > 0.8
    assert steps.score(X, running, np.ones(len(X))) == pytest.approx(steps.score(X, running))
    assert cross_val_score(quick(RecurrentRegressor), X, running, cv=2).shape == (2,)
    array = np.random.default_rng(0).normal(size=(40, 5, 2))
    assert quick(RecurrentRegressor).fit(array, array.cumsum(axis=1)).predict(array).shape == (40, 5, 2)


def test_labels_of_steps():
    X, _, _ = ragged()
    y = [np.where(np.cumsum(x[:, 0]) > 0, "above", "below") for x in X]
    made = quick(RecurrentClassifier, class_weight="balanced", early_stopping=True, max_epochs=30)
    made.fit(X, y, sample_weight=np.ones(len(X)))
    assert made.score(X, y) > 0.8
    assert [part.shape for part in made.predict(X)] == [part.shape for part in y]
    assert made.predict_proba(X)[0].shape == (len(X[0]), 2)
    assert set(np.concatenate(made.predict(X))) <= {"above", "below"}
    scores = cross_val_score(quick(RecurrentClassifier), X, y, cv=KFold(2))
    assert scores.mean() > 0.6


def test_probabilities():
    X, y, last = ragged()
    three = np.digitize(last, [-0.5, 0.5])
    for labels in (y, three):
        made = quick(RecurrentClassifier).fit(X, labels)
        p = made.predict_proba(X)
        assert p.dtype == np.float64
        assert np.allclose(p.sum(axis=1), 1, atol=1e-15)
        assert np.array_equal(made.classes_[p.argmax(axis=1)], made.predict(X))
        assert np.array_equal(np.log(p), made.predict_log_proba(X))
    assert made.predict(X).dtype == three.dtype


def test_intervals_hold_what_they_say():
    random = np.random.default_rng(0)
    X = [random.normal(size=(T, 1)) for T in random.integers(3, 8, size=1500)]
    y = np.array([x[-1, 0] for x in X]) + random.normal(size=len(X))
    made = quick(RecurrentRegressor, quantiles=(0.95, 0.05, 0.25, 0.75), max_epochs=20).fit(X[:1000], y[:1000])
    assert made.quantiles_.tolist() == [0.05, 0.25, 0.5, 0.75, 0.95]
    for coverage in (0.9, 0.5):
        low, high = made.predict_interval(X[1000:], coverage).T
        assert np.mean((low <= y[1000:]) & (y[1000:] <= high)) == pytest.approx(coverage, abs=0.06)
    assert np.array_equal(made.predict_interval(X), made.predict_interval(X, 0.9))
    every = made.predict_quantiles(X)
    assert (np.diff(every, axis=1) >= 0).all()
    assert np.array_equal(every[:, 2], made.predict(X))
    assert made.score(X[1000:], y[1000:]) > 0.3


def test_intervals_of_several_outputs_and_of_steps():
    X, _, last = ragged()
    made = quick(RecurrentRegressor, quantiles=(0.1, 0.9), max_epochs=2).fit(X, np.stack([last, last], axis=1))
    assert made.predict(X).shape == (len(X), 2)
    assert made.predict_interval(X).shape == (len(X), 2, 2)
    made.set_params(early_stopping=True).fit(X, [x[:, :1] for x in X])
    assert made.predict_quantiles(X)[0].shape == (len(X[0]), 1, 3)


def test_targets_are_scaled_by_scikit_learns_tool():
    X, _, last = ragged()
    made = TransformedTargetRegressor(quick(RecurrentRegressor, max_epochs=30), transformer=StandardScaler())
    assert made.fit(X, 350 + 20 * last).score(X, 350 + 20 * last) > 0.8


def test_training_warns_of_nothing():
    X, y, last = ragged(40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(RecurrentClassifier, max_epochs=2, num_layers=2).fit(X, y).predict(X)
        quick(RecurrentRegressor, max_epochs=2, early_stopping=True).fit(X, last).predict(X)

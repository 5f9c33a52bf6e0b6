"""Data of scikit-learn's users: lists, arrays and pandas objects; and one sentence for what does not fit."""

import numpy as np
import pytest
from messages import message_of

pytest.importorskip("sklearn", minversion="1.6", reason="needs scikit-learn 1.6, the extra 'sklearn'")

from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.preprocessing import StandardScaler

from nblstm.callbacks import LambdaCallback
from nblstm.layers import LSTM, Dense, Input
from nblstm.models import Sequential
from nblstm.optimizers import Adam
from nblstm.sklearn import RecurrentClassifier, RecurrentRegressor, SequenceScaler
from nblstm.sklearn.quantiles import checked_quantiles, interval, intervals
from nblstm.sklearn.sequences import PADDING, Sequences, TrainingBatches

random = np.random.default_rng(0)
LIST = [random.normal(size=(T, 3)) for T in random.integers(2, 9, size=30)]
ARRAY = random.normal(size=(30, 6, 3))
TABLE = random.normal(size=(30, 6))
Y = random.normal(size=30)
LABELS = np.where(Y > 0, "up", "down")


def regressor(**options):
    return RecurrentRegressor(**{"hidden_size": 4, "max_epochs": 2, "random_state": 0} | options)


def predictions(X, y=Y):
    return regressor().fit(X, y).predict(X)


def test_forms_of_a_list():
    expected = predictions(LIST)
    objects = np.empty(len(LIST), object)
    objects[:] = LIST
    same = [tuple(LIST), objects, [x.tolist() for x in LIST], [x.astype("float32") for x in LIST]]
    for given in same:
        assert np.array_equal(predictions(given), expected)
    whole = [np.round(10 * x).astype(int) for x in LIST]
    assert np.array_equal(predictions(whole), predictions([x.astype(float) for x in whole]))


def test_forms_of_one_length():
    """An array (N, T, F), and a list of such, give the same bits; neither has a mask."""
    assert np.array_equal(predictions(ARRAY), predictions(list(ARRAY)))
    assert not regressor().fit(list(ARRAY), Y).model_.makes_masks


def test_a_table_is_sequences_of_one_channel():
    expected = predictions(TABLE)
    assert np.array_equal(predictions(TABLE[:, :, None]), expected)
    assert np.array_equal(predictions(TABLE.tolist()), expected)
    assert np.array_equal(predictions([row[:, None] for row in TABLE]), expected)
    assert np.array_equal(predictions(list(TABLE)), expected)
    made = regressor().fit(TABLE, Y)
    assert made.n_features_in_ == 6
    assert np.array_equal(made.predict(TABLE[:, :, None]), expected)
    assert made.predict([np.arange(3.0), np.arange(9.0)]).shape == (2,)
    made = regressor().fit([row[: 3 + k % 4] for k, row in enumerate(TABLE)], Y)
    assert made.n_features_in_ == 1
    assert made.predict(TABLE).shape == (30,)


def test_models_without_masks_take_other_lengths_too():
    made = regressor().fit(ARRAY, Y)
    alone = np.concatenate([made.predict([x]) for x in LIST])
    assert np.abs(made.predict(LIST) - alone).max() < 1e-6
    made.partial_fit(LIST, Y)
    assert made.n_iter_ == 3


def test_pandas_objects():
    pd = pytest.importorskip("pandas", reason="needs pandas")
    frame = pd.DataFrame(TABLE, columns=[f"hour {k}" for k in range(6)])
    made = regressor().fit(frame, pd.Series(Y))
    assert np.array_equal(made.predict(frame), predictions(TABLE))
    assert made.feature_names_in_.tolist() == [*frame.columns]
    with pytest.raises(ValueError, match="feature names should match"):
        made.predict(frame.rename(columns={"hour 0": "hour"}))
    expected = predictions(LIST)
    assert np.array_equal(predictions(pd.Series(LIST)), expected)
    one = [x[:, 0] for x in LIST]
    assert np.array_equal(predictions(pd.Series([pd.Series(x) for x in one])), predictions([x[:, None] for x in one]))
    frames = [pd.DataFrame(x, columns=["a", "b", "c"]) for x in LIST]
    made = regressor().fit(frames, Y)
    assert np.array_equal(made.predict(frames), expected)
    assert made.feature_names_in_.tolist() == ["a", "b", "c"]
    long = pd.concat(frames, keys=range(len(frames)))
    assert np.array_equal(predictions(long), expected)
    assert np.array_equal(predictions(LIST, pd.Series(Y, index=range(100, 130))), expected)
    for labels in (pd.Series(LABELS), pd.Series(LABELS, dtype="category"), pd.Series(LABELS, dtype="string")):
        assert RecurrentClassifier(max_epochs=1).fit(LIST, labels).classes_.tolist() == ["down", "up"]


def test_labels_of_any_kind():
    for labels in (LABELS, LABELS.astype(object), LABELS == "up", np.where(Y > 0, 7, -3), LABELS.tolist()):
        made = RecurrentClassifier(hidden_size=4, max_epochs=1, random_state=0).fit(LIST, labels)
        assert set(made.predict(LIST)) <= set(labels)
        assert made.classes_.tolist() == sorted(set(np.asarray(labels).tolist()))


def test_steps_are_scaled_over_all_sequences():
    scaler = SequenceScaler().fit(LIST)
    oracle = StandardScaler().fit(np.concatenate(LIST))
    assert np.allclose([scaler.mean_, scaler.var_, scaler.scale_], [oracle.mean_, oracle.var_, oracle.scale_], 1e-13)
    scaled = scaler.transform(LIST)
    assert np.allclose(np.concatenate(scaled), oracle.transform(np.concatenate(LIST)), atol=1e-13)
    assert [x.shape for x in scaled] == [x.shape for x in LIST]
    for again, x in zip(scaler.inverse_transform(scaled), LIST, strict=True):
        assert np.allclose(again, x, atol=1e-13)
    parts = SequenceScaler().partial_fit(LIST[:7]).partial_fit(LIST[7:])
    assert np.allclose([parts.mean_, parts.scale_], [oracle.mean_, oracle.scale_], atol=1e-13)
    assert parts.n_samples_seen_ == sum(map(len, LIST))
    assert SequenceScaler().fit_transform(ARRAY).std(axis=(0, 1)) == pytest.approx(1)
    table = SequenceScaler().fit_transform(300 + TABLE * [1, 2, 3, 4, 5, 6])
    assert table.shape == TABLE.shape
    assert (table.mean(), table.std()) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
    assert table.std(axis=0)[-1] > table.std(axis=0)[0]


def test_scalers_options():
    assert np.allclose(np.concatenate(SequenceScaler(with_mean=False).fit_transform(LIST)).std(axis=0), 1)
    assert np.allclose(SequenceScaler(with_std=False).fit_transform(ARRAY).mean(axis=(0, 1)), 0, atol=1e-12)
    constant = np.full((4, 5, 1), 0.1)
    assert np.allclose(SequenceScaler().fit_transform(constant), 0)
    assert SequenceScaler().fit(constant).scale_ == 1
    assert SequenceScaler().fit(ARRAY).get_feature_names_out().tolist() == ["x0", "x1", "x2"]
    message_of(NotFittedError, lambda: SequenceScaler().transform(LIST), "not fitted")


def test_padding_is_no_data():
    x = Sequences.of_list([np.full((3, 2), 1.0), np.full((1, 2), 2.0), np.full((2, 2), 3.0)])
    assert x.padded(np.array([2, 1])).tolist() == [[[3, 3], [3, 3]], [[2, 2], [PADDING, PADDING]]]
    assert x.take(np.array([2, 0])).flat()[:, 0].tolist() == [3, 3, 1, 1, 1]
    lengths = random.integers(1, 50, size=3000)
    many = Sequences.of_list([np.zeros((T, 1)) for T in lengths])
    for masks in (True, False):
        batches = list(many.batches(masks))
        assert sorted(np.concatenate(batches)) == [*range(3000)]
        assert masks or all(len(set(lengths[chosen])) == 1 for chosen in batches)
        generator = np.random.default_rng(0)
        training = TrainingBatches([many, lengths, None], 32, generator, masks)
        orders = [[y for _, y in training] for _ in range(2)]
        assert all(sorted(np.concatenate(order)) == sorted(lengths) for order in orders)
        assert not np.array_equal(np.concatenate(orders[0]), np.concatenate(orders[1]))
        assert masks or all(len(set(y)) == 1 for order in orders for y in order)
    one = Sequences.of_list([np.zeros((100_000, 1)), *[np.zeros((5, 1))] * 2000])
    assert max(len(chosen) * one.lengths[chosen].max() for chosen in one.batches(True)) == 100_000


def with_a(value, place=(3, 1, 2)):
    X = [x.copy() for x in LIST]
    X[place[0]][place[1:]] = value
    return X


@pytest.mark.parametrize(
    ("X", "error", "needed"),
    [
        (with_a(np.nan), ValueError, ["NaN, in sequence 3 at step 1, feature 2"]),
        (with_a(np.inf), ValueError, ["infinity", "in sequence 3"]),
        (with_a(1e300), ValueError, ["beyond float32", "in sequence 3"]),
        (with_a(PADDING), ValueError, ["beyond float32", "in sequence 3"]),
        (np.where(ARRAY[4, 2, 1] == ARRAY, np.nan, ARRAY), ValueError, ["NaN, in sequence 4 at step 2, feature 1"]),
        (np.where(TABLE[4, 2] == TABLE, np.nan, TABLE), ValueError, ["NaN, in sequence 4 at step 2"]),
        ([*LIST[:4], np.zeros((0, 3)), *LIST[5:]], ValueError, ["shape (0, 3) at 4", "give one step or more"]),
        ([*LIST[:4], np.zeros((5, 2)), *LIST[5:]], ValueError, ["different numbers of features", "(T, features)"]),
        ([x.T for x in LIST], ValueError, ["different numbers of features", "[x.T for x in X]"]),
        (np.zeros((30, 0, 3)), ValueError, ["(0, 3)", "one step or more"]),
        ([*LIST[:4], np.array([["a", "b", "c"]]), *LIST[5:]], TypeError, ["X[4]"]),
        ([*LIST[:4], 1j * LIST[4], *LIST[5:]], TypeError, ["X[4]", "complex"]),
        (LIST[:10], ValueError, ["inconsistent numbers of samples"]),
    ],
)
def test_data_that_does_not_fit(X, error, needed):
    message_of(error, lambda: regressor().fit(X, Y), *needed)


def test_axes_are_never_guessed():
    """(N, channels, T), as aeon and sktime have it, looks like (N, T, features): the message names it."""
    made = regressor().fit(ARRAY, Y)
    message_of(ValueError, lambda: made.predict(np.swapaxes(ARRAY, 1, 2)), "6 features", "expecting 3", "np.swapaxes")
    ragged = regressor().fit(LIST, Y)
    swapped = [x.T for x in LIST if len(x) == 6]
    message_of(ValueError, lambda: ragged.predict(swapped), "6 features", "expecting 3", "[x.T for x in X]")
    message_of(ValueError, lambda: ragged.predict(TABLE), "was fitted on sequences of 3 features")
    message_of(ValueError, lambda: made.predict(np.zeros((2, 5, 4))), "4 features", "expecting 3")
    message_of(ValueError, lambda: SequenceScaler().fit(ARRAY).transform(np.zeros((2, 5, 4))), "expecting 3")


@pytest.mark.parametrize(
    ("options", "error", "needed"),
    [
        ({"cell": "lstn"}, ValueError, ["cell", "lstn"]),
        ({"cell": 3}, TypeError, ["cell is 3"]),
        ({"hidden_size": 0}, ValueError, ["hidden_size is 0"]),
        ({"num_layers": 1.5}, TypeError, ["num_layers"]),
        ({"bidirectional": "yes"}, TypeError, ["bidirectional"]),
        ({"dropout": 1.0}, ValueError, ["dropout"]),
        ({"optimizer": "adem"}, ValueError, ["did you mean 'adam'"]),
        ({"optimizer": Adam(0.1), "learning_rate": 0.2}, ValueError, ["learning_rate is 0.2", "has its own"]),
        ({"learning_rate": -1}, ValueError, ["learning_rate"]),
        ({"batch_size": 0}, ValueError, ["batch_size"]),
        ({"max_epochs": 0}, ValueError, ["max_epochs"]),
        ({"early_stopping": True, "validation_fraction": 1.5}, ValueError, ["validation_fraction"]),
        ({"early_stopping": "yes"}, TypeError, ["early_stopping"]),
        ({"n_iter_no_change": 0}, ValueError, ["n_iter_no_change"]),
        ({"tol": -1}, ValueError, ["tol"]),
        ({"warm_start": 2}, TypeError, ["warm_start"]),
        ({"model": "lstm", "hidden_size": 32}, TypeError, ["model is 'lstm'", "a function"]),
        ({"model": lambda features, outputs: LSTM(outputs), "hidden_size": 32}, TypeError, ["let it be a Sequential"]),
        ({"model": Sequential([LSTM(4)]), "hidden_size": 5}, ValueError, ["hidden_size is 5", "model is given"]),
        ({"model": Sequential([LSTM(4)]), "hidden_size": 32}, ValueError, ["outputs of shape (None, 4)", "(N, 1)"]),
        ({"quantiles": 0.5}, TypeError, ["quantiles is 0.5"]),
        ({"quantiles": [0.5, 1.0]}, ValueError, ["a quantile is 1.0"]),
        ({"quantiles": []}, ValueError, ["quantiles is empty"]),
    ],
)
def test_arguments_that_do_not_fit(options, error, needed):
    message_of(error, lambda: regressor(**options).fit(LIST, Y), *needed)


def test_targets_that_do_not_fit():
    fit = regressor().fit
    message_of(ValueError, lambda: fit(LIST, [np.zeros((2, 1))] * 30), "steps in sequence", "give as many")
    message_of(ValueError, lambda: fit(LIST, Y, -np.ones(30)), "sample_weight", "below 0")
    message_of(ValueError, lambda: fit(LIST, Y, np.ones(29)), "sample_weight has shape (29,)")
    message_of(ValueError, lambda: fit(LIST, np.full(30, 1e300)), "beyond float32")
    message_of(ValueError, lambda: fit(LIST, Y).partial_fit(LIST, np.stack([Y, Y], axis=1)), "fitted on 1")
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert fit(LIST, Y[:, None]).predict(LIST).shape == (30,)
    classify = RecurrentClassifier(hidden_size=4, max_epochs=1)
    message_of(ValueError, lambda: classify.fit(LIST, ["up"] * 30), "y has one class")
    message_of(ValueError, lambda: classify.partial_fit(LIST, LABELS), "classes must be passed on the first call")
    message_of(ValueError, lambda: classify.partial_fit(LIST, LABELS, ["a", "up"]), "label 'down'", "not among")
    message_of(ValueError, lambda: classify.fit(LIST, [np.zeros(1)] * 30), "labels for sequence")
    message_of(ValueError, lambda: classify.fit(ARRAY, np.eye(2)[Y.astype(int) % 2]), "2 labels", "6 steps", "(N,)")
    made = classify.set_params(warm_start=True).fit(LIST, LABELS)
    message_of(ValueError, lambda: made.fit(LIST, np.where(LABELS == "up", "left", "right")), "label 'left'")
    message_of(ValueError, lambda: made.partial_fit(LIST, LABELS, ["a", "b"]), "the first call got")
    balanced = RecurrentClassifier(class_weight="balanced")
    message_of(
        ValueError, lambda: balanced.partial_fit(LIST, LABELS, ["down", "up"]), "'balanced'", "a part of the data"
    )
    stops = regressor(early_stopping=True)
    message_of(ValueError, lambda: stops.partial_fit(LIST, Y), "early_stopping is True")


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_training_that_diverges():
    diverges = regressor(learning_rate=1e30, optimizer="sgd")
    message_of(ValueError, lambda: diverges.fit(LIST, 1e10 * Y), "lower the learning rate")


def test_quantiles_that_were_not_fitted():
    made = regressor().fit(LIST, Y)
    message_of(ValueError, lambda: made.predict_interval(LIST), "quantiles is None")
    message_of(ValueError, lambda: made.predict_quantiles(LIST), "quantiles is None")
    median = regressor(quantiles=[0.5]).fit(LIST, Y)
    message_of(ValueError, lambda: median.predict_interval(LIST), "median alone")
    made = regressor(quantiles=[0.1, 0.9]).fit(LIST, Y)
    message_of(ValueError, lambda: made.predict_interval(LIST, 0.9), "the quantiles 0.05 and 0.95", "(0.1, 0.5, 0.9)")
    message_of(ValueError, lambda: made.predict_interval(LIST, 90), "coverage is 90")


@pytest.mark.parametrize("kind", [RecurrentClassifier, RecurrentRegressor])
def test_not_fitted(kind):
    names = ["predict", "predict_proba"] if kind is RecurrentClassifier else ["predict", "predict_interval"]
    for name in names:
        message_of(NotFittedError, lambda name=name: getattr(kind(), name)(LIST), "not fitted yet")


def test_a_models_own_number_of_steps():
    model = Sequential([Input((6, 3)), LSTM(4), Dense(1)])
    made = RecurrentRegressor(model=model, max_epochs=1).fit(ARRAY, Y)
    message_of(ValueError, lambda: made.predict(ARRAY[:, :5]), "(None, 6, 3)")


def as_objects(parts):
    found = np.empty(len(parts), object)
    found[:] = parts
    return found


def test_targets_of_steps_come_in_all_forms_that_sequences_do():
    pd = pytest.importorskip("pandas", reason="needs pandas")
    labels = [np.where(x[:, 0] > 0, "up", "down") for x in LIST]
    classify = RecurrentClassifier(hidden_size=4, max_epochs=2, random_state=0)
    expected = np.concatenate(classify.fit(LIST, labels).predict_proba(LIST))
    columns = [part[:, None] for part in labels]
    table = pd.concat({f"{n}": pd.Series(part) for n, part in enumerate(labels)})
    for given in ([part.tolist() for part in labels], as_objects(labels), pd.Series(labels), columns, table):
        assert np.array_equal(np.concatenate(classify.fit(LIST, given).predict_proba(LIST)), expected)
    same = ARRAY[:, :, 0] > 0
    assert np.array_equal(classify.fit(ARRAY, same.tolist()).predict(ARRAY), classify.fit(ARRAY, same).predict(ARRAY))

    numbers = [x[:, :1] for x in LIST]
    expected = np.concatenate(regressor().fit(LIST, numbers).predict(LIST))
    table = pd.concat({f"{n}": pd.DataFrame(part) for n, part in enumerate(numbers)})
    for given in ([part.tolist() for part in numbers], as_objects(numbers), pd.Series(numbers), table):
        assert np.array_equal(np.concatenate(regressor().fit(LIST, given).predict(LIST)), expected)
    flat = [part[:, 0] for part in numbers]
    for given in (flat, as_objects(flat), pd.Series(flat)):
        message_of(ValueError, lambda given=given: regressor().fit(LIST, given), "shapes such as (2,)", "(T_i, 1)")
    message_of(ValueError, lambda: classify.fit(LIST, [np.stack([part] * 2, 1) for part in labels]), "y[0] has shape")


def test_weights_of_a_score_over_steps():
    labels, weight = [x[:, 0] > 0 for x in LIST], np.arange(1.0, 31)
    made = RecurrentClassifier(hidden_size=4, max_epochs=2, random_state=0).fit(LIST, labels)
    right = np.concatenate(made.predict(LIST)) == np.concatenate(labels)
    assert made.score(LIST, labels, weight) == pytest.approx(
        np.average(right, weights=weight.repeat([*map(len, LIST)]))
    )
    message_of(ValueError, lambda: made.score(LIST, labels, weight[1:]), "sample_weight has shape (29,)")
    numbers = [x[:, :1] for x in LIST]
    steps = regressor().fit(LIST, numbers)
    message_of(ValueError, lambda: steps.score(LIST, numbers, weight[1:]), "sample_weight has shape (29,)")


def test_columns_of_all_frames_have_the_same_order():
    pd = pytest.importorskip("pandas", reason="needs pandas")
    frames = [pd.DataFrame(x, columns=[*"abc"]) for x in LIST]
    made = regressor().fit(frames, Y)
    assert np.array_equal(made.predict(frames), predictions(LIST))
    frames[7] = frames[7][[*"bac"]]
    for call in (
        lambda: regressor().fit(frames, Y),
        lambda: made.predict(frames),
        lambda: SequenceScaler().fit(frames),
    ):
        message_of(ValueError, call, "X[7] has the columns ['b', 'a', 'c'], and X[0] has ['a', 'b', 'c']")
    table = pd.concat(dict(enumerate(frames)))
    table.index = table.index.set_codes(np.where(table.index.codes[0] == 4, -1, table.index.codes[0]), level=0)
    message_of(ValueError, lambda: made.predict(table), "X has rows whose first index level is NaN")


@pytest.mark.parametrize(
    ("X", "error", "needed"),
    [
        ([], ValueError, "X is an empty list"),
        ((x for x in LIST), TypeError, "X is of type generator; give a list of arrays"),
        ({"a": LIST}, TypeError, "X is of type dict"),
        ("text", TypeError, "X is of type str"),
        (None, TypeError, "X is of type NoneType"),
    ],
)
def test_what_is_no_list_of_sequences(X, error, needed):
    message_of(error, lambda: regressor().fit(X, Y), needed)
    message_of(error, lambda: regressor().fit(LIST, Y).predict(X), needed)


def test_what_cannot_be_held_out():
    stops = regressor(early_stopping=True)
    message_of(
        ValueError,
        lambda: stops.fit(LIST[:1], Y[:1]),
        "and 1 are too few for two parts;",
        "early_stopping=False",
    )
    weight = np.zeros(30)
    weight[0] = 1
    message_of(ValueError, lambda: stops.fit(LIST, Y, weight), "sample_weight is 0 for all 3 sequences")
    classify = RecurrentClassifier(hidden_size=4, early_stopping=True)
    rare, many = ["a"] * 29 + ["b"], [f"{k % 10}" for k in range(30)]
    message_of(ValueError, lambda: classify.fit(LIST, rare), "y has one sequence of the class 'b'")
    message_of(ValueError, lambda: classify.fit(LIST, many), "30 are too few for two parts with all classes")


def test_one_callback_needs_no_list():
    seen = []
    alone = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    regressor(callbacks=alone).fit(LIST, Y)
    assert seen == [0, 1]
    message_of(TypeError, lambda: regressor(callbacks=3).fit(LIST, Y), "callbacks has 3", "EarlyStopping()")


def test_intervals_lie_between_quantiles_of_the_same_distance_from_the_median():
    levels = checked_quantiles((5 / 6, 0.05, 1 / 6, 0.95, 0.7)).tolist()
    assert levels == [0.05, 1 / 6, 0.5, 0.7, 5 / 6, 0.95]
    assert list(intervals(levels).values()) == [(0, 5), (1, 4)]
    for coverage, ends in ((0.9, [0, 5]), (2 / 3, [1, 4]), (0.666667, [1, 4])):
        assert interval(levels, coverage) == ends
    message_of(ValueError, lambda: interval(levels, 0.4), "intervals of [0.9, 0.666666667]", "0.3 and 0.7")
    message_of(ValueError, lambda: interval((0.2, 0.5), 0.6), "(0.2, 0.5) have no such interval", "0.2 and 0.8")

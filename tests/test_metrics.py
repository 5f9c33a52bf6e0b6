"""Metrics against Keras's and counts by hand; weights, masks, the dispatch of "accuracy", names."""

import math

import numpy as np
import pytest
from golden import keras_training
from tolerances import DTYPES, OUTPUT

from nblstm.training import losses, metrics

RNG = np.random.default_rng(0)


def updated(metric, *batch, **options):
    metric.update_state(*batch, **options)
    return metric.result()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", keras_training.cases("metrics"))
def test_keras(case, dtype):
    name, options = keras_training.CASES[case]
    given = keras_training.arrays(case)
    metric = getattr(metrics, name)(**options)
    results = []
    for rows in (slice(0, 4), slice(4, None)):
        weight, mask = (None if given[k] is None else given[k][rows] for k in ("sample_weight", "mask"))
        results.append(updated(metric, given["y_true"][rows], given["y_pred"][rows].astype(dtype), weight, mask))
    assert all(isinstance(result, float) for result in results)
    np.testing.assert_allclose(results, given["results"], rtol=OUTPUT[dtype])
    metric.reset_state()
    assert metric.result() == 0.0
    first = [None if given[k] is None else given[k][:4] for k in ("y_true", "y_pred", "sample_weight", "mask")]
    assert updated(metric, *first) == pytest.approx(results[0], rel=OUTPUT[dtype])


@pytest.mark.parametrize("case", keras_training.cases("scores"))
def test_keras_scores(case):
    """Metrics of sums, in batches; taken up from a state of the first batch, they give the same bits."""
    name, options = keras_training.CASES[case]
    given = keras_training.arrays(case)
    metric, again = (getattr(metrics, name)(**options) for _ in range(2))
    for k, rows in enumerate((slice(0, 4), slice(4, None))):
        weight = None if given["sample_weight"] is None else given["sample_weight"][rows]
        again.load_state(metric.state())
        result = updated(metric, given["y_true"][rows], given["y_pred"][rows], weight)
        expected = given["results"][k]
        assert np.shape(result) == expected.shape
        np.testing.assert_allclose(result, expected, rtol=OUTPUT["float64"], atol=1e-15)
        np.testing.assert_array_equal(updated(again, given["y_true"][rows], given["y_pred"][rows], weight), result)
    single = getattr(metrics, name)(**options)
    both = given["y_true"], given["y_pred"].astype("float32"), given["sample_weight"]
    np.testing.assert_allclose(updated(single, *both), expected, rtol=OUTPUT["float32"], atol=1e-6)
    metric.reset_state()
    assert not np.any(metric.result())


def test_called_they_add_a_batch_and_give_the_mean_so_far():
    metric = metrics.MeanSquaredError()
    assert metric([[1.0], [2.0]], [[1.5], [2.0]]) == pytest.approx(0.125)
    assert metric([[0.0], [0.0]], [[1.0], [1.0]], sample_weight=[1.0, 0.0]) == pytest.approx(1.25 / 3)
    assert metrics.Mean()([1.0, 3.0]) == 2.0


def test_an_error_names_the_metric():
    metric = metrics.MeanSquaredError("mine")
    with pytest.raises(ValueError, match=r"metric 'mine': y_true has shape \(4,\); it needs that of y_pred"):
        metric.update_state(np.zeros(4), np.zeros((4, 3)))


# --- by hand --------------------------------------------------------------------------------------


def test_binary_accuracy():
    assert updated(metrics.BinaryAccuracy(), [[1], [1], [0], [0]], [[0.98], [1.0], [0.0], [0.6]]) == 0.75
    assert updated(metrics.BinaryAccuracy(), [1, 1, 0, 0], [0.98, 1.0, 0.0, 0.6], [1, 0, 0, 1]) == 0.5
    assert updated(metrics.BinaryAccuracy(threshold=0.99), [1, 1, 0, 0], [[0.98], [1.0], [0.0], [0.6]]) == 0.75
    assert updated(metrics.BinaryAccuracy(), [0.0], [0.5]) == 1.0  # Keras counts only what is above


def test_categorical_accuracies():
    y_pred = [[0.1, 0.9, 0.8], [0.05, 0.95, 0.0]]
    assert updated(metrics.CategoricalAccuracy(), [[0, 0, 1], [0, 1, 0]], y_pred) == 0.5
    assert updated(metrics.CategoricalAccuracy(), [[0, 0, 1], [0, 1, 0]], y_pred, [0.7, 0.3]) == pytest.approx(0.3)
    assert updated(metrics.SparseCategoricalAccuracy(), [2, 1], y_pred) == 0.5
    assert updated(metrics.SparseCategoricalAccuracy(), [[2], [1]], y_pred) == 0.5
    assert updated(metrics.TopKCategoricalAccuracy(k=2), [[0, 0, 1], [0, 1, 0]], y_pred) == 1.0
    assert updated(metrics.TopKCategoricalAccuracy(k=2), [[1, 0, 0], [0, 1, 0]], y_pred) == 0.5


def test_top_k_of_nan_and_ties():
    metric = metrics.TopKCategoricalAccuracy(k=1)
    assert updated(metric, [[1, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.5]]) == 1.0
    metric.reset_state()
    assert updated(metric, [[1, 0]], [[np.nan, 0.5]]) == 0.0


def test_errors():
    y_true, y_pred = [[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]
    assert updated(metrics.MeanSquaredError(), y_true, y_pred) == 0.5
    assert updated(metrics.MeanAbsoluteError(), y_true, y_pred, [1, 0]) == 0.5
    assert updated(metrics.RootMeanSquaredError(), y_true, y_pred) == pytest.approx(math.sqrt(0.5))


def test_root_mean_squared_error_of_steps_with_a_mask():
    y_true, y_pred, mask = RNG.normal(size=(3, 4, 2)), RNG.normal(size=(3, 4, 2)), RNG.random((3, 4)) < 0.6
    expected = math.sqrt(((y_pred - y_true) ** 2)[mask].mean())
    assert updated(metrics.RootMeanSquaredError(), y_true, y_pred, mask=mask) == pytest.approx(expected)


def test_mean():
    mean = metrics.Mean("loss")
    mean.update_state(2.0, sample_weight=3)
    mean.update_state(4.0, sample_weight=1)
    assert mean.result() == 2.5
    mean.update_state([1.0, 3.0])
    assert mean.result() == pytest.approx(14 / 6)
    mean.reset_state()
    mean.update_state(7.0)
    assert mean.result() == 7.0


def test_weights_of_rows_and_a_mask_of_steps():
    y_true, y_pred = RNG.integers(3, size=(4, 5)), RNG.random((4, 5, 3))
    weight, mask = RNG.uniform(0, 2, 4), RNG.random((4, 5)) < 0.6
    both = weight[:, None] * mask
    expected = (both * (y_pred.argmax(-1) == y_true)).sum() / both.sum()
    assert updated(metrics.SparseCategoricalAccuracy(), y_true, y_pred, weight, mask) == pytest.approx(expected)


def test_where_nothing_counts_the_result_is_0():
    assert updated(metrics.MeanSquaredError(), [1.0], [2.0], [0.0]) == 0.0


# --- functions ------------------------------------------------------------------------------------


def test_functions_give_a_value_for_each_row_or_bit():
    bits, p = np.array([[1, 0, 1], [0, 1, 1]]), np.array([[0.6, 0.2, 0.1], [0.9, 0.9, 0.2]])
    assert metrics.binary_accuracy(bits, p).tolist() == [[1, 1, 0], [0, 1, 0]]
    assert metrics.binary_accuracy(bits, p, threshold=0.95).tolist() == [[0, 1, 0], [1, 0, 0]]
    one_hot, classes = np.eye(3)[[0, 2]], np.array([0, 2])
    assert metrics.categorical_accuracy(one_hot, p).tolist() == [1, 0]
    assert metrics.sparse_categorical_accuracy(classes, p).tolist() == [1, 0]
    assert metrics.sparse_categorical_accuracy(classes[:, None], p).tolist() == [1, 0]
    for k, expected in ((1, [1, 0]), (2, [1, 0]), (3, [1, 1])):
        assert metrics.top_k_categorical_accuracy(one_hot, p, k).tolist() == expected
        assert metrics.sparse_top_k_categorical_accuracy(classes, p, k).tolist() == expected
    assert metrics.sparse_top_k_categorical_accuracy([-1, 3], p, 3).tolist() == [0, 0]
    assert metrics.binary_accuracy(bits, p).dtype == metrics.categorical_accuracy(one_hot, p).dtype == np.float32


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (metrics.binary_accuracy, metrics.BinaryAccuracy),
        (metrics.sparse_top_k_categorical_accuracy, metrics.SparseTopKCategoricalAccuracy),
        (metrics.mean_squared_error, metrics.LossMetric),
    ],
)
def test_a_function_stands_for_its_metric(function, kind):
    metric = metrics.get(function)
    assert type(metric) is kind
    assert metric.name == function.__name__
    assert metric.direction == kind.direction


# --- "accuracy" -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["accuracy", "acc", "Accuracy", "ACC"])
@pytest.mark.parametrize(
    ("target", "prediction", "kind"),
    [
        ((6, 1), (6, 1), metrics.BinaryAccuracy),
        ((6,), (6, 1), metrics.BinaryAccuracy),
        ((6,), (6,), metrics.BinaryAccuracy),
        ((6, 4), (6, 4, 1), metrics.BinaryAccuracy),
        ((6,), (6, 3), metrics.SparseCategoricalAccuracy),
        ((6, 1), (6, 3), metrics.SparseCategoricalAccuracy),
        ((6, 4), (6, 4, 3), metrics.SparseCategoricalAccuracy),
        ((6, 3), (6, 3), metrics.CategoricalAccuracy),
        ((6, 4, 3), (6, 4, 3), metrics.CategoricalAccuracy),
    ],
)
def test_accuracy_goes_by_the_shapes(name, target, prediction, kind):
    y_true, y_pred = RNG.integers(2, size=target), RNG.random(prediction)
    metric = metrics.get(name)
    assert metric.name == name
    assert updated(metric, y_true, y_pred) == updated(kind(), y_true, y_pred)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "kind", "name"),
    [
        ("mae", metrics.MeanAbsoluteError, "mae"),
        ("MSE", metrics.MeanSquaredError, "MSE"),
        ("mean_squared_error", metrics.MeanSquaredError, "mean_squared_error"),
        ("RootMeanSquaredError", metrics.RootMeanSquaredError, "RootMeanSquaredError"),
        ("binary_accuracy", metrics.BinaryAccuracy, "binary_accuracy"),
        ("top_k_categorical_accuracy", metrics.TopKCategoricalAccuracy, "top_k_categorical_accuracy"),
        ("bce", metrics.BinaryCrossentropy, "bce"),
        (metrics.BinaryAccuracy, metrics.BinaryAccuracy, "binary_accuracy"),
        (metrics.BinaryAccuracy(name="mine"), metrics.BinaryAccuracy, "mine"),
        (losses.huber, metrics.LossMetric, "huber"),
        (losses.Huber(2.0, name="mine"), metrics.LossMetric, "mine"),
    ],
)
def test_names(identifier, kind, name):
    metric = metrics.get(identifier)
    assert type(metric) is kind
    assert metric.name == name


@pytest.mark.parametrize(
    "metric",
    [
        metrics.BinaryAccuracy(threshold=0.3), metrics.TopKCategoricalAccuracy(3), metrics.Accuracy(),
        metrics.BinaryCrossentropy("mine", True, 0.1), metrics.SparseCategoricalCrossentropy(from_logits=True),
        metrics.Mean("loss"),
    ],
)  # fmt: skip
def test_a_configuration_makes_the_same_metric(metric):
    again = metrics.get(metric.record())
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    assert again.name == metric.name


def test_a_function_of_the_users_own():
    def largest(y_true, y_pred):
        return np.abs(y_pred - y_true).max(-1)

    metric = metrics.get(largest)
    assert metric.name == "largest"
    assert updated(metric, [[1.0, 2.0], [3.0, 4.0]], [[1.5, 2.0], [3.0, 6.0]]) == 1.25
    assert updated(metrics.get(lambda y_true, y_pred: 3.0), [1.0], [1.0]) == 3.0


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target", "prediction", "said"),
    [
        ("mse", np.zeros((3, 2)), np.zeros((3, 4)), r"y_true has shape \(3, 2\).*\(3, 4\)"),
        ("accuracy", np.zeros((3, 2)), np.zeros((3, 4)), r"y_true has shape \(3, 2\).*\(3, 4\)"),
        ("accuracy", np.zeros(2), np.zeros((3, 4)), r"y_true has shape \(2,\).*\(3,\)"),
        ("categorical_accuracy", np.zeros(3), np.zeros((3, 4)), "one-hot"),
        ("top_k_categorical_accuracy", np.zeros(3), np.zeros((3, 4)), "one-hot"),
        ("accuracy", np.zeros((0, 4)), np.zeros((0, 4)), "at least one row"),
        ("sparse_categorical_crossentropy", [3], np.ones((1, 3)), "y_true contains 3"),
    ],
)
def test_shapes_that_do_not_fit(name, target, prediction, said):
    metric = metrics.get(name)
    with pytest.raises(ValueError, match=said):
        metric.update_state(target, prediction)
    assert metric.result() == 0.0


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: metrics.get("accurcy"), ValueError, r"no metric named 'accurcy' .did you mean 'accuracy'\?.; give"),
        (lambda: metrics.get(None), TypeError, "None is no metric"),
        (lambda: metrics.TopKCategoricalAccuracy(0), ValueError, "k is 0"),
        (lambda: metrics.BinaryAccuracy(threshold="x"), TypeError, "threshold is 'x'"),
        (lambda: metrics.Mean().update_state([1.0, 2.0], [1.0, np.inf]), ValueError, "sample_weight contains inf"),
        (
            lambda: metrics.Mean("m").update_state("x"),
            TypeError,
            "the value of metric 'm' is str; give an array of real numbers",
        ),
        (lambda: metrics.Mean().update_state([1.0, 2.0], [1.0] * 3), ValueError, "sample_weight has shape"),
    ],
)
def test_arguments(make, error, said):
    with pytest.raises(error, match=said):
        make()

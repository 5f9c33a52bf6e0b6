"""Losses against textbook formulas, central differences and Keras's; weights, masks, labels out of range."""

import math

import numpy as np
import pytest
from golden import keras_training
from tolerances import DIFFERENCES, DTYPES, GRADIENT, OUTPUT, assert_close

from nblstm.training import losses

RNG = np.random.default_rng(0)
B, T, C = 4, 3, 5
LABELS = RNG.integers(C, size=(B, T))
ONE_HOT = np.eye(C)[LABELS]
BITS = (RNG.random((B, T, C)) < 0.5).astype(float)
NUMBERS = RNG.normal(size=(B, T, C))
LOGITS = RNG.normal(size=(B, T, C))
EXP = np.exp(LOGITS)
SOFTMAX = EXP / EXP.sum(-1, keepdims=True)
SIGMOID = 1 / (1 + 1 / EXP)
SEVERAL = np.random.default_rng(1).normal(size=(B, T, 3 * C))
WEIGHTS, MASK = RNG.uniform(0, 2, (B, T)), RNG.random((B, T)) < 0.6


def huber(d, delta):
    return np.where(np.abs(d) <= delta, d**2 / 2, delta * np.abs(d) - delta**2 / 2)


def bits(p, t):
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


def smooth(t, amount, middle):
    return t * (1 - amount) + amount * middle


def pinball(d, q):
    return np.maximum(q * d, (q - 1) * d)


def below(p, t):
    return np.maximum(1 - p * t, 0)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def log_of(x):
    return np.log(1 + np.maximum(x, 1e-7))


def logits(p):
    return np.log(np.exp(p).sum(-1, keepdims=True))


#: By name: loss, target, prediction, and the textbook's value of each row.
TEXTBOOK = {
    "squared": (losses.MeanSquaredError(), NUMBERS, LOGITS, lambda p: ((p - NUMBERS) ** 2).mean(-1)),
    "absolute": (losses.MeanAbsoluteError(), NUMBERS, LOGITS, lambda p: np.abs(p - NUMBERS).mean(-1)),
    "huber": (losses.Huber(), NUMBERS, LOGITS, lambda p: huber(p - NUMBERS, 1).mean(-1)),
    "huber_2": (losses.Huber(2.0), NUMBERS, LOGITS, lambda p: huber(p - NUMBERS, 2).mean(-1)),
    "percentage": (
        losses.MeanAbsolutePercentageError(), NUMBERS, LOGITS,
        lambda p: 100 * np.abs((p - NUMBERS) / NUMBERS).mean(-1),
    ),
    "logarithmic": (
        losses.MeanSquaredLogarithmicError(), EXP, SIGMOID, lambda p: ((log_of(p) - log_of(EXP)) ** 2).mean(-1),
    ),
    "logarithmic_clipped": (
        losses.MeanSquaredLogarithmicError(), NUMBERS, LOGITS, lambda p: ((log_of(p) - log_of(NUMBERS)) ** 2).mean(-1),
    ),
    "log_cosh": (losses.LogCosh(), NUMBERS, 3 * LOGITS, lambda p: np.log(np.cosh(p - NUMBERS)).mean(-1)),
    "poisson": (losses.Poisson(), BITS, EXP, lambda p: (p - BITS * np.log(p + 1e-7)).mean(-1)),
    "cosine": (losses.CosineSimilarity(), NUMBERS, LOGITS, lambda p: -(unit(p) * unit(NUMBERS)).sum(-1)),
    "hinge": (losses.Hinge(), BITS, LOGITS, lambda p: below(p, 2 * BITS - 1).mean(-1)),
    "hinge_signs": (losses.Hinge(), 2 * BITS - 1, LOGITS, lambda p: below(p, 2 * BITS - 1).mean(-1)),
    "squared_hinge": (losses.SquaredHinge(), NUMBERS, LOGITS, lambda p: (below(p, NUMBERS) ** 2).mean(-1)),
    "categorical_hinge": (
        losses.CategoricalHinge(), ONE_HOT, LOGITS,
        lambda p: np.maximum(((1 - ONE_HOT) * p).max(-1) - (ONE_HOT * p).sum(-1) + 1, 0),
    ),
    "divergence": (
        losses.KLDivergence(), SIGMOID, SOFTMAX,
        lambda p: (SIGMOID * np.log(SIGMOID / p)).sum(-1),
    ),
    "divergence_one_hot": (
        losses.KLDivergence(), ONE_HOT, SOFTMAX,
        lambda p: (np.clip(ONE_HOT, 1e-7, 1) * np.log(np.clip(ONE_HOT, 1e-7, 1) / p)).sum(-1),
    ),
    "quantile": (losses.Quantile(0.8), NUMBERS, LOGITS, lambda p: pinball(NUMBERS - p, 0.8).mean(-1)),
    "quantiles": (
        losses.Quantile([0.1, 0.5, 0.95]), NUMBERS, SEVERAL,
        lambda p: pinball(NUMBERS[..., None] - p.reshape(B, T, C, 3), np.array([0.1, 0.5, 0.95])).mean((-2, -1)),
    ),
    "binary": (losses.BinaryCrossentropy(), BITS, SIGMOID, lambda p: bits(p, BITS).mean(-1)),
    "binary_smooth": (
        losses.BinaryCrossentropy(label_smoothing=0.2), BITS, SIGMOID,
        lambda p: bits(p, smooth(BITS, 0.2, 0.5)).mean(-1),
    ),
    "binary_logits": (
        losses.BinaryCrossentropy(from_logits=True), BITS, LOGITS, lambda p: bits(1 / (1 + np.exp(-p)), BITS).mean(-1),
    ),
    "categorical": (
        losses.CategoricalCrossentropy(), ONE_HOT, SOFTMAX,
        lambda p: -(ONE_HOT * np.log(p / p.sum(-1, keepdims=True))).sum(-1),
    ),
    "categorical_smooth": (
        losses.CategoricalCrossentropy(label_smoothing=0.1, from_logits=True), ONE_HOT, LOGITS,
        lambda p: -(smooth(ONE_HOT, 0.1, 1 / C) * (p - logits(p))).sum(-1),
    ),
    "categorical_logits": (
        losses.CategoricalCrossentropy(from_logits=True), NUMBERS**2 / 20, LOGITS,
        lambda p: -(NUMBERS**2 / 20 * (p - logits(p))).sum(-1),
    ),
    "sparse": (
        losses.SparseCategoricalCrossentropy(), LABELS, SOFTMAX,
        lambda p: -(ONE_HOT * np.log(p / p.sum(-1, keepdims=True))).sum(-1),
    ),
    "sparse_logits": (
        losses.SparseCategoricalCrossentropy(from_logits=True), LABELS, LOGITS,
        lambda p: -(ONE_HOT * (p - logits(p))).sum(-1),
    ),
}  # fmt: skip


def differences(loss, array):
    """The gradient of a function of one array, by central differences with two widths, exact to the fourth order."""
    out, width = np.empty_like(array), 1e-4
    for k in np.ndindex(array.shape):
        step = np.zeros_like(array)
        step[k] = width
        near, far = (loss(array + n * step) - loss(array - n * step) for n in (1, 2))
        out[k] = (8 * near - far) / (12 * width)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TEXTBOOK)
def test_value_and_gradient(name, dtype):
    loss, target, prediction, textbook = TEXTBOOK[name]
    wide = (prediction := prediction.astype(dtype)).astype(np.float64)
    value, gradient = loss.value_and_gradient(target, prediction)
    assert isinstance(value, float)
    assert value == pytest.approx(textbook(wide).mean(), rel=OUTPUT[dtype])
    assert gradient.dtype == dtype
    assert_close(gradient, differences(lambda p: textbook(p).mean(), wide), DIFFERENCES[dtype])
    assert loss(target, prediction) == value
    assert_close(loss.values(target, prediction), textbook(wide), OUTPUT[dtype])


@pytest.mark.parametrize(("weight", "mask"), [(WEIGHTS, None), (None, MASK), (WEIGHTS, MASK), (WEIGHTS[:, 0], MASK)])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("name", TEXTBOOK)
def test_weights_and_masks(name, reduction, weight, mask):
    loss, target, prediction, textbook = TEXTBOOK[name]
    loss = losses.get({"class_name": type(loss).__name__, "config": loss.get_config() | {"reduction": reduction}})
    w = np.ones((B, T)) if weight is None else np.broadcast_to(weight.reshape(B, -1), (B, T))
    k = np.ones((B, T)) if mask is None else mask
    divisor = {"sum_over_batch_size": k.sum(), "sum": 1, "mean_with_sample_weight": (w * k).sum()}[reduction]

    def expected(p):
        return (textbook(p) * w * k).sum() / divisor

    value, gradient = loss.value_and_gradient(target, prediction, weight, mask)
    assert value == pytest.approx(expected(prediction), rel=OUTPUT["float64"])
    assert_close(gradient, differences(expected, prediction), DIFFERENCES["float64"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", keras_training.cases("losses"))
def test_keras(case, dtype):
    name, options = keras_training.CASES[case]
    given = keras_training.arrays(case)
    loss = getattr(losses, name)(**options)
    value, gradient = loss.value_and_gradient(
        given["y_true"], given["y_pred"].astype(dtype), given["sample_weight"], given["mask"]
    )
    assert value == pytest.approx(float(given["loss"]), rel=OUTPUT[dtype])
    assert_close(gradient, given["gradient"], GRADIENT[dtype])


# --- the functions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "options", "made"),
    [
        (losses.mean_squared_error, {}, losses.MeanSquaredError()),
        (losses.mean_absolute_error, {}, losses.MeanAbsoluteError()),
        (losses.huber, dict(delta=0.3), losses.Huber(0.3)),
        (losses.quantile, dict(quantiles=0.3), losses.Quantile(0.3)),
        (losses.mean_absolute_percentage_error, {}, losses.MeanAbsolutePercentageError()),
        (losses.mean_squared_logarithmic_error, {}, losses.MeanSquaredLogarithmicError()),
        (losses.log_cosh, {}, losses.LogCosh()),
        (losses.poisson, {}, losses.Poisson()),
        (losses.cosine_similarity, {}, losses.CosineSimilarity()),
        (losses.hinge, {}, losses.Hinge()),
        (losses.squared_hinge, {}, losses.SquaredHinge()),
        (losses.categorical_hinge, {}, losses.CategoricalHinge()),
        (losses.kl_divergence, {}, losses.KLDivergence()),
        (losses.binary_crossentropy, {}, losses.BinaryCrossentropy()),
        (
            losses.binary_crossentropy, dict(from_logits=True, label_smoothing=0.3),
            losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.3),
        ),
        (
            losses.categorical_crossentropy, dict(from_logits=True, label_smoothing=0.3),
            losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3),
        ),
        (
            losses.sparse_categorical_crossentropy, dict(from_logits=True, ignore_class=1),
            losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
        ),
    ],
)  # fmt: skip
def test_functions_give_the_values_of_which_classes_give_the_mean(function, options, made):
    """Both take y_true, y_pred; the function's values lack the mask of `ignore_class`, which the mean leaves out."""
    sparse = isinstance(made, losses.SparseCategoricalCrossentropy)
    target = LABELS if sparse else ONE_HOT
    values = function(target, SOFTMAX, **options)
    assert values.shape == LABELS.shape
    np.testing.assert_array_equal(values, function(y_true=target, y_pred=SOFTMAX, **options))
    counted = LABELS != 1 if sparse else np.ones_like(LABELS, bool)
    value, gradient = made.value_and_gradient(target, SOFTMAX, WEIGHTS)
    assert value == pytest.approx((values * WEIGHTS)[counted].sum() / counted.sum(), rel=OUTPUT["float64"])
    np.testing.assert_array_equal(
        gradient, made.value_and_gradient(y_true=target, y_pred=SOFTMAX, sample_weight=WEIGHTS)[1]
    )


def test_what_returns_a_gradient_says_so_in_its_name():
    for name in losses.__all__:
        if name.islower() and name != "get":
            target = LABELS if name.startswith("sparse") else ONE_HOT
            assert isinstance(getattr(losses, name)(target, SOFTMAX), np.ndarray)
            assert isinstance(losses.get(name)(target, SOFTMAX), float)


# --- stability ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-30, 100.0, 1e4, 1e30])
def test_logits_of_any_size(size, dtype):
    x = np.array([[size, -size], [-size, size]], dtype)
    for loss, target, slope in (
        (losses.BinaryCrossentropy(from_logits=True), [[1, 1], [0, 1]], 1 / 4),  # one of four is wrong, by size
        (losses.CategoricalCrossentropy(from_logits=True), [[1, 0], [1, 0]], 1),  # one of two is, by twice the size
        (losses.SparseCategoricalCrossentropy(from_logits=True), [0, 0], 1),
    ):
        value, gradient = loss.value_and_gradient(target, x)
        assert value == pytest.approx(max(math.log(2), slope * size))
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_certain_probabilities_are_clipped_as_keras_does(dtype):
    p = np.array([[1, 0], [0, 1]], dtype)
    wrong, right = -math.log(1e-7), -math.log(1 - 1e-7)
    for loss, target in (
        (losses.CategoricalCrossentropy(), [[1, 0], [1, 0]]),
        (losses.SparseCategoricalCrossentropy(), [0, 0]),
        (losses.BinaryCrossentropy(), [[1, 0], [1, 0]]),
    ):
        values = loss.values(target, p)
        assert values[1] == pytest.approx(wrong, rel=0.02)  # 1 - 1e-7 is a coarse number in float32
        assert values[0] == pytest.approx(right, abs=1e-7)
        assert not loss.value_and_gradient(target, p)[1].any()


def test_nan_is_reported_not_hidden():
    for loss, target in (
        (losses.MeanSquaredError(), [[0.0, 0.0]]), (losses.BinaryCrossentropy(True), [[0.0, 1.0]]),
        (losses.BinaryCrossentropy(), [[0.0, 1.0]]), (losses.SparseCategoricalCrossentropy(from_logits=True), [1]),
    ):  # fmt: skip
        assert math.isnan(loss(target, np.array([[np.nan, 1.0]])))


def test_where_nothing_counts_the_loss_is_0():
    for reduction in ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"):
        loss = losses.MeanSquaredError(reduction)
        value, gradient = loss.value_and_gradient(NUMBERS, LOGITS, mask=np.zeros((B, T), bool))
        assert value == 0
        assert not gradient.any()
    loss = losses.MeanSquaredError("mean_with_sample_weight")
    value, gradient = loss.value_and_gradient(NUMBERS, LOGITS, np.zeros(B))
    assert value == 0
    assert not gradient.any()


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "prediction"),
    [((B,), (B, 1)), ((B, 1), (B,)), ((B, T), (B, T, 1)), ((B, T, 1), (B, T)), ((B, 1, 1), (B, 1))],
)
def test_a_last_dimension_of_one_may_be_too_many_or_too_few(target, prediction):
    t, p = RNG.random(target), RNG.uniform(0.1, 0.9, prediction)
    for loss in (losses.MeanSquaredError(), losses.BinaryCrossentropy()):
        value, gradient = loss.value_and_gradient(t, p)
        expected, flat = loss.value_and_gradient(t.ravel(), p.ravel())
        assert value == pytest.approx(expected)
        assert gradient.shape == prediction
        assert_close(gradient.ravel(), flat, OUTPUT["float64"])


def test_class_numbers_in_a_column():
    loss = losses.SparseCategoricalCrossentropy()
    assert loss(LABELS[..., None], SOFTMAX) == loss(LABELS, SOFTMAX) == loss(LABELS.astype(float), SOFTMAX)


@pytest.mark.parametrize("shape", [(B,), (B, 1), (B, T), (B, T, 1), (1, T), ()])
def test_shapes_of_weights(shape):
    weight = RNG.uniform(0, 2, shape)
    full = np.broadcast_to(weight.reshape(shape[:2] + (1,) * (2 - len(shape[:2]))), (B, T))
    loss = losses.MeanSquaredError()
    assert loss(NUMBERS, LOGITS, weight) == pytest.approx(loss(NUMBERS, LOGITS, full), rel=OUTPUT["float64"])


def test_lists_and_integers():
    loss = losses.MeanSquaredError()
    assert loss.value_and_gradient([1, 4], [1.0, 2.0]) == (2.0, pytest.approx(np.array([0.0, -2.0])))
    assert loss.value_and_gradient([1, 4], np.array([1, 2]))[0] == 2.0


def test_masked_class_numbers_are_not_looked_at():
    loss = losses.SparseCategoricalCrossentropy()
    junk = np.where(MASK, LABELS, -1)
    expected, expected_gradient = loss.value_and_gradient(LABELS, SOFTMAX, WEIGHTS, MASK)
    value, gradient = loss.value_and_gradient(junk, SOFTMAX, WEIGHTS, MASK)
    assert value == expected
    np.testing.assert_array_equal(gradient, expected_gradient)
    value, gradient = losses.SparseCategoricalCrossentropy(ignore_class=-1).value_and_gradient(junk, SOFTMAX, WEIGHTS)
    assert value == expected
    np.testing.assert_array_equal(gradient, expected_gradient)


@pytest.mark.parametrize(
    ("target", "prediction"),
    [((B,), (B, 3)), ((B, 1), (B, 3)), ((B, T), (B, T, 3)), ((B, T), (B, 3 * T)), ((B, T, C, 1), (B, T, 3 * C))],
)
def test_shapes_of_several_quantiles(target, prediction):
    t, p, q = RNG.normal(size=target), RNG.normal(size=prediction), np.array([0.1, 0.5, 0.9])
    value, gradient = losses.Quantile(q).value_and_gradient(t, p)
    d = t.reshape(-1, 1) - p.reshape(-1, 3)
    assert value == pytest.approx(pinball(d, q).mean(), rel=OUTPUT["float64"])
    assert_close(gradient.reshape(-1, 3), np.where(d > 0, -q, 1 - q) / p.size, OUTPUT["float64"])


def test_the_minimum_of_the_quantile_loss_is_the_quantile():
    t, q = np.random.default_rng(2).normal(size=1001), 0.9
    loss = losses.Quantile(q)
    found = min(t, key=lambda p: loss(t, np.full_like(t, p)))
    assert found == np.quantile(t, q)


# --- a user's own ---------------------------------------------------------------------------------


def cubes(y_true, y_pred):
    return (np.abs(y_pred - y_true) ** 3).sum(-1), 3 * np.sign(y_pred - y_true) * (y_pred - y_true) ** 2


def test_a_function_of_the_users_own():
    loss = losses.get(cubes)
    assert loss.name == "cubes"
    value, gradient = loss.value_and_gradient(NUMBERS, LOGITS, WEIGHTS, MASK)

    def expected(p):
        return (cubes(NUMBERS, p)[0] * WEIGHTS * MASK).sum() / MASK.sum()

    assert value == pytest.approx(expected(LOGITS), rel=OUTPUT["float64"])
    assert_close(gradient, differences(expected, LOGITS), DIFFERENCES["float64"])


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (lambda t, p: (p - t) ** 2, TypeError, "gave ndarray; let it return two arrays"),
        (lambda t, p: (0.0, p), ValueError, "the value that .* gives has shape"),
        (lambda t, p: ("a", "b"), TypeError, "the value that .* gives is str; give an array of real numbers"),
        (lambda t, p: (None, p), TypeError, "the value that .* gives is None; give an array of real numbers"),
        (lambda t, p: (p.mean(-1), [[1.0], [1.0, 2.0]]), ValueError, "the gradient that .* gives is a ragged nest"),
        (lambda t, p: (p.mean(-1), p.mean(-1)), ValueError, "the gradient that .* gives has shape"),
    ],
)
def test_what_a_function_of_the_users_own_may_give(function, error, said):
    with pytest.raises(error, match=said):
        losses.get(function)(NUMBERS, LOGITS)


def test_a_function_is_configured_by_its_name():
    assert losses.get(cubes).get_config()["fn"] == "Custom>cubes"
    with pytest.raises(TypeError, match="the loss is <lambda>, which cannot be saved"):
        losses.get(lambda y_true, y_pred: 0).get_config()

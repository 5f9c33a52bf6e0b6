"""Arguments and names of losses: what is taken, and what is said of what is not, before any work."""

import numpy as np
import pytest

from nblstm.training import losses

RNG = np.random.default_rng(0)
B, T, C = 4, 3, 5
NUMBERS, LOGITS = RNG.normal(size=(B, T, C)), RNG.normal(size=(B, T, C))
BITS = (RNG.random((B, T, C)) < 0.5).astype(float)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "target", "prediction", "said"),
    [
        ("mse", np.zeros(3), np.zeros((3, 2)), r"y_true has shape \(3,\).*\(3, 2\)"),
        ("mse", 0.0, np.zeros(3), r"y_true has shape \(\).*\(3,\)"),
        ("mse", np.zeros((3, 3)), np.zeros(3), r"y_true has shape \(3, 3\)"),
        ("mse", np.zeros((0, 2)), np.zeros((0, 2)), r"y_pred has shape \(0, 2\); give at least one row"),
        ("mse", 0.0, 0.0, "at least one row"),
        ("bce", [[2.0]], [[0.5]], r"y_true contains 2.0; binary_crossentropy takes numbers from 0 to 1"),
        ("bce", [[np.nan]], [[0.5]], r"y_true contains nan"),
        ("bce", [-1, 1], [0.5, 0.5], r"y_true contains -1.0"),
        ("categorical_crossentropy", [0, 1], np.ones((2, 3)), "sparse_categorical_crossentropy"),
        ("categorical_crossentropy", [[0, 2, 0]], np.ones((1, 3)), "y_true contains 2.0"),
        ("categorical_crossentropy", [[0], [1]], np.ones((2, 1)), "binary_crossentropy"),
        ("sparse_categorical_crossentropy", [0, 3], np.ones((2, 3)), "y_true contains 3; give class numbers, 0 to 2"),
        ("sparse_categorical_crossentropy", [0, -1], np.ones((2, 3)), "y_true contains -1"),
        ("sparse_categorical_crossentropy", [0, 0.5], np.ones((2, 3)), "y_true contains 0.5"),
        ("sparse_categorical_crossentropy", [0, np.nan], np.ones((2, 3)), "y_true contains nan"),
        ("sparse_categorical_crossentropy", np.ones((2, 3)), np.ones((2, 3)), "one-hot.* categorical_crossentropy"),
        ("sparse_categorical_crossentropy", [0, 1, 2], np.ones((2, 3)), r"y_true has shape \(3,\).*\(2,\)"),
        ("sparse_categorical_crossentropy", [0, 0], np.ones((2, 1)), "binary_crossentropy"),
        (losses.CosineSimilarity(0), np.ones((2, 3)), np.ones((2, 3)), "axis is 0 .*last dimension, so give -1"),
        ("categorical_hinge", [0, 1], np.ones((2, 3)), r"y_true has shape \(2,\)"),
        (losses.Quantile([0.1, 0.9]), [0, 0], np.ones((2, 3)), "last dimension needs 2 quantiles per target"),
        (losses.Quantile([0.1, 0.9]), np.ones((2, 2)), np.ones((2, 2)), r"y_true has .* need \(2, 1\)"),
    ],
)
def test_targets_that_do_not_fit(loss, target, prediction, said):
    with pytest.raises(ValueError, match=said):
        losses.get(loss)(target, prediction)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (dict(sample_weight=np.ones(3)), ValueError, rf"sample_weight has shape \(3,\); it needs shape \({B}, {T}\)"),
        (dict(sample_weight=np.ones((B, T, C))), ValueError, "first dimensions"),
        (dict(sample_weight=np.full(B, np.nan)), ValueError, "sample_weight contains nan"),
        (dict(sample_weight=["a"] * B), TypeError, "sample_weight has dtype"),
        (dict(mask=np.ones((T, B))), ValueError, "mask has shape"),
        (dict(mask=np.full((B, T), 0.5)), TypeError, "give True where a value counts"),
        (dict(y_pred="abc"), TypeError, "y_pred is str; give an array of real numbers"),
        (dict(y_true=np.full((B, T, C), "a")), TypeError, "y_true has dtype"),
    ],
)
def test_arguments_that_do_not_fit(options, error, said):
    with pytest.raises(error, match=said):
        losses.MeanSquaredError()(**{"y_true": NUMBERS, "y_pred": LOGITS, **options})


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: losses.Huber(0), ValueError, "delta is 0; give a number above 0"),
        (lambda: losses.Huber("1"), TypeError, "delta is '1'"),
        (lambda: losses.CosineSimilarity("x"), TypeError, "axis is 'x' of type str; give -1, the last dimension"),
        (lambda: losses.Quantile(1), ValueError, "quantiles is 1; give a number above 0 and below 1"),
        (lambda: losses.Quantile([0.5, "a"]), TypeError, "quantiles is 'a' of type str; give a number above 0"),
        (lambda: losses.Quantile([]), ValueError, r"quantiles is \[\]; give a number above 0 .*, or a list of some"),
        (lambda: losses.BinaryCrossentropy(label_smoothing=1.5), ValueError, "label_smoothing is 1.5.*at most 1"),
        (lambda: losses.BinaryCrossentropy(from_logits="no"), TypeError, "from_logits is 'no'"),
        (lambda: losses.SparseCategoricalCrossentropy(ignore_class="x"), TypeError, "ignore_class is 'x'"),
        (lambda: losses.MeanSquaredError(reduction="none"), ValueError, "reduction is 'none'; give one of"),
        (lambda: losses.get("mze"), ValueError, r"no loss named 'mze' .did you mean 'mse'\?.; give one of binary"),
        (lambda: losses.get(None), TypeError, "None is no loss"),
        (lambda: losses.get({"class_name": "Huber", "config": 3}), ValueError, "class_name"),
        (lambda: losses.get({"class_name": "os.system"}), ValueError, "no loss named 'os.system'"),
        (lambda: losses.get({"config": {}}), ValueError, "a saved loss needs 'class_name'"),
    ],
)
def test_arguments(make, error, said):
    with pytest.raises(error, match=said):
        make()


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "made"),
    [
        ("mse", losses.MeanSquaredError), ("MSE", losses.MeanSquaredError), ("mae", losses.MeanAbsoluteError),
        ("mean_absolute_error", losses.MeanAbsoluteError), ("Huber", losses.Huber), ("huber", losses.Huber),
        ("bce", losses.BinaryCrossentropy), ("binary_crossentropy", losses.BinaryCrossentropy),
        ("CategoricalCrossentropy", losses.CategoricalCrossentropy),
        ("sparse_categorical_crossentropy", losses.SparseCategoricalCrossentropy),
        ("quantile", losses.Quantile), ("pinball", losses.Quantile), (losses.quantile, losses.Quantile),
        ("mape", losses.MeanAbsolutePercentageError), ("MSLE", losses.MeanSquaredLogarithmicError),
        ("log_cosh", losses.LogCosh), ("logcosh", losses.LogCosh), ("poisson", losses.Poisson),
        ("kld", losses.KLDivergence), ("KLD", losses.KLDivergence), ("cosine_similarity", losses.CosineSimilarity),
        ("hinge", losses.Hinge), ("squared_hinge", losses.SquaredHinge), ("CategoricalHinge", losses.CategoricalHinge),
        (losses.kl_divergence, losses.KLDivergence),
        (losses.Huber, losses.Huber), (losses.huber, losses.Huber), (losses.Huber(2.0), losses.Huber),
    ],
)  # fmt: skip
def test_names(identifier, made):
    assert type(losses.get(identifier)) is made


def test_a_configuration_makes_the_same_loss():
    loss = losses.BinaryCrossentropy(True, 0.2, "sum", "mine")
    again = losses.get(loss.record())
    assert again.get_config() == loss.get_config()
    assert again(BITS, LOGITS) == loss(BITS, LOGITS)
    assert repr(again) == (
        "BinaryCrossentropy(from_logits=True, label_smoothing=0.2, reduction='sum', name='mine')"
    )  # fmt: skip

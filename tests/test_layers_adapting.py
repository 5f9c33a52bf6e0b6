"""Normalization by the mean and variance of a data set; activations with arguments, noise and layers of steps."""

import numpy as np
import pytest
from messages import message_of
from tolerances import DTYPES, OUTPUT, assert_close

from nblstm import Sequential
from nblstm.layers import (
    ELU,
    LSTM,
    AveragePooling1D,
    AveragePooling2D,
    AvgPool1D,
    BatchNormalization,
    Bidirectional,
    Cropping1D,
    Dense,
    GaussianDropout,
    GaussianNoise,
    Input,
    LeakyReLU,
    Masking,
    Normalization,
    Permute,
    PReLU,
    ReLU,
    Softmax,
    UpSampling1D,
    ZeroPadding1D,
)
from nblstm.utils import PyDataset

X = np.random.default_rng(0).normal(3, 2, (40, 5, 3))


class Batches(PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return X[10 * index : 10 * index + 10], np.zeros(10)


# --- adapting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data", [
    lambda: X, lambda: X.tolist(), lambda: [X[:7], X[7:8], X[8:]], lambda: (X[k : k + 9] for k in range(0, 40, 9)),
    lambda: ((X[:30], 1), (X[30:], 2)), lambda: [X], Batches,
], ids=["array", "numbers", "list", "generator", "pairs", "one", "PyDataset"])  # fmt: skip
def test_data_of_every_kind(data, dtype):
    layer = Normalization(dtype=dtype)
    layer.adapt(data())
    assert layer.built
    mean, variance, count = layer.get_weights()
    assert_close(mean, X.mean(axis=(0, 1)), OUTPUT[dtype])
    assert_close(variance, X.var(axis=(0, 1)), OUTPUT[dtype])
    assert count == 0
    assert layer.mean.shape == layer.variance.shape == (1, 1, 3)
    y = layer(X)
    assert y.dtype == dtype
    assert_close(y, (X - X.mean(axis=(0, 1))) / X.std(axis=(0, 1)), 10 * OUTPUT[dtype])


@pytest.mark.parametrize(
    ("axis", "others"), [(-1, (0, 1)), (1, (0, 2)), ([1, 2], 0), ([-1, 1], 0), (None, None), ((), None)]
)
def test_axes(axis, others):
    layer = Normalization(axis, dtype="float64")
    layer.adapt([X[:13], X[13:]])
    mean = X.mean(axis=others, keepdims=True)
    assert_close(layer.mean, mean, OUTPUT["float64"])
    assert_close(layer(X), (X - mean) / X.std(axis=others, keepdims=True), OUTPUT["float64"])
    back = Normalization(axis, invert=True, dtype="float64")
    back.adapt(X)
    assert_close(back(layer(X)), X, OUTPUT["float64"])


def test_before_and_behind_building():
    first = Normalization()
    assert first.mean is None
    first.adapt(X)
    model = Sequential([Input((None, 3)), Normalization(name="later"), Dense(1)], seed=0)
    assert model.layers[0].mean.tolist() == [[[0, 0, 0]]]
    untouched = model.predict(X, verbose=0)
    model.layers[0].adapt(X)
    assert (model.predict(X, verbose=0) != untouched).any()
    np.testing.assert_array_equal(model.layers[0](X), first(X))
    again = Sequential([first, Dense(1)])
    again.build((None, None, 3))
    np.testing.assert_array_equal(again.layers[0](X), model.layers[0](X))
    model.compile("sgd", "mse")
    model.fit(X, X[..., :1], epochs=1, verbose=0)
    np.testing.assert_array_equal(model.layers[0](X), first(X))
    vector = Normalization(None)
    vector.adapt(np.arange(5.0))
    assert_close(vector(np.arange(3.0)), (np.arange(3) - 2) / np.sqrt(2), OUTPUT["float32"])


def test_adapted_numbers_are_saved(tmp_path):
    model = Sequential([Input((3,)), Normalization(), Normalization(mean=1, variance=4), Dense(1)], seed=0)
    model.layers[0].adapt(X[:, 0])
    model.save(tmp_path / "m.nblstm")
    again = Sequential.load(tmp_path / "m.nblstm")
    np.testing.assert_array_equal(again.predict(X[:, 0], verbose=0), model.predict(X[:, 0], verbose=0))
    assert again.layers[1].count_params() == 0
    assert again.layers[1].mean.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("error", "call", "needed"),
    [
        (ValueError, lambda: Normalization(mean=1), ("mean is 1 and variance None", "give both")),
        (ValueError, lambda: Normalization(mean=[1], variance=2), ("mean has shape (1,) and variance ()", "the same")),
        (ValueError, lambda: Normalization(mean=1, variance=-2), ("variance is -2", "0 or more")),
        (TypeError, lambda: Normalization("last"), ("axis is 'last'", "a list of them, or None")),
        (ValueError, lambda: Normalization(0).adapt(X), ("has axis (0,) and an input of 3 dimensions", "1 to 2")),
        (ValueError, lambda: Normalization(mean=[1, 2], variance=[1, 2])(X), ("mean of shape (2,)", "sizes (3,)")),
        (ValueError, lambda: Normalization(mean=1, variance=2).adapt(X), ("made with its mean", "leave these out")),
        (ValueError, lambda: Normalization().adapt([]), ("adapt got no data", "give an array of samples")),
        (ValueError, lambda: Normalization().adapt(np.zeros((0, 3))), ("adapt got no data",)),
        (ValueError, lambda: Normalization().adapt(np.array([[1.0], [np.nan]])), ("NaN or infinite",)),
        (ValueError, lambda: Normalization().adapt([X, X[..., :2]]), ("data of shape (40, 5, 2)", "axis (-1,)")),
        (ValueError, lambda: Normalization(1).build((None, None, 3)), ("give a size of 1 or more in dimension 1",)),
        (TypeError, lambda: Normalization().adapt(3), ("3",)),
    ],
)  # fmt: skip
def test_errors_of_adapting(error, call, needed):
    message_of(error, call, *needed)


def test_a_refused_batch_changes_nothing():
    layer = Normalization()
    layer.adapt(X)
    before = layer.get_weights()
    with pytest.raises(ValueError, match="data of shape"):
        layer.adapt([X, X[..., :2]])
    for one, other in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


# --- activations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_rectifiers(dtype):
    x = np.array([[-np.inf, -2, -0.5, 0, 0.5, 1, 6, np.inf]], dtype)
    for layer, expected in (
        (ReLU(dtype=dtype), [0, 0, 0, 0, 0.5, 1, 6, np.inf]),
        (ReLU(1, dtype=dtype), [0, 0, 0, 0, 0.5, 1, 1, 1]),
        (ReLU(6, 0.5, 1, dtype=dtype), [-np.inf, -1.5, -0.75, -0.5, -0.25, 0, 6, 6]),
        (LeakyReLU(0.25, dtype=dtype), [-np.inf, -0.5, -0.125, 0, 0.5, 1, 6, np.inf]),
        (PReLU("ones", dtype=dtype), x[0].tolist()),
    ):
        y = layer(x)
        assert y.dtype == dtype
        assert y[0].tolist() == expected
    assert ELU(2)(x)[0, 0] == -2


def test_alphas_are_shared_along_axes():
    layer = PReLU(shared_axes=[1, 3])
    layer.build((None, None, 4, None))
    assert layer.get_weights()[0].shape == (1, 4, 1)
    assert layer(np.ones((2, 7, 4, 5))).shape == (2, 7, 4, 5)
    with pytest.raises(ValueError, match="give 4 in dimension 2"):
        layer(np.ones((2, 7, 3, 5)))


def test_softmax_of_what_a_mask_leaves():
    x, mask = np.array([[1.0, 5, 1], [2, 2, 2]]), np.array([[1, 0, 1], [0, 0, 0]], bool)
    assert Softmax()(x, mask).tolist() == [[0.5, 0, 0.5], [0, 0, 0]]
    steps = Softmax(1)(np.stack([x, 2 * x], axis=-1), mask)
    assert steps[0].tolist() == [[0.5, 0.5], [0, 0], [0.5, 0.5]]
    x[0, 1] = np.nan
    assert Softmax()(x, mask)[0].tolist() == [0.5, 0, 0.5]
    assert Softmax().compute_mask(x, mask) is mask


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise(dtype):
    x = np.full((400, 500), 2, dtype)
    for layer, deviation in ((GaussianNoise(0.5, 3, dtype=dtype), 0.5), (GaussianDropout(0.2, 3, dtype=dtype), 1)):
        y, _ = layer.forward(x, training=True)
        assert y.dtype == dtype
        assert abs(y.mean() - 2) < 0.02
        assert abs(y.std() - deviation) < 0.02
        np.testing.assert_array_equal(layer(x), x)
        assert (layer.forward(x, training=True)[0] != y).any()
    first, second = (GaussianNoise(0.5, seed=4).forward(x, training=True)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert GaussianNoise(0).forward(x, training=True)[0].tolist() == x.tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianNoise(0.5, seed=4), lambda: BatchNormalization(), lambda: LSTM(2, dropout=0.5, seed=4),
        lambda: LSTM(2, dropout=0.5, seed=4, return_state=True), lambda: Bidirectional(LSTM(2, dropout=0.5, seed=4)),
    ],
)  # fmt: skip
def test_calling_a_layer_as_in_training(make):
    """Tutorials on Keras write ``layer(x, training=True)``; the moving averages do not change by it."""
    layer, other = make(), make()
    layer.build(X.shape)
    other.build(X.shape)
    other.set_weights(layer.get_weights())
    y, expected = layer(X, training=True), other.forward(X, training=True)[0]
    for got, wanted in zip(*((each if isinstance(each, list) else [each]) for each in (y, expected)), strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(layer(X), other(X, training=False))
    assert any((a != b).any() for a, b in zip(np.atleast_2d(y[0]), np.atleast_2d(layer(X)[0]), strict=True))


def test_the_slope_by_the_name_that_keras_2_gave_it():
    layer = LeakyReLU(alpha=0.2)
    assert layer([[-1.0, 1.0]]).tolist() == [[np.float32(-0.2), 1]]
    assert layer.get_config() == LeakyReLU(0.2, name=layer.name).get_config()
    assert "alpha" not in layer.get_config()


# --- steps -----------------------------------------------------------------------------------------------------


def test_steps():
    x = np.arange(1.0, 7).reshape(1, 3, 2)
    assert ZeroPadding1D((1, 0))(x)[0].tolist() == [[0, 0], [1, 2], [3, 4], [5, 6]]
    assert Cropping1D((1, 0))(x)[0].tolist() == [[3, 4], [5, 6]]
    assert UpSampling1D()(x)[0].tolist() == [[1, 2], [1, 2], [3, 4], [3, 4], [5, 6], [5, 6]]
    assert Permute((2, 1))(x)[0].tolist() == [[1, 3, 5], [2, 4, 6]]
    assert AvgPool1D(2)(x)[0].tolist() == [[2, 3]]
    assert AveragePooling1D(2, padding="same")(x)[0].tolist() == [[2, 3], [5, 6]]
    for layer in (ZeroPadding1D(2), Cropping1D(), UpSampling1D(3)):
        assert layer.compute_output_shape((None, None, 2)) == (None, None, 2)
    assert Permute((3, 1, 2)).compute_output_shape((None, 2, None, 4)) == (None, 4, 2, None)


def test_masks():
    """Layers that act on each step alone pass a mask on; others warn."""
    x, mask = np.ones((1, 3, 2)), np.array([[True, True, False]])
    for layer in (
        BatchNormalization(), Normalization(), ReLU(), LeakyReLU(), ELU(), PReLU(), Softmax(), GaussianNoise(0.1),
        GaussianDropout(0.1),
    ):  # fmt: skip
        assert layer.compute_mask(x, mask) is mask
    for layer in (ZeroPadding1D(), Cropping1D(), UpSampling1D(), Permute((2, 1)), AveragePooling1D(2)):
        with pytest.warns(UserWarning, match="does not pass on the mask"):
            assert layer.compute_mask(x, mask) is None
    assert Sequential([Input((3, 2)), Masking(), BatchNormalization()]).predict(x, verbose=0).shape == (1, 3, 2)


@pytest.mark.parametrize(
    ("error", "call", "needed"),
    [
        (ValueError, lambda: ReLU(-1), ("max_value is -1", "0 or more")),
        (ValueError, lambda: ReLU(negative_slope=-1), ("negative_slope is -1",)),
        (TypeError, lambda: ReLU(threshold=None), ("threshold is None",)),
        (ValueError, lambda: LeakyReLU(-0.1), ("negative_slope is -0.1",)),
        (TypeError, lambda: ELU("2"), ("alpha is '2'",)),
        (ValueError, lambda: PReLU(shared_axes=0), ("an entry of shared_axes is 0", "1 or more")),
        (ValueError, lambda: PReLU(shared_axes=[3])(X), ("shared_axes [3] and an input of 3", "from 1 to 2")),
        (ValueError, lambda: PReLU().build((None, None, 3)), ("an alpha for each entry", "shared_axes=[1]")),
        (TypeError, lambda: Softmax("last"), ("axis is 'last'",)),
        (ValueError, lambda: Softmax([0, 1])(X), ("axis (0, 1) and an input of 3 dimensions", "1 to 2")),
        (ValueError, lambda: GaussianNoise(1.5), ("stddev is 1.5", "at most 1")),
        (ValueError, lambda: GaussianDropout(1), ("rate is 1", "below 1")),
        (TypeError, lambda: AveragePooling1D(), ("pool_size",)),
        (ValueError, lambda: AveragePooling2D(0), ("pool_size is 0",)),
        (ValueError, lambda: AveragePooling1D(9)(X), ("no window of (9,) fits",)),
        (ValueError, lambda: Permute((1, 3)), ("dims is (1, 3)", "as in (2, 1)")),
        (ValueError, lambda: Permute((2, 1))(X[..., None]), ("needs 3 dimensions",)),
        (ValueError, lambda: ZeroPadding1D((1, 2, 3)), ("padding has 3 numbers", "one for each end")),
        (ValueError, lambda: ZeroPadding1D(-1), ("padding is -1", "0 or more")),
        (ValueError, lambda: ZeroPadding1D(data_format="channels_first"), ("nblstm does not support; leave it at",)),
        (ValueError, lambda: LeakyReLU(0.1, alpha=0.2), ("negative_slope is 0.1 and alpha", "0.2; give one")),
        (ValueError, lambda: Normalization().adapt(X[:, 0, 0]), ("1 dimension, that of the samples", "axis=None")),
        (TypeError, lambda: Cropping1D(1.5), ("cropping is 1.5",)),
        (ValueError, lambda: Cropping1D(3)(X), ("cropping (3, 3) leaves no step; give 7 steps or more",)),
        (ValueError, lambda: UpSampling1D(0), ("size is 0",)),
    ],
)  # fmt: skip
def test_errors(error, call, needed):
    message_of(error, call, *needed)

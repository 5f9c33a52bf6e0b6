"""Under ``numpy.seterr(all="raise")`` as without: what is too small for a float is 0, and that is no error."""

import numpy as np
import pytest
from tolerances import DTYPES

from nblstm import layers, losses, metrics, nn
from nblstm.layers import activations
from nblstm.models import Sequential
from nblstm.training import Adam, clip_by_global_norm, clip_by_norm, clip_by_value
from nblstm.training.optimizers import schedules

FAR = [-1e4, -800.0, -200.0, -90.0, -30.0, -1e-3, 0.0, 1e-3, 30.0, 90.0, 200.0, 800.0, 1e4]


def raising():
    return np.errstate(all="raise")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(activations.FUNCTIONS))
def test_activations_far_out(name, dtype):
    x = np.array([FAR], dtype)
    if name == "exponential":
        x = np.minimum(x, 80)
    dy = np.full_like(x, 1e-30)
    layer = layers.Activation(name, dtype=dtype)
    y, tape = layer.forward(x)
    dx, _ = layer.backward(tape, dy)
    with raising():
        np.testing.assert_array_equal(activations.get(name)(x), y)
        np.testing.assert_array_equal(layer(x), y)
        np.testing.assert_array_equal(layer.forward(x)[0], y)
        np.testing.assert_array_equal(layer.backward(tape, dy)[0], dx)


TINY = np.array([[1e-30, 1.0, 2e-30]], "f4")
LAYERS = {
    "dense": lambda: layers.Dense(2, kernel_initializer=layers.initializers.Constant(1e-20)),
    "convolution": lambda: layers.Conv1D(2, 2, kernel_initializer=layers.initializers.Constant(1e-20)),
    "normalization": lambda: layers.LayerNormalization(),
    "batch_normalization": lambda: layers.BatchNormalization(moving_mean_initializer=np.full(3, 1e-30)),
    "features": lambda: layers.Normalization(mean=1e-30, variance=1e-20),
    "prelu": lambda: layers.PReLU(layers.initializers.Constant(1e-20)),
    "softmax": lambda: layers.Softmax(1),
    "relu": lambda: layers.ReLU(1, 1e-20, 0.5),
    "noise": lambda: layers.GaussianDropout(0.5, seed=1),
    "averages": lambda: layers.AveragePooling1D(2),
    "pooling": lambda: layers.GlobalAveragePooling1D(),
    "lstm": lambda: layers.LSTM(2, dropout=0.5, seed=1),
    "bidirectional": lambda: layers.Bidirectional(layers.GRU(2, seed=1), "mul"),
    "time_distributed": lambda: layers.TimeDistributed(layers.Dense(2, "softmax", kernel_initializer="ones")),
}


@pytest.mark.parametrize("made", LAYERS.values(), ids=LAYERS)
def test_layers_of_tiny_numbers(made):
    x, layer = np.repeat(TINY, 3, axis=0)[None] if made is not LAYERS["dense"] else TINY, made()
    layer.build((None, *x.shape[1:]))
    with raising():
        y = layer(x)
        _, tape = layer.forward(x, training=True)
        dx, _ = layer.backward(tape, np.full(y.shape, 1e-38, "f4"))
        layer.after_step()
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_far_out(dtype):
    logits, one_hot = np.array([[200, -200, 0.0], [-1e4, 3.0, 1e4]], dtype), np.eye(3)[[0, 1]]
    p = np.array([[1, 1e-37, 0], [0, 0.5, 0.5]], dtype)
    for loss, target, prediction in (
        (losses.CategoricalCrossentropy(from_logits=True), one_hot, logits),
        (losses.SparseCategoricalCrossentropy(from_logits=True), [0, 1], logits),
        (losses.BinaryCrossentropy(from_logits=True), one_hot, logits),
        (losses.CategoricalCrossentropy(), one_hot, p),
        (losses.SparseCategoricalCrossentropy(), [0, 1], p),
        (losses.MeanSquaredError(), one_hot, p),
        (losses.Huber(), one_hot, p),
    ):
        weight = [1e-30, 1e-38]
        value, gradient = loss.value_and_gradient(target, prediction, weight)
        values = loss.values(target, prediction)
        with raising():
            again, gradient_again = loss.value_and_gradient(target, prediction, weight)
            np.testing.assert_array_equal(loss.values(target, prediction), values)
            assert loss(target, prediction) >= 0
        assert again == value
        np.testing.assert_array_equal(gradient_again, gradient)


def test_metrics_of_tiny_numbers():
    with raising():
        for name in ("mse", "mae", "root_mean_squared_error", "accuracy", "binary_crossentropy"):
            metric = metrics.get(name)
            metric.update_state(np.full((2, 3), 1e-30, "f4"), np.full((2, 3), 3e-30, "f4"), [1e-38, 1.0])
            assert 0 <= metric.result() < 1e-20 or name not in ("mse", "mae")


def test_gradients_that_are_clipped():
    net = nn.Linear(3, 2, seed=0)
    with raising():
        for clip in (clip_by_value, clip_by_norm, clip_by_global_norm):
            gradients = net.backward(net.forward(TINY)[1], np.full((1, 2), 1e-8, "f4"))
            gradients.flat[0] = 1e30
            clip([gradients], 1e-8)
            assert np.isfinite(gradients.flat).all()


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam", "adamw"])
def test_a_fit(optimizer):
    """A model with a term of each kind, trained with and without: the same bits."""
    x, y = np.random.default_rng(0).normal(0, 30, (6, 4, 3)), np.eye(2)[[0, 1, 1, 0, 1, 0]]
    results = []
    for state in ({}, {"all": "raise"}):
        model = Sequential(
            [
                layers.Input((4, 3)),
                layers.LSTM(4, return_sequences=True, kernel_regularizer="l2", bias_constraint="max_norm"),
                layers.Dense(3, "gelu", kernel_initializer=layers.initializers.RandomNormal(0, 1e-25)),
                layers.GlobalAveragePooling1D(),
                layers.Dense(2, "softmax", kernel_regularizer="l1_l2", kernel_initializer="zeros"),
            ],
            seed=0,
        )
        with np.errstate(**state):
            model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy", "mse"])
            history = model.fit(x, y, validation_split=0.4, epochs=3, verbose=0).history
            results.append((history, model.evaluate(x, y, verbose=0), model.predict(1e30 * x, verbose=0).tolist()))
    assert results[0] == results[1]


def test_schedules_far_out():
    with raising():
        assert schedules.ExponentialDecay(0.1, 1, 0.5)(10**6) == 0
        assert schedules.InverseTimeDecay(0.1, 1, 1e300)(10**6) >= 0
        assert schedules.CosineDecay(0.1, 10)(10**9) == 0
        assert Adam(schedules.ExponentialDecay(0.1, 1, 0.5)).learning_rate == 0.1

"""Methods of a user's own class: those written as for Keras are taken, or refused with the arguments they need."""

import numpy as np
import pytest
from messages import message_of

from nblstm import callbacks, layers, metrics
from nblstm.models import Sequential

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 5, 2)), RNG.normal(size=(6, 5, 1))
X[1::2, 3:] = 0


class Absolute(metrics.Metric):
    """The weighted mean of absolute errors, as a program of Keras's computes it."""

    def __init__(self, name="absolute"):
        super().__init__(name=name)

    def reset_state(self):
        self.total = self.count = 0.0

    def update_state(self, y_true, y_pred, sample_weight=None):
        error = np.abs(y_true - y_pred)[..., 0]
        weight = np.ones(error.shape) if sample_weight is None else np.asarray(sample_weight)
        weight = np.broadcast_to(weight.reshape(weight.shape + (1,) * (2 - weight.ndim)), error.shape)
        self.total += (error * weight).sum()
        self.count += weight.sum()

    def result(self):
        return self.total / self.count


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_metric_of_keras_arguments(masked, weighted):
    """Steps that are masked do not count."""
    mask = [layers.Masking()] * masked
    model = Sequential([layers.Input((5, 2)), *mask, layers.LSTM(3, return_sequences=True), layers.Dense(1)], seed=0)
    named = {"weighted_metrics" if weighted else "metrics": [Absolute()]}
    model.compile("adam", "mse", **named)
    weight = np.array([1, 2, 0, 1, 3, 1.0]) if weighted else None
    history = model.fit(X, Y, epochs=2, verbose=0, sample_weight=weight)
    assert len(history.history["absolute"]) == 2
    counted = np.ones((6, 5)) if not masked else np.any(X != 0, -1).astype(float)
    counted *= 1.0 if weight is None else weight[:, None]
    expected = np.average(np.abs(model.predict(X, verbose=0) - Y)[..., 0], weights=counted)
    measured = model.evaluate(X, Y, verbose=0, sample_weight=weight, batch_size=4, return_dict=True)
    assert measured["absolute"] == pytest.approx(expected, rel=1e-5)


def test_a_mean_with_an_update_of_targets_is_a_metric():
    class Bias(metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(np.mean(y_pred - y_true), sample_weight)

    model = Sequential([layers.Input((5, 2)), layers.Dense(1)], seed=0)
    model.compile("sgd", "mse", metrics=[Bias("bias")])
    assert model.evaluate(X, Y, verbose=0)[1] == pytest.approx(np.mean(model.predict(X, verbose=0) - Y), rel=1e-5)


@pytest.mark.parametrize("given", [metrics.Mean(), metrics.Mean, "Mean"])
@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_a_mean_of_values_is_no_metric_of_a_model(given, argument):
    model = Sequential([layers.Input((2,)), layers.Dense(1)])
    message_of(
        TypeError, lambda: model.compile("sgd", "mse", **{argument: [given]}), "metrics has Mean(name=", "y_true"
    )
    assert not model.compiled


def test_the_name_mean_is_no_metrics():
    with pytest.raises(ValueError, match="there is no metric named 'mean'") as caught:
        metrics.get("mean")
    assert not any(name.strip() == "mean" for name in str(caught.value).partition("give one of")[2].split(","))


def test_methods_of_other_arguments_are_refused_where_they_are_written():
    def metric():
        class Q(metrics.Metric):
            def update_state(self, y_true, y_pred):
                pass

    def values():
        class Q(metrics.Metric):
            def values(self, a, b):
                return a - b

    def build():
        class Scaled(layers.Layer):
            def build(self, input_shape):
                pass

    def step():
        class Mine(Sequential):
            def train_step(self, data):
                pass

    def callback():
        class Mine(callbacks.Callback):
            def on_epoch_end(self, epoch):
                pass

    message_of(TypeError, metric, "Q.update_state(self, y_true, y_pred)", "y_true, y_pred, sample_weight; let it")
    message_of(TypeError, values, "Q.values(self, a, b) is called with y_true, y_pred, mask; let it take these")
    message_of(TypeError, build, "Scaled.build(self, input_shape) is called with input_shape, generator; let it")
    message_of(TypeError, step, "Mine.train_step(self, data) is called with x, y, weight, objective; let it")
    message_of(TypeError, callback, "Mine.on_epoch_end(self, epoch) is called with epoch, logs; let it")


def test_methods_of_other_names_and_more_arguments_are_taken():
    class Any(callbacks.Callback):
        def on_epoch_end(self, *arguments):
            pass

        def on_train_end(self, logs=None, more=None):
            pass

    model = Sequential([layers.Input((5, 2)), layers.Dense(1)], seed=0)
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0, callbacks=[Any()])

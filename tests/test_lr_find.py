"""The learning rate range test: it leaves no trace in the model, and finds the slope of a loss that is known."""

import numpy as np
import pytest
from messages import message_of

from nblstm import layers, optimizers
from nblstm.callbacks import LambdaCallback
from nblstm.models import Sequential
from nblstm.models.lr_finder import LearningRateRange

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 6, 2)).astype(np.float32)
Y = X.mean(axis=(1, 2))


def made(optimizer="adam", stateful=False, built=True):
    shape = {"batch_input_shape": (20, 6, 2)} if built else {}
    model = Sequential(
        [
            layers.LSTM(4, dropout=0.2, stateful=stateful, return_sequences=True, **shape),
            layers.BatchNormalization(),
            layers.Dropout(0.2, seed=3),
            layers.LSTM(3),
            layers.Dense(1),
        ],
        seed=0,
    )
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def same(a, b):
    """Compare states of models, which are dicts and lists of arrays and numbers."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: "adam",
        lambda: optimizers.SGD(optimizers.schedules.ExponentialDecay(0.1, 10, 0.9), momentum=0.9, clipnorm=1.0),
    ],
    ids=["adam", "schedule"],
)
def test_the_model_is_as_before(optimizer, stateful):
    """To the bit, before a fit and behind one, which then goes on as if nothing had been."""
    model, other = made(optimizer(), stateful), made(optimizer(), stateful)
    options = dict(batch_size=20, verbose=0)
    for epochs in (0, 2):
        if epochs:
            one, another = (each.fit(X, Y, epochs=epochs, **options) for each in (model, other))
            assert one.history == another.history
        before = model.state() if epochs else None
        history, rate = model.history, model.optimizer._learning_rate
        found = model.lr_find(X, Y, batch_size=20, steps=12)
        assert 2 <= len(found.losses) <= 12
        if before is not None:
            same(model.state(), before)
        assert model.history is history
        assert model.optimizer._learning_rate == rate
        assert not model._fitting
    one, another = (each.fit(X, Y, epochs=2, **options) for each in (model, other))
    assert one.history == another.history
    same(model.state(), other.state())


@pytest.mark.parametrize("iterable", [False, True])
def test_a_model_that_is_not_built_is_built(iterable):
    model, other = made(built=False), made(built=False)
    batches = [(X[:20], Y[:20]), (X[20:40], Y[20:40])]
    found = model.lr_find(iter(batches), steps=5) if iterable else model.lr_find(X, Y, steps=5)
    assert len(found.losses) == (2 if iterable else 5)
    for each in (model, other):
        each.fit(X, Y, verbose=0)
    same(model.state(), other.state())


def test_it_is_as_before_where_it_fails():
    class Fails(Sequential):
        left = 3

        def train_step(self, x, y, weight, objective):
            super().train_step(x, y, weight, objective)
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    model = Fails([layers.Dense(1, input_shape=(2,))], seed=0)
    model.compile("sgd", "mse")
    before = model.state()
    with pytest.raises(KeyboardInterrupt):
        model.lr_find(X[:, 0], Y)
    same(model.state(), before)
    assert model.lr_find(X[:, 0], Y, steps=5).losses.shape == (5,)


def test_steps_are_those_of_the_optimizer():
    """Losses of gradient descent on a parabola, by hand: w goes to w - rate dL/dw, with one batch."""
    model = Sequential([layers.Dense(1, use_bias=False, input_shape=(1,))], seed=0)
    model.set_weights([[[3.0]]])
    model.compile("sgd", "mse")
    found = model.lr_find(np.ones((4, 1)), np.ones(4), batch_size=4, start=0.01, end=1.0, steps=9, smoothing=0.5)
    w, losses, averages, total, weights = 3.0, [], [], 0.0, 0.0
    for rate in np.geomspace(0.01, 1.0, 9):
        losses.append((w - 1) ** 2)
        w -= rate * 2 * (w - 1)
        total, weights = total / 2 + losses[-1], weights / 2 + 1
        averages.append(total / weights)
    np.testing.assert_allclose(found.learning_rates, np.geomspace(0.01, 1.0, 9))
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.smoothed, averages, rtol=1e-5, atol=1e-6)


def test_it_ends_where_the_loss_diverges():
    model = Sequential([layers.Dense(1, input_shape=(2,))], seed=0)
    model.compile("sgd", "mse")
    found = model.lr_find(X[:, 0], Y, end=1e6)
    assert len(found.losses) < 100
    assert np.isfinite(found.losses).all()
    assert found.smoothed[-1] > found.smoothed.min()
    assert len(found.learning_rates) == len(found.losses) == len(found.smoothed)


def test_the_suggestion():
    """In the middle of a slope of two decades, beside noise; none where nothing falls."""
    rates = np.geomspace(1e-5, 10, 121)
    falls = np.interp(np.log10(rates), [-5, -3, -1, 0, 1], [1, 1, 0.2, 0.2, 50])
    noisy = falls + np.random.default_rng(1).normal(0, 0.05, 121)
    for losses in (falls, noisy):
        assert 3e-3 < LearningRateRange(rates, losses, 0.9).suggestion < 4e-2
    assert LearningRateRange(rates, np.linspace(1, 2, 121), 0.9).suggestion is None
    assert LearningRateRange(rates[:2], np.ones(2), 0.9).suggestion is None
    assert "suggestion none" in repr(LearningRateRange(rates[:2], np.ones(2), 0.9))


def test_a_suggestion_is_one_that_trains():
    model = made()
    found = model.lr_find(X, Y)
    assert 1e-5 < found.suggestion < 1
    assert f"suggestion {found.suggestion:.3g}" in repr(found)
    model.optimizer.learning_rate = found.suggestion
    losses = model.fit(X, Y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_its_picture():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    found = LearningRateRange(np.geomspace(1e-5, 1, 50), np.linspace(2, 1, 50) ** 2, 0.9)
    axes = found.plot()
    assert axes.get_xscale() == "log"
    raw, smoothed, suggestion = axes.lines
    np.testing.assert_array_equal(raw.get_ydata(), found.losses)
    np.testing.assert_array_equal(smoothed.get_ydata(), found.smoothed)
    assert list(suggestion.get_xdata()) == [found.suggestion]
    assert suggestion.get_label() == f"suggestion: {found.suggestion:.2g}"
    assert found.plot(ax=axes) is axes
    message_of(TypeError, lambda: found.plot(ax="b"), "ax is 'b' of type str; give an Axes of matplotlib's")
    axes.figure.canvas.draw()
    matplotlib.pyplot.close("all")


def test_messages():
    model = made()
    message_of(RuntimeError, lambda: Sequential([layers.Dense(1)]).lr_find(X, Y), "call compile(optimizer, loss)")
    message_of(ValueError, lambda: model.lr_find(X, Y, start=0), "start is 0; give a number above 0")
    message_of(ValueError, lambda: model.lr_find(X, Y, start=1, end=1), "end is 1; give a number above 1")
    message_of(ValueError, lambda: model.lr_find(X, Y, steps=1), "steps is 1; give a whole number, 2 or more")
    message_of(ValueError, lambda: model.lr_find(X, Y, smoothing=1), "smoothing is 1; give a number")
    message_of(ValueError, lambda: model.lr_find(iter([])), "lr_find got no batch")
    message_of(ValueError, lambda: made(built=False).lr_find(iter([])), "lr_find got no batch")

    callback = LambdaCallback(on_epoch_end=lambda epoch, logs: model.lr_find(X, Y))
    message_of(RuntimeError, lambda: model.fit(X, Y, verbose=0, callbacks=[callback]), "while a fit of this model runs")

"""Sequential: built as Keras builds it, trained by the equations of its layers, its loss and its optimizer."""

import numpy as np
import pytest
from messages import message_of
from tolerances import TRACE, assert_close

from nblstm import set_random_seed
from nblstm.layers import LSTM, Dense, Dropout, Embedding, Flatten, Input, TimeDistributed
from nblstm.models import Sequential
from nblstm.training import SGD

RNG = np.random.default_rng(0)
N, I = 37, 5
X = RNG.normal(size=(N, I))
Y = X @ RNG.normal(size=(I, 2)) + 0.1


def linear_model(**options):
    model = Sequential([Input((I,)), Dense(2, dtype="float64")], seed=3)
    model.compile(SGD(0.1, **options), "mse")
    return model


def test_fit_is_gradient_descent_on_the_mean_squared_error():
    """Batches in order, against the equations in NumPy."""
    model = linear_model()
    W, b = model.get_weights()
    losses = []
    for _ in range(3):
        total = 0.0
        for k in range(0, N, 8):
            x, y = X[k : k + 8], Y[k : k + 8]
            d = x @ W + b - y
            total += np.square(d).mean() * len(x)
            W, b = W - 0.1 * x.T @ d * 2 / d.size, b - 0.1 * d.sum(axis=0) * 2 / d.size
        losses.append(total / N)
    history = model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    assert_close(history.history["loss"], losses, TRACE["float64"])
    assert_close(model.get_weights()[0], W, TRACE["float64"])
    assert_close(model.get_weights()[1], b, TRACE["float64"])
    assert history.epoch == [0, 1, 2]


def test_a_seed_fixes_everything():
    def trained(seed):
        model = Sequential([Dense(6, "relu"), Dropout(0.3), Dense(2)], seed=seed)
        model.compile("adam", "mse")
        model.fit(X, Y, batch_size=8, epochs=3, verbose=0)
        return model.predict(X)

    assert np.array_equal(trained(1), trained(1))
    assert not np.array_equal(trained(1), trained(2))
    set_random_seed(5)
    first = trained(None)
    assert not np.array_equal(first, trained(None))
    set_random_seed(5)
    assert np.array_equal(first, trained(None))


def test_layers_are_built_as_they_are_added():
    model = Sequential([Dense(3, input_shape=(4,))])
    assert model.built
    assert model.count_params() == 15
    model.add(Dense(2))
    assert model.count_params() == 23
    assert [w.shape for w in model.get_weights()] == [(4, 3), (3,), (3, 2), (2,)]
    assert model.pop().units == 2
    assert model.count_params() == 15
    assert model.output_shape == (None, 3)
    later = Sequential([Dense(3), Dense(2)])
    assert not later.built
    assert later.get_weights() == []
    assert later(np.zeros((1, 4))).shape == (1, 2)
    assert later.count_params() == 23


def test_predict_gives_the_same_rows_in_batches_of_any_size():
    model = linear_model()
    whole = model.predict(X, batch_size=N)
    assert np.array_equal(whole, model(X))
    assert_close(model.predict(X, batch_size=3, verbose=0), whole, 1e-12)
    assert_close(model.predict((X[k : k + 5] for k in range(0, N, 5)), verbose=0), whole, 1e-12)


def test_what_is_not_trained_stays():
    model = Sequential([Dense(4, trainable=False), Dense(2)], seed=0)
    model.compile("sgd", "mse")
    model.build((None, I))
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    after = model.get_weights()
    assert np.array_equal(before[0], after[0])
    assert not np.array_equal(before[2], after[2])
    assert [w.shape for w in model.trainable_weights] == [(4, 2), (2,)]


def test_a_model_in_a_notebook():
    model = Sequential([Input((4,)), Dense(3, name="a<b")], name="small")
    shown = model._repr_html_()
    assert "<b>small</b>" in shown
    for text in ("a&lt;b (Dense)", "(None, 3)", "15", "Total params: 15 (60.00 B)"):
        assert f">{text}<" in shown
    assert "not built" in Sequential([Dense(1)])._repr_html_()


def test_summary(capsys):
    model = Sequential(
        [TimeDistributed(Dense(3, name="d"), name="t", input_shape=(None, 2)), Flatten(name="f")], name="m"
    )
    model.summary()
    shown = capsys.readouterr().out
    assert 'Model: "m"' in shown
    assert "t (TimeDistributed)" in shown
    assert "(None, None, 3)" in shown
    assert "Total params: 9 (36.00 B)" in shown


def test_masks_reach_the_loss():
    """Steps that are padding have no part in the loss, nor in the gradient."""
    x = np.array([[1, 2, 0], [3, 0, 0]])
    y = np.array([[1.0, 2.0, 50.0], [3.0, 70.0, 90.0]])[..., None]
    model = Sequential([Embedding(4, 2, mask_zero=True), Dense(1)], seed=0)
    model.compile(SGD(0.5), "mse")
    prediction = model.predict(x)
    kept = np.array([[1, 1, 0], [1, 0, 0]], bool)
    assert_close(model.evaluate(x, y, verbose=0), np.square(prediction - y)[kept].mean(), TRACE["float32"])
    before = model.layers[0].get_weights()[0]
    model.train_on_batch(x, y)
    assert np.array_equal(model.layers[0].get_weights()[0][0], before[0])


def test_generators_and_arrays_train_alike():
    def batches():
        for k in range(0, N, 8):
            yield X[k : k + 8], Y[k : k + 8]

    class Loader:
        def __iter__(self):
            return batches()

    a, b = linear_model(), linear_model()
    first = a.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0, validation_data=(X[:9], Y[:9]))
    second = b.fit(Loader(), epochs=2, verbose=0, validation_data=Loader(), validation_steps=1)
    assert first.history["loss"] == second.history["loss"]
    assert first.history["val_loss"] != second.history["val_loss"]
    assert np.array_equal(a.predict(X), b.predict(X))


def test_a_generator_that_runs_out_ends_the_fit():
    model = linear_model()
    with pytest.warns(UserWarning, match="the data ran out after 2 batches of epoch 2 of 4, so fit ends"):
        history = model.fit(((X[:4], Y[:4]) for _ in range(5)), steps_per_epoch=3, epochs=4, verbose=0)
    assert history.epoch == [0, 1]
    with pytest.raises(ValueError, match="the first epoch got no batch"):
        model.fit(iter([]), epochs=2, verbose=0)


def test_batches_of_a_fixed_size():
    model = Sequential([LSTM(3, batch_input_shape=(4, 5, 2), stateful=True), Dense(1)], seed=0)
    model.compile("adam", "mse")
    x, y = np.ones((12, 5, 2)), np.ones(12)
    history = model.fit(x, y, batch_size=4, shuffle=False, epochs=2, verbose=0)
    assert history.params["steps"] == 3
    assert model.evaluate(x, y, batch_size=4, verbose=0) < history.history["loss"][0]
    message_of(ValueError, lambda: model.fit(x, y, batch_size=6, verbose=0), "batch", "4")


def test_class_weights_are_for_training_alone():
    x, y = RNG.normal(size=(20, 4)), RNG.integers(0, 2, (20, 1))
    losses = []
    for weights in (None, {0: 1.0, 1: 5.0}):
        model = Sequential([Input((4,)), Dense(1, "sigmoid")], seed=0)
        model.compile(SGD(0.0), "binary_crossentropy")
        history = model.fit(x, y, validation_split=0.5, class_weight=weights, verbose=0).history
        losses.append((history["loss"], history["val_loss"]))
    (plain, held_out), (weighted, held_out_too) = losses
    assert held_out == held_out_too == [model.evaluate(x[10:], y[10:], verbose=0)]
    assert weighted[0] > plain[0]

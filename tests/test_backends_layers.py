"""What layers and models do on every backend: the same as on the CPU, within rounding."""

import numpy as np
import pytest
from backends import backend, chosen  # noqa: F401  the first is used by each test
from networks import CELLS
from tolerances import GRADIENT, assert_close

from nblstm import layers, models, nn


def here_and_on_the_cpu(compute):
    """Arrays that ``compute`` gives on this backend, against those that it gives on the CPU."""
    ours = compute()
    with chosen("cpu"):
        expected = compute()
    for one, other in zip(ours, expected, strict=True):
        assert_close(one, other, GRADIENT["float32"])


def test_a_layer_with_a_mask():
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    mask = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)

    def compute():
        layer = layers.GRU(6, return_sequences=True, recurrent_dropout=0.5, seed=1)
        y, tape = drawn_parameters(layer, x).forward(x, training=True, mask=mask)
        dx, gradients = layer.backward(tape, np.ones_like(y))
        return [y, dx, gradients.flat]

    here_and_on_the_cpu(compute)


@pytest.mark.parametrize("backwards", [None, layers.GRU(3, return_sequences=True, go_backwards=True)])
def test_both_directions(backwards):
    """Of one network and of two, with all that layers can have."""
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    mask = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)

    def compute():
        options = dict(return_sequences=True, dropout=0.3, recurrent_dropout=0.5, seed=1, learn_initial_state=True)
        layer = layers.Bidirectional(layers.LSTM(4, stateful=backwards is None, **options), backward_layer=backwards)
        results = []
        for _ in range(2):
            y, tape = drawn_parameters(layer, x).forward(x, training=True, mask=mask)
            dx, gradients = layer.backward(tape, np.ones_like(y))
            results += [y, dx, gradients.flat, layer(x, mask)]
        return results

    here_and_on_the_cpu(compute)


def test_a_network_has_the_options_of_layers():
    x = np.random.default_rng(0).normal(size=(5, 3, 2)).astype("float32")
    mask = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool).T

    def compute():
        net = nn.GRU(2, 4, 2, reverse=True, recurrent_dropout=0.4, learn_initial_state=True, stateful=True, seed=0)
        results = []
        for _ in range(2):
            y, h_n, tape = net.forward(x, mask=mask)
            gradients = net.backward(tape, np.ones_like(y), np.ones_like(h_n))
            results += [y, h_n, gradients.x, gradients.flat, gradients.state, net(x)[0]]
        return results

    here_and_on_the_cpu(compute)


def drawn_parameters(layer, x):
    """The layer, built for x, with parameters none of which is 0."""
    layer.build(x.shape)
    layer.set_weights([np.random.default_rng(k).normal(size=w.shape) / 3 for k, w in enumerate(layer.get_weights())])
    return layer


def test_a_layers_states():
    """Learned ones, given ones, their gradients, those that a batch hands on to the next, and steps."""
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
    given = [np.full((3, 5), value, "float32") for value in (0.5, -0.5)]

    def compute():
        options = dict(return_sequences=True, return_state=True, learn_initial_state=True)
        layer = drawn_parameters(layers.RNN(CELLS["lstm_peephole"][0], 5, go_backwards=True, **options), x)
        outputs, tape = layer.forward(x)
        _, learned = layer.backward(tape, outputs)
        again, tape = layer.forward(x, initial_state=given)
        dx, gradients = layer.backward(tape, again)
        results = [*outputs, learned.flat, *again, dx, gradients.flat, *gradients.state]
        stateful = drawn_parameters(layers.LSTM(5, stateful=True, name="s"), x)
        step = stateful.stepper(3)
        steps = [step(x[:, t]).copy() for t in range(2)]
        return [*results, *steps, stateful(x), stateful(x)]

    here_and_on_the_cpu(compute)


def classifier():
    """Words with gaps to two classes, through a stack of both directions."""
    words = np.array([[1, 2, 0, 3], [0, 0, 4, 1], [2, 0, 0, 0], [0, 0, 0, 0], [1, 2, 3, 4], [4, 0, 1, 0]])
    model = models.Sequential(
        [
            layers.Input((4,)), layers.Embedding(5, 3, mask_zero=True),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)), layers.GRU(4), layers.Dense(2, "softmax"),
        ],
        seed=0,
    )  # fmt: skip
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, words, np.array([0, 1, 0, 1, 1, 0])


def tagger():
    """A number for each step, trained in chunks of two steps."""
    x = np.random.default_rng(0).normal(size=(6, 4, 2)).astype("float32")
    model = models.Sequential([layers.Input((4, 2)), layers.LSTM(5, return_sequences=True), layers.Dense(1)], seed=0)
    model.compile("sgd", "mse", bptt_steps=2)
    return model, x, x.cumsum(axis=1)[..., :1]


@pytest.mark.parametrize("make", [classifier, tagger])
def test_a_model_trains_as_on_the_cpu(make):
    def compute():
        model, x, y = make()
        history = model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0).history
        measured = np.array(
            [*history.values(), [model.evaluate(x[:3], y[:3], verbose=0, return_dict=True)["loss"]] * 2]
        )
        return [measured, model.predict(x, batch_size=4, verbose=0), *model.get_weights()]

    here_and_on_the_cpu(compute)

"""Truncated backpropagation through time, against torch's: tests/golden/make_truncated.py wrote what it computed."""

from pathlib import Path

import numpy as np
import pytest
from tolerances import TRACE, assert_close

from nblstm.layers import (
    GRU,
    LSTM,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    SimpleRNN,
    TimeDistributed,
)
from nblstm.models import Sequential
from nblstm.training import SGD

with np.load(Path(__file__).with_name("golden") / "truncated.npz") as _archive:
    GOLDEN = dict(_archive)
RNG = np.random.default_rng(0)


def chunked(steps=4, **options):
    model = Sequential(
        [Input((None, 3)), LSTM(4, return_sequences=True, dtype="float64", **options), Dense(2, dtype="float64")]
    )
    model.compile(SGD(0.5, momentum=0.9), "mse", bptt_steps=steps)
    model.set_weights([GOLDEN[f"before/{k}"] for k in range(5)])
    return model


def test_chunks_are_trained_as_torch_does():
    model, losses = chunked(), []
    for _ in range(3):
        history = model.fit(GOLDEN["x"], GOLDEN["y"], batch_size=5, epochs=1, shuffle=False, verbose=0).history
        losses += history["loss"]
    assert_close(losses, GOLDEN["losses"].reshape(3, 2).mean(axis=1), TRACE["float64"])
    for k, weight in enumerate(model.get_weights()):
        assert_close(weight, GOLDEN[f"after/{k}"], TRACE["float64"])
    assert not model.layers[0].stateful
    assert model.layers[0].states is None


def test_a_batch_that_is_one_chunk_is_trained_as_always():
    whole, chunk = chunked(None), chunked(11)
    for model in (whole, chunk):
        model.fit(GOLDEN["x"], GOLDEN["y"], epochs=2, shuffle=False, verbose=0)
    assert all(map(np.array_equal, whole.get_weights(), chunk.get_weights()))


def test_stateful_layers_go_on_with_the_next_batch():
    """Two batches of 8 steps, as one of 16."""
    x, y = RNG.normal(size=(2, 16, 3)), RNG.normal(size=(2, 16, 2))
    one, two = chunked(), chunked(stateful=True)
    one.train_on_batch(x, y)
    for part in (slice(0, 8), slice(8, 16)):
        two.train_on_batch(x[:, part], y[:, part])
    assert two.layers[0].stateful
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        assert_close(a, b, TRACE["float64"])
    two.reset_states()
    assert two.layers[0].states is None


def test_weights_of_steps_and_padding():
    """Chunks of padding alone are passed over; weights of steps go with their chunks."""
    words = RNG.integers(1, 7, (4, 9))
    words[:, 6:] = 0
    labels, weight = RNG.integers(0, 3, (4, 9)), RNG.uniform(0.5, 2, (4, 9))

    def trained(T):
        layers = [
            Embedding(7, 3, mask_zero=True),
            SimpleRNN(4, return_sequences=True),
            Dropout(0.0),
            Dense(3, "softmax"),
        ]
        model = Sequential(layers, seed=0)
        model.compile(SGD(0.5, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"], bptt_steps=3)
        logs = model.train_on_batch(words[:, :T], labels[:, :T], weight[:, :T], return_dict=True)
        return model.get_weights(), logs

    (with_padding, first), (without, second) = trained(9), trained(6)
    assert all(map(np.array_equal, with_padding, without))
    assert_close(first["loss"], second["loss"], TRACE["float32"])
    assert_close(first["accuracy"], second["accuracy"], TRACE["float64"])


def test_what_cannot_be_cut_is_refused():
    x, y = np.zeros((2, 8, 3)), np.zeros((2, 8, 4))
    for layer in (
        LSTM(4),
        LSTM(4, return_sequences=True, go_backwards=True),
        Bidirectional(GRU(2, return_sequences=True)),
        Flatten(),
    ):
        with pytest.raises(ValueError, match=f"bptt_steps needs layers .* {layer.name!r}"):
            Sequential([layer]).compile("sgd", "mse", bptt_steps=4)
    steps = Sequential([Input((None, 3)), TimeDistributed(Dense(4)), SimpleRNN(4, return_sequences=True)])
    steps.compile("sgd", "mse", bptt_steps=4)
    with pytest.raises(ValueError, match=r"needs a target for each step, and y has shape \(2, 5, 4\) for 8 steps in x"):
        steps.train_on_batch(x, y[:, :5])
    steps.add(Flatten())
    with pytest.raises(ValueError, match="bptt_steps needs layers"):
        steps.fit(x, y.reshape(2, 32), verbose=0)
    with pytest.raises(ValueError, match="bptt_steps is 0; give a whole number, 1 or more"):
        steps.compile("sgd", "mse", bptt_steps=0)

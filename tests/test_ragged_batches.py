"""Ragged batches of many sizes in turn through one network, and inputs however they lie in memory."""

import numpy as np
import pytest

from nblstm import nn
from nblstm.layers import GRU, LSTM, Bidirectional, Dense, Input, Masking
from nblstm.models import Sequential

RNG = np.random.default_rng(11)


def results(net, x, dy, lengths):
    y, _, tape = net.forward(x, lengths=lengths)
    gradients = net.backward(tape, dy[..., : y.shape[-1]])
    return [y, gradients.x, gradients.flat, *gradients.state]


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"reverse": True, "learn_initial_state": True}])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 20, 20, 20), (20, 20, 20, 1, 1, 1), (3, 17, 2, 20, 1, 19, 3)])
def test_batches_that_grow_and_shrink(sizes, options):
    """A pass that is kept has room for each batch that it is given: the bits are those of a new network."""
    x, dy = RNG.normal(size=(20, 50, 16)).astype("f4"), RNG.normal(size=(20, 50, 128)).astype("f4")
    net = nn.LSTM(16, 64, num_layers=2, seed=0, **options)
    for longest in sizes:
        lengths = [longest] * 49 + [longest - 1]
        fresh = nn.LSTM(16, 64, num_layers=2, seed=0, **options)
        for found, expected in zip(results(net, x, dy, lengths), results(fresh, x, dy, lengths), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "last",
    [LSTM(8, dropout=0.2), GRU(8, dropout=0.2, recurrent_dropout=0.1), Bidirectional(LSTM(4, dropout=0.2))],
    ids=["lstm", "gru", "both"],
)
def test_masks_and_dropout_in_small_batches(last):
    """Trains for some epochs, each batch with other lengths; the padding is not seen by the model that comes out."""
    x = RNG.normal(size=(96, 20, 8)).astype("f4")
    lengths = RNG.integers(1, 21, len(x))
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0
    model = Sequential([Input((None, 8)), Masking(), LSTM(8, return_sequences=True), last, Dense(1)], seed=0)
    model.compile("adam", "mse")
    history = model.fit(x, x.sum(axis=(1, 2)) / 10, batch_size=8, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    for row, length in zip(x[:8], lengths[:8], strict=True):
        np.testing.assert_allclose(
            model.predict(row[None, :length], verbose=0), model.predict(row[None], verbose=0), rtol=1e-5, atol=1e-6
        )


VALUES = RNG.normal(size=(5, 3)).astype("f4")
IN_MEMORY = {
    "one feature, made by None": VALUES[..., None],
    "one feature, moved": np.moveaxis(VALUES[None], 0, -1),
    "one feature, backwards": VALUES[..., None][..., ::-1],
    "one feature, every second": np.ascontiguousarray(VALUES[..., None])[..., ::2],
    "Fortran": np.asfortranarray(RNG.normal(size=(5, 3, 2)).astype("f4")),
    "features backwards": RNG.normal(size=(5, 3, 2)).astype("f4")[..., ::-1],
    "every second feature": RNG.normal(size=(5, 3, 4)).astype("f4")[..., ::2],
    "of a table": RNG.normal(size=(5, 3, 9)).astype("f4")[..., 2:4],
    "one row for all": np.broadcast_to(RNG.normal(size=(5, 1, 2)).astype("f4"), (5, 3, 2)),
    "a field of records": np.zeros((5, 3, 2), [("flag", "i1"), ("x", "f4")])["x"],
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("x", IN_MEMORY.values(), ids=IN_MEMORY)
def test_inputs_lie_in_memory_as_they_may(x, batch_first):
    """Also gradients of outputs, where H = 1."""
    T, B, I = x.shape
    lengths = [T, 3, 0]
    if batch_first:
        T, B = B, T
        lengths = [T, 2, 0, 1, T]
    net = nn.GRU(I, I, batch_first=batch_first, seed=0)
    expected = results(net, x.copy("C"), x.copy("C"), lengths)
    for _ in range(4):
        for found, right in zip(results(net, x, x, lengths), expected, strict=True):
            np.testing.assert_array_equal(found, right)

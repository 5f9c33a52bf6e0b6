"""Copies and pickles: they compute the same bits and share nothing; what belongs to one network alone is refused."""

import copy
import pickle
import threading

import numpy as np
import pytest
from messages import message_of

import nblstm
from nblstm import cells, layers, nn
from nblstm.models import Sequential
from nblstm.training import Adam

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 4, 3)).astype("f4")
WAYS = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda value: pickle.loads(pickle.dumps(value))}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


@pytest.fixture(params=["deepcopy", "pickle"])
def deep(request):
    return WAYS[request.param]


@pytest.mark.parametrize(
    "made",
    [cells.lstm, cells.lstm_with("relu"), cells.gru_with(), cells.recurrent_dropout(cells.lstm_with("relu"))],
    ids=lambda made: made.name,
)
def test_a_cell_stays_itself(made, way):
    assert way(made) is made


@pytest.mark.parametrize(
    "net",
    [nn.LSTM(3, 5, 2, dropout=0.5, seed=0), nn.GRU(3, 5, seed=0), nn.Linear(3, 5, seed=0)],
    ids=lambda net: type(net).__name__,
)
def test_a_network(net, way):
    again = way(net)
    for _ in range(3):  # small inputs are replayed from the second call on
        np.testing.assert_array_equal(net(X)[0], again(X)[0])
    np.testing.assert_array_equal(net.forward(X)[0], again.forward(X)[0])  # dropout too
    again.flat_parameters()[:] = 0
    assert np.abs(net.flat_parameters()).min() > 0
    assert not np.array_equal(net(X)[0], again(X)[0])


def test_a_network_and_its_optimizer(deep):
    net = nn.GRU(3, 5, seed=0)
    adam = Adam([net])

    def step(net, adam):
        y, _, tape = net.forward(X)
        adam.step([net.backward(tape, y)])
        return net.flat_parameters()

    step(net, adam)
    again = deep((net, adam))
    assert again[1].modules[0] is again[0]
    np.testing.assert_array_equal(step(net, adam), step(*again))


def test_a_stepper(way):
    step = nn.GRU(3, 5, seed=0).stepper(4)
    step(X[0])
    again = way(step)
    np.testing.assert_array_equal(step(X[1]).copy(), again(X[1]))


def test_a_tape_is_of_one_network(way):
    message_of(TypeError, lambda: way(nn.GRU(3, 5).forward(X)[2]), "a tape cannot be copied", "run its forward() again")


def model():
    made = Sequential(
        [
            layers.Input((4, 3)), layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            layers.Dropout(0.3, seed=1), layers.TimeDistributed(layers.Dense(4)), layers.LSTM(5), layers.Dense(2),
        ],
        seed=0,
    )  # fmt: skip
    made.compile("adam", "mse", metrics=["mae"])
    return made


def test_a_model_goes_on_with_the_same_bits(way):
    one = model()
    one.fit(X, X[:, 0, :2], verbose=0)
    other = way(one)
    assert other.predict(X, verbose=0).tobytes() == one.predict(X, verbose=0).tobytes()
    logs = [each.fit(X, X[:, 0, :2], verbose=0, epochs=2).history for each in (one, other)]
    assert logs[0] == logs[1]
    other.set_weights([0 * value for value in other.get_weights()])
    assert one.predict(X, verbose=0).any()


def test_a_model_that_is_not_built(way):
    other = way(Sequential([layers.LSTM(3), layers.Dense(2)], name="m"))
    assert other.name == "m"
    assert not other.built
    assert other.predict(X, verbose=0).shape == (7, 2)


def test_a_layer_keeps_its_states(way):
    one = layers.LSTM(3, stateful=True)
    one(X)
    np.testing.assert_array_equal(way(one)(X), one(X))


class WithALock(Sequential):
    """Leaves out of its copies what Python cannot copy, as `object.__getstate__` allows."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.lock = threading.Lock()

    def __getstate__(self):
        return super().__getstate__() | {"lock": None}


def test_a_subclass_of_a_model_says_what_its_copies_have(way):
    one = WithALock([layers.Input((4, 3)), layers.LSTM(3)], seed=0)
    other = way(one)
    assert type(other) is WithALock
    assert other.lock is None
    assert other.predict(X, verbose=0).tobytes() == one.predict(X, verbose=0).tobytes()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_each_protocol_of_pickle(protocol):
    one = model()
    other = pickle.loads(pickle.dumps(one, protocol))
    assert other.predict(X, verbose=0).tobytes() == one.predict(X, verbose=0).tobytes()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_first", [False, True])
def test_large_passes_keep_nothing_of_the_callers(threads, batch_first):
    # Large enough to be copied on all threads, and small enough for the pass to be used again.
    T, B, I, H = 41, 29, 37, 35
    rng, axis = np.random.default_rng(0), 0 if batch_first else 1
    network = nn.GRU(I, H, batch_first=batch_first, dtype="float64", seed=0)
    shape = (B, T) if batch_first else (T, B)
    given = [rng.normal(size=(*shape, I)), rng.normal(size=(*shape, 2 * I))[..., ::2]]  # the second has gaps
    alone = [np.stack([network(np.take(x, b, axis))[0] for b in range(B)], axis) for x in given]
    dy = rng.normal(size=(*shape, H))
    nblstm.set_num_threads(threads)
    for _ in range(3):
        outputs = []
        for x, expected in zip(given, alone, strict=True):
            changed = x.copy() if x.flags.c_contiguous else np.repeat(x, 2, axis=-1)[..., ::2]
            y, _, tape = network.forward(changed)
            changed[...] = np.nan
            assert np.isfinite(network.backward(tape, dy).flat).all()
            np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)
            outputs.append(y)
        np.testing.assert_allclose(outputs[0], alone[0], rtol=1e-10, atol=1e-12)

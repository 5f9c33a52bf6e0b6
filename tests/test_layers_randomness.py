"""What layers draw: initial values, dropout; their distributions and seeds."""

import numpy as np
import pytest
from tolerances import DTYPES, OUTPUT, assert_close

from nblstm.layers import Dense, Dropout, SpatialDropout1D, TimeDistributed, initializers

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout(dtype):
    layer, x = Dropout(0.25, dtype=dtype), np.ones((200, 100))
    assert np.array_equal(layer(x), x)
    y, _ = layer.forward(x, training=True, generator=np.random.default_rng(0))
    assert y.dtype == dtype
    assert np.unique(y).tolist() == [0, np.dtype(dtype).type(1 / 0.75)]
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    again, _ = layer.forward(x, training=True, generator=np.random.default_rng(0))
    other, _ = layer.forward(x, training=True)
    assert np.array_equal(y, again)
    assert not np.array_equal(y, other)


def test_dropout_with_a_seed_is_its_own_and_goes_on():
    first, second, x = Dropout(0.5, seed=1), Dropout(0.5, seed=1), np.ones((5, 6))
    assert first.generator is not None
    a, b = (first.forward(x, training=True)[0] for _ in range(2))
    state = first.generator.bit_generator.state
    c = first.forward(x, training=True)[0]
    assert np.array_equal(a, second.forward(x, training=True, generator=np.random.default_rng(9))[0])
    assert not np.array_equal(a, b)
    first.generator.bit_generator.state = state
    assert np.array_equal(c, first.forward(x, training=True)[0])


def test_dropout_of_whole_features():
    dropped = Dropout(0.5, noise_shape=(None, 1, None), seed=0), SpatialDropout1D(0.5, seed=0)
    y, again = (layer.forward(np.ones((4, 5, 6)), training=True)[0] for layer in dropped)
    assert np.array_equal(y, again)
    assert (y == y[:, :1]).all()
    assert 0 < (y == 0).mean() < 1


def test_steps_drop_independently():
    layer = TimeDistributed(Dropout(0.5, seed=0))
    y, _ = layer.forward(np.ones((2, 50, 3)), training=True)
    assert (y != y[:, :1]).any()
    assert layer.generator is layer.layer.generator


@pytest.mark.parametrize(
    ("name", "deviation", "bound"),
    [
        ("glorot_uniform", np.sqrt(2 / 500), np.sqrt(6 / 500)),
        ("glorot_normal", np.sqrt(2 / 500), 2.28 * np.sqrt(2 / 500)),
        ("he_uniform", np.sqrt(2 / 200), np.sqrt(6 / 200)),
        ("he_normal", np.sqrt(2 / 200), 2.28 * np.sqrt(2 / 200)),
        ("lecun_uniform", np.sqrt(1 / 200), np.sqrt(3 / 200)),
        ("lecun_normal", np.sqrt(1 / 200), 2.28 * np.sqrt(1 / 200)),
        ("random_uniform", 0.1 / np.sqrt(12), 0.05), ("random_normal", 0.05, 1.0), ("truncated_normal", 0.044, 0.1),
    ],
)  # fmt: skip
def test_distributions(name, deviation, bound):
    values = initializers.get(name)((200, 300), "float64", np.random.default_rng(0))
    assert values.std() == pytest.approx(deviation, rel=0.02)
    assert abs(values.mean()) < 0.02 * deviation
    assert 0.9 * min(bound, 4 * deviation) < np.abs(values).max() <= bound


def test_fans_of_a_convolution():
    values = initializers.he_uniform(seed=0)((5, 5, 8, 200))
    assert np.abs(values).max() == pytest.approx(np.sqrt(6 / (5 * 5 * 8)), rel=0.01)
    assert [initializers.fans(shape) for shape in ((), (3,), (3, 4), (2, 3, 4))] == [(1, 1), (3, 3), (3, 4), (6, 8)]


@pytest.mark.parametrize("shape", [(5, 5), (8, 3), (3, 8), (2, 3, 4), (2, 2, 9)])
def test_orthogonal(shape):
    q = 0.5 * initializers.orthogonal(gain=2.0, seed=3)(shape, "float64").reshape(-1, shape[-1])
    small = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    assert_close(small, np.eye(len(small)), OUTPUT["float64"])


def test_seeds_of_initializers():
    seeded = initializers.GlorotUniform(seed=4)
    assert np.array_equal(seeded((3, 3)), seeded((3, 3)))
    free = initializers.GlorotUniform()
    assert not np.array_equal(free((3, 3)), free((3, 3)))


def test_simple_and_own_initializers():
    assert initializers.constant(3.0)((2,)).tolist() == [3, 3]
    assert initializers.get("identity")((2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert initializers.get(lambda shape, dtype=None: np.full(shape, 5, dtype))((2,)).tolist() == [5, 5]
    assert initializers.get(initializers.Ones)((2,)).tolist() == [1, 1]
    values = np.arange(6).reshape(2, 3)
    layer = Dense(3, kernel_initializer=values)
    layer.build((None, 2))
    assert np.array_equal(layer.get_weights()[0], values)

"""Parameters of recurrent layers: initial values, in and out, and views whose changes the next call sees."""

import gc

import numpy as np
import pytest
from recurrent_layers import X, built, registered
from tolerances import OUTPUT, assert_close

from nblstm.engine import weights as engine_weights
from nblstm.layers import GRU, LSTM, RNN, Bidirectional, constraints


def test_initial_values():
    layer = LSTM(6)
    layer.build((None, 4, 3))
    kernel, recurrent_kernel, bias = layer.get_weights()
    bound = (6 / (3 + 24)) ** 0.5  # glorot_uniform of the whole kernel, as in Keras
    assert 0.5 * bound < np.abs(kernel).max() <= bound
    assert_close(recurrent_kernel @ recurrent_kernel.T, np.eye(6), OUTPUT["float32"])
    assert bias.tolist() == [0] * 6 + [1] * 6 + [0] * 12
    plain = LSTM(6, unit_forget_bias=False, bias_initializer="ones", learn_initial_state=True)
    plain.build((None, 4, 3))
    assert plain.get_weights()[2].tolist() == [1] * 24
    assert list(plain.parameters()) == ["kernel", "recurrent_kernel", "bias", "initial_h", "initial_c"]
    assert not plain.get_weights()[3].any()


def test_a_layer_that_is_built_again_has_its_new_parameters():
    """Passes that were prepared before have the old ones."""
    layer = built(LSTM(5))
    for _ in range(4):
        y, tape = layer.forward(X)
        layer.backward(tape, np.ones_like(y))
        layer(X)
    layer.unbuild()
    built(layer)
    other = built(LSTM(5))
    other.set_weights(layer.get_weights())
    for _ in range(4):
        np.testing.assert_array_equal(layer(X), other(X))
        y, tape = layer.forward(X)
        expected_y, expected = other.forward(X)
        np.testing.assert_array_equal(y, expected_y)
        gradients = layer.backward(tape, np.ones_like(y))[1].flat
        np.testing.assert_array_equal(gradients, other.backward(expected, np.ones_like(y))[1].flat)
    layer.unbuild()
    layer.build((None, 6, 7))
    for _ in range(4):
        assert layer.forward(np.ones((2, 6, 7)))[0].shape == (2, 5)


@pytest.mark.parametrize("make", [lambda: LSTM(3), lambda: Bidirectional(GRU(3)), lambda: RNN(registered, 3)])
def test_weights_go_out_and_in(make):
    layer, other = built(make()), built(make(), 2)
    weights = layer.get_weights()
    for w in other.weights:
        w *= 2
    assert not np.array_equal(other(X), layer(X))
    other.set_weights(weights)
    assert np.array_equal(other(X), layer(X))
    assert layer.count_params() == sum(w.size for w in weights) == layer.flat_parameters().size


@pytest.mark.parametrize("make", [lambda: LSTM(3), lambda: Bidirectional(LSTM(3))])
def test_what_is_written_to_views_is_seen_by_the_next_call(make):
    layer = built(make())
    y = layer(X)
    view = layer.weights[0]
    assert np.array_equal(layer(X), y)
    view[0] += 1
    assert not np.array_equal(layer(X), y)
    view[0] -= 1
    flat = layer.flat_parameters()
    del view
    gc.collect()
    again = layer(X)
    flat += 0.5
    assert not np.array_equal(layer(X), again)
    flat *= 0
    assert not layer(X).any()


def test_views_of_a_part_and_of_the_whole_are_of_the_same_numbers():
    layer = built(Bidirectional(LSTM(3)))
    inner = layer.backward_layer.parameters()["kernel"]
    outer = layer.parameters()["backward_kernel"]
    assert np.shares_memory(inner, outer)
    y = layer(X)
    inner += 1
    assert not np.array_equal(layer(X), y)
    del outer
    gc.collect()
    y = layer(X)
    inner += 1  # the part is still lent when the whole no longer is
    assert not np.array_equal(layer(X), y)
    layer.load_state_dict({name: np.zeros_like(w) for name, w in layer.state_dict().items()})
    assert not layer(X).any()
    layer.forward_layer.set_weights([np.ones_like(w) for w in layer.forward_layer.get_weights()])
    assert [bool(half.any()) for half in np.split(layer(X), 2, axis=-1)] == [True, False]


@pytest.mark.parametrize("wrap", [lambda layer: layer, Bidirectional])
def test_constraints(wrap):
    layer = built(wrap(LSTM(3, kernel_constraint=constraints.MaxNorm(0.1), bias_constraint="non_neg")))
    y = layer(X)
    layer.apply_constraints()
    for name, w in layer.state_dict().items():
        if name.endswith("bias"):
            assert w.min() == 0
        elif "recurrent" not in name:
            assert np.linalg.norm(w, axis=0).max() < 0.1001
    assert not np.array_equal(layer(X), y)


def test_weights_are_packed_once(monkeypatch):
    layer, count = built(LSTM(3)), []
    packed = engine_weights.packed
    monkeypatch.setattr(engine_weights, "packed", lambda *args: count.append(1) or packed(*args))
    gc.collect()
    for _ in range(3):
        layer(X)
    assert len(count) == 1
    layer.set_weights(layer.get_weights())
    layer(X)
    assert len(count) == 2

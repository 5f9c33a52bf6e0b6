"""What states are where none are given: the cell's own initial values, on every path and in every call."""

import copy

import numpy as np
import pytest
import reference
from tolerances import OUTPUT, assert_close

from nblstm import CellError, cell, cells, nn, sigmoid, tanh
from nblstm.cells import recurrent_dropout
from nblstm.layers import RNN, Bidirectional, Input, Masking, register_cell
from nblstm.models import Sequential

RNG = np.random.default_rng(0)
CALLS = range(5)  # passes over small inputs of one shape are replayed from the third on


@register_cell
@cell(gates="a b", states="h n", initial={"n": 1.0, "h": -0.5})
def normalised(a, b, h, n):
    """As in an xLSTM: a sum divided by what it was weighted with."""
    n = sigmoid(b) * n + 0.25
    return tanh(a) / n + 0.5 * h, n


def normalised_oracle(x, W, R, b, h, n):
    """Outputs and final states of one sequence after the other, from h and n (B, H)."""
    H, rows = h.shape[-1], []
    for x_t in x:
        z = x_t @ W.T + h @ R.T + b
        n = reference.sigmoid(z[..., H:]) * n + 0.25
        h = np.tanh(z[..., :H]) / n + 0.5 * h
        rows.append(h)
    return np.stack(rows), h, n


def expected(net, x):
    params = [value.astype("f8") for value in net.state_dict().values()]
    W, R, b = params[0], params[1], params[2] + params[3]
    B, H = x.shape[1], net.hidden_size
    return normalised_oracle(x, W, R, b, np.full((B, H), -0.5), np.full((B, H), 1.0))


@pytest.mark.parametrize("shape", [(4, 2, 3), (60, 40, 3)])
def test_of_a_network(shape):
    net, x = nn.Recurrent(normalised, 3, 7, seed=0), RNG.normal(size=shape).astype("f4")
    y, h, n = expected(net, x)
    explicit = np.full((1, shape[1], 7), -0.5), np.ones((1, shape[1], 7))
    _, _, tape = net.forward(x, explicit)
    gradients = net.backward(tape, np.ones_like(y))
    for _ in CALLS:
        for result in (net(x), net.forward(x)[:2]):
            assert_close(result[0], y, OUTPUT["float32"])
            assert_close(result[1][0][0], h, OUTPUT["float32"])
            assert_close(result[1][1][0], n, OUTPUT["float32"])
        ours = net.backward(net.forward(x)[2], np.ones_like(y))
        np.testing.assert_array_equal(ours.flat, gradients.flat)
        np.testing.assert_array_equal(ours.state[1], gradients.state[1])


def test_of_lengths_and_of_one_sequence():
    net, x = nn.Recurrent(normalised, 3, 7, dtype="float64", seed=0), RNG.normal(size=(4, 3, 3))
    y, _, _ = expected(net, x)
    for _ in CALLS:
        ragged, (h, n) = net(x, lengths=[2, 0, 4])
        assert_close(ragged[:2, 0], y[:2, 0], OUTPUT["float64"])
        assert (h[0, 1] == -0.5).all()
        assert (n[0, 1] == 1).all()
        assert_close(net(x[:, 1])[0], y[:, 1], OUTPUT["float64"])


def test_given_states_are_taken():
    net, x = nn.Recurrent(normalised, 3, 7, dtype="float64", seed=0), RNG.normal(size=(4, 2, 3))
    W, R, b_x, b_h = net.state_dict().values()
    zeros = np.zeros((1, 2, 7))
    y, _, _ = normalised_oracle(x, W, R, b_x + b_h, zeros[0], zeros[0])
    for _ in CALLS:
        assert_close(net(x, (zeros, zeros))[0], y, OUTPUT["float64"])
        assert_close(net.forward(x, (zeros, zeros))[0], y, OUTPUT["float64"])


def test_of_a_stepper():
    net, x = nn.Recurrent(normalised, 3, 7, dtype="float64", seed=0), RNG.normal(size=(5, 2, 3))
    y, _, _ = expected(net, x)
    stepper = net.stepper(2)
    for _ in range(2):
        for t in CALLS:
            assert_close(stepper(x[t]), y[t], OUTPUT["float64"])
        assert_close(copy.copy(stepper).state[1], stepper.state[1], OUTPUT["float64"])
        stepper.reset()


def layer_and_network(**options):
    """An RNN layer of the cell, and a network with its parameters."""
    layer = RNN(normalised, 7, return_sequences=True, dtype="float64", **options)
    layer.build((None, None, 3))
    net = nn.Recurrent(normalised, 3, 7, dtype="float64")
    kernel, recurrent, bias = layer.get_weights()[:3]
    net.load_state_dict({"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T, "bias_ih_l0": bias,
                         "bias_hh_l0": 0 * bias})  # fmt: skip
    return layer, net


@pytest.mark.parametrize("options", [{}, {"learn_initial_state": True}], ids=str)
def test_of_a_layer(options):
    layer, net = layer_and_network(**options)
    x = RNG.normal(size=(2, 5, 3))
    y, _, _ = expected(net, x.swapaxes(0, 1))
    for _ in CALLS:
        assert_close(layer(x).swapaxes(0, 1), y, OUTPUT["float64"])
        assert_close(layer.forward(x)[0].swapaxes(0, 1), y, OUTPUT["float64"])
    stepper = layer.stepper(2)
    for t in CALLS:
        assert_close(stepper(x[:, t]), y[t], OUTPUT["float64"])


def test_of_a_stateful_layer():
    layer, net = layer_and_network(stateful=True)
    x = RNG.normal(size=(2, 6, 3))
    y, _, _ = expected(net, x.swapaxes(0, 1))
    for _ in range(3):
        assert_close(layer(x[:, :4]).swapaxes(0, 1), y[:4], OUTPUT["float64"])
        assert_close(layer(x[:, 4:]).swapaxes(0, 1), y[4:], OUTPUT["float64"])
        layer.reset_states()


def test_of_masked_steps_and_both_directions():
    layer = Bidirectional(RNN(normalised, 7, dtype="float64"), merge_mode="sum")
    model = Sequential([Input((None, 3)), Masking(), layer], seed=0)
    x = RNG.normal(size=(2, 3, 3))
    padded = np.concatenate([x, np.zeros((2, 2, 3))], axis=1)
    for _ in CALLS:
        assert_close(model.predict(padded, verbose=0), model.predict(x, verbose=0), OUTPUT["float32"])


@pytest.mark.parametrize("base", [cells.lstm, cells.gru, normalised], ids=lambda made: made.name)
def test_recurrent_dropout_without_a_mask_is_the_cell_itself(base):
    """A mask that nobody gave cut every recurrent connection."""
    plain = nn.Recurrent(base, 3, 6, 2, bidirectional=True, seed=0)
    dropped = nn.Recurrent(recurrent_dropout(base), 3, 6, 2, bidirectional=True, seed=0)
    x = RNG.normal(size=(5, 2, 3)).astype("f4")
    y, states = plain(x)
    S = len(base.states)
    for _ in CALLS:
        for ours, given in (dropped(x), dropped.forward(x)[:2]):
            np.testing.assert_array_equal(ours, y)
            for one, other in zip(given, (states[0], *states, np.ones_like(states[0])), strict=True):
                np.testing.assert_array_equal(one, other)
    stepper, whole = nn.Recurrent(recurrent_dropout(base), 3, 6, seed=0).stepper(2), nn.Recurrent(base, 3, 6, seed=0)
    outputs = np.stack([stepper(x_t).copy() for x_t in x])
    assert_close(outputs, whole(x)[0], OUTPUT["float32"])
    layer = RNN(recurrent_dropout(base), 6, return_sequences=True, return_state=True, seed=1)
    same = RNN(base, 6, return_sequences=True, return_state=True, seed=1)
    layer.build((None, None, 3))
    same.build((None, None, 3))
    same.set_weights(layer.get_weights())
    for _ in CALLS:
        sequence, *final = layer(x)
        wanted, *finals = same(x)
        np.testing.assert_array_equal(sequence, wanted)
        np.testing.assert_array_equal(final[1 : 1 + S], finals)
        np.testing.assert_array_equal(final[-1], 1)


@pytest.mark.parametrize(
    ("initial", "said"),
    [
        ({"c": 1.0}, "has initial .*; give a dict from states, h n, to numbers"),
        ([1.0, 0.0], "has initial .*; give a dict from states, h n, to numbers"),
        ({"h": "1"}, "has the initial value '1' of 'h'; give a finite number"),
        ({"n": float("nan")}, "has the initial value nan of 'n'; give a finite number"),
    ],
)
def test_what_is_no_initial_value(initial, said):
    with pytest.raises(CellError, match=f"cell 'mine' {said}"):

        @cell(gates="a", states="h n", initial=initial)
        def mine(a, h, n):
            return tanh(a), n

"""Recurrent layers beside nn, of any activation, step by step, among other layers, in threads."""

import threading

import numpy as np
import pytest
from recurrent_layers import GAPS, RNG, SEQUENCES, X, built
from tolerances import DTYPES, OUTPUT, assert_close

import nblstm
from nblstm import nn
from nblstm.layers import GRU, LSTM, RNN, Bidirectional, Dense, SimpleRNN, TimeDistributed, activations

# --- beside nn ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_lstm_is_that_of_nn_with_transposed_weights(dtype):
    layer = built(LSTM(5, **SEQUENCES, return_state=True, dtype=dtype))
    kernel, recurrent_kernel, bias = layer.get_weights()
    torch_like = nn.LSTM(2, 5, batch_first=True, dtype=dtype)
    torch_like.load_state_dict(
        {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent_kernel.T, "bias_ih_l0": bias, "bias_hh_l0": 0 * bias}
    )
    lengths = np.array([3, 6, 0])
    mask = np.arange(6) < lengths[:, None]
    dy, dh, dc = RNG.normal(size=(3, 6, 5)), RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5))
    (y, h, c), tape = layer.forward(X, mask=mask)
    expected, (h_n, c_n), torch_tape = torch_like.forward(X, lengths=lengths)
    assert np.array_equal(np.where(mask[..., None], y, 0), expected)
    assert np.array_equal(h, h_n[0])
    assert np.array_equal(c, c_n[0])
    dy[~mask] = 0
    dx, gradients = layer.backward(tape, [dy, dh, dc])
    right = torch_like.backward(torch_tape, dy, (dh[None], dc[None]))
    assert np.array_equal(dx, right.x)
    assert np.array_equal(gradients.params["kernel"].T, right.params["weight_ih_l0"])
    assert np.array_equal(gradients.params["recurrent_kernel"].T, right.params["weight_hh_l0"])
    assert np.array_equal(gradients.params["bias"], right.params["bias_ih_l0"])


def test_a_layer_of_any_cell_is_recurrent_of_that_cell():
    layer = built(RNN("lstm_peephole", 4, **SEQUENCES, dtype="float64"))
    own = layer.state_dict()
    network = nn.Recurrent(nblstm.cells.lstm_peephole, 2, 4, batch_first=True, dtype="float64")
    network.load_state_dict(
        {"weight_ih_l0": own["kernel"].T, "weight_hh_l0": own["recurrent_kernel"].T, "bias_ih_l0": own["bias"],
         "bias_hh_l0": 0 * own["bias"]} | {f"{name}_l0": own[name] for name in ("p_i", "p_f", "p_o")}
    )  # fmt: skip
    assert np.array_equal(layer(X), network(X)[0])
    assert list(own) == ["kernel", "recurrent_kernel", "bias", "p_i", "p_f", "p_o"]


def test_a_gru_is_that_of_nn_but_for_the_order_of_gates():
    layer = built(GRU(4, **SEQUENCES, dtype="float64"))
    kernel, recurrent_kernel, bias = layer.get_weights()

    def reordered(w):  # z r n to r z n
        z, r, n = np.split(w.T, 3, axis=0)
        return np.concatenate([r, z, n])

    network = nn.GRU(2, 4, batch_first=True, dtype="float64")
    network.load_state_dict(
        {"weight_ih_l0": reordered(kernel), "weight_hh_l0": reordered(recurrent_kernel),
         "bias_ih_l0": reordered(bias[0]), "bias_hh_l0": reordered(bias[1])}
    )  # fmt: skip
    assert_close(layer(X), network(X)[0], OUTPUT["float64"])


PARTS, BACKWARDS = SEQUENCES | {"return_state": True}, {"go_backwards": True}

#: name: (layer, whether both directions are of one network)
PAIRS = {
    "lstm": (lambda: Bidirectional(LSTM(4, learn_initial_state=True, **PARTS)), True),
    "gru": (lambda: Bidirectional(GRU(4, use_bias=False, **PARTS)), True),
    "cells": (lambda: Bidirectional(LSTM(4, **PARTS), backward_layer=GRU(4, **BACKWARDS, **PARTS)), False),
    "units": (lambda: Bidirectional(LSTM(4, **PARTS), backward_layer=LSTM(5, **BACKWARDS, **PARTS)), False),
    "bias": (
        lambda: Bidirectional(LSTM(4, **PARTS), backward_layer=LSTM(4, use_bias=False, **BACKWARDS, **PARTS)), False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mask", [None, GAPS], ids=["whole", "gaps"])
@pytest.mark.parametrize("pair", PAIRS)
def test_both_directions_are_their_layers_side_by_side(pair, mask):
    """Two directions of one network where the layers differ in nothing else; outputs have the same bits either way."""
    make, is_one = PAIRS[pair]
    layer = built(make())
    alone = [layer.forward_layer, layer.backward_layer]
    (y, *states), tape = layer.forward(X, mask=mask)
    assert (not isinstance(tape.saved.tape, list)) == is_one
    (first, *firsts), first_tape = alone[0].forward(X, mask=mask)
    (second, *seconds), second_tape = alone[1].forward(X, mask=mask)
    assert np.array_equal(y, np.concatenate([first, second[:, ::-1]], axis=-1))
    assert all(map(np.array_equal, states, firsts + seconds))
    assert all(map(np.array_equal, layer(X, mask), [y, *states]))
    dy, d_states = RNG.normal(size=y.shape), [RNG.normal(size=state.shape) for state in states]
    dx, gradients = layer.backward(tape, [dy, *d_states])
    H, S = alone[0].units, len(firsts)
    dx_first, one = alone[0].backward(first_tape, [dy[..., :H], *d_states[:S]])
    dx_second, other = alone[1].backward(second_tape, [dy[:, ::-1, H:], *d_states[S:]])
    assert np.array_equal(dx, dx_first + dx_second)
    assert np.array_equal(gradients.flat, np.concatenate([one.flat, other.flat]))
    assert all(map(np.array_equal, gradients.state, one.state + other.state))


# --- activations ----------------------------------------------------------------------------------

SCALARS = [name for name, function in activations.FUNCTIONS.items() if function.scalar is not None]


@pytest.mark.parametrize("name", SCALARS)
def test_a_cell_is_compiled_with_the_same_function(name):
    points = np.array([-30.0, -3.0, -1.0, -0.3, 0.2, 0.8, 1.0, 4.0, 7.0])
    function = activations.get(name)
    assert_close(np.array([function.scalar(x) for x in points.tolist()]), function(points), OUTPUT["float64"])
    assert LSTM(2, name, name).cell is LSTM(3, name, name).cell  # traced, and shared
    assert GRU(2, name, name).activation is SimpleRNN(2, name).activation is function


def test_defaults_share_the_cells_of_nn():
    assert LSTM(2).cell is nblstm.cells.lstm
    assert SimpleRNN(2).cell is nblstm.cells.rnn_tanh
    assert SimpleRNN(2, "relu").cell is nblstm.cells.rnn_relu
    assert GRU(2).cell is nblstm.cells.gru
    assert GRU(2, reset_after=False).cell is nblstm.cells.gru_reset_before
    assert GRU(2, "relu").cell is nblstm.cells.gru_with("relu") is not nblstm.cells.gru


def test_an_activation_of_your_own():
    cube = activations.ActivationFunction(
        "cube", lambda x: x**3, lambda x, dy: 3 * dy * x**2, "input", scalar=lambda x: x**3
    )
    layer = built(SimpleRNN(4, cube, dtype="float64"))
    kernel, recurrent_kernel, bias = layer.get_weights()
    h = np.zeros((3, 4))
    for t in range(6):
        h = (X[:, t] @ kernel + h @ recurrent_kernel + bias) ** 3
    assert_close(layer(X), h, OUTPUT["float64"])


# --- step by step ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [LSTM, GRU, SimpleRNN, lambda n, **options: RNN("lstm_peephole", n, **options)])
def test_step_by_step(make):
    layer = built(make(4, **SEQUENCES, learn_initial_state=True))
    step = layer.stepper(3)
    y = np.stack([step(X[:, t]).copy() for t in range(6)], axis=1)
    assert np.array_equal(y, layer(X))
    kept = step.state
    assert [state.shape for state in kept] == [(3, 4)] * len(layer.cell.states)
    following = step(X[:, 0]).copy()
    step.state = kept
    assert np.array_equal(step(X[:, 0]), following)
    step.reset()
    assert np.array_equal(step(X[:, 0]), y[:, 0])
    layer.set_weights([2 * w for w in layer.get_weights()])
    step.reset()
    assert np.array_equal(step(X[:, 0]), layer(X)[:, 0])
    one = layer.stepper()
    assert np.array_equal(one(X[1, 0]), layer(X)[1, 0])


# --- among other layers, and threads --------------------------------------------------------------


def test_a_sequence_of_sequences():
    layer, inner = TimeDistributed(LSTM(3)), LSTM(3)
    x = RNG.normal(size=(2, 4, 5, 2))
    y, tape = layer.forward(x)
    inner.build((None, 5, 2))
    inner.set_weights(layer.get_weights())
    assert np.array_equal(y, np.stack([inner(x[:, t]) for t in range(4)], axis=1))
    dx, gradients = layer.backward(tape, np.ones_like(y))
    assert dx.shape == x.shape
    assert gradients.params["kernel"].any()


def test_a_dense_layer_behind_and_another_recurrent_one():
    chain = [LSTM(4, **SEQUENCES, dtype="float64"), GRU(3, **SEQUENCES, dtype="float64"), Dense(2, dtype="float64")]
    x, tapes = X, []
    for layer in chain:
        x, tape = layer.forward(x, mask=GAPS if layer is not chain[2] else None)
        tapes.append(tape)
    d = np.ones_like(x)
    for layer, tape in zip(reversed(chain), reversed(tapes), strict=True):
        d, _ = layer.backward(tape, d)
    assert d.shape == X.shape
    assert d[GAPS].any()
    assert not d[~GAPS].any()


def test_threads_that_call_at_once():
    layer = built(Bidirectional(LSTM(4, **SEQUENCES)))
    right, wrong = layer(X, mask=GAPS), []

    def call():
        for _ in range(50):
            if not np.array_equal(layer(X, mask=GAPS), right):
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout_and_dtype_of_data(dtype):
    layer = built(LSTM(4, **SEQUENCES, dtype=dtype))
    x = np.round(X * 4)
    right = layer(x)
    assert right.dtype == dtype
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (x.tolist(), x.astype("int8"), np.asfortranarray(x), x[::-1][::-1], read_only, x.astype(">f4")):
        assert np.array_equal(layer(same), right)

"""One step at a time gives the bits of the whole sequence."""

import networks
import numpy as np
import pytest
import reference
from tolerances import OUTPUT, assert_close

from nblstm import nn

CELLS = ["lstm", "gru", "gru_reset_before", "rnn_tanh", "lstm_peephole", "lstm_recurrent_dropout"]


def network(cell="lstm", layers=2, dtype="float64", **options):
    return nn.Recurrent(networks.CELLS[cell][0], 3, 19, layers, dtype=dtype, seed=0, **options)


def sequence(B, dtype="float64"):
    return np.random.default_rng(B).normal(size=(6, B, 3)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("B", [1, 3, 7])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_have_the_bits_of_the_whole_sequence(cell, layers, B, dtype):
    net, x = network(cell, layers, dtype), sequence(B, dtype)
    initial = tuple(np.random.default_rng(1).normal(size=(len(net.cell.states), layers, B, 19)))
    y, states = net(x, initial)
    step = net.stepper(batch_size=B)
    step.state = initial
    for t in range(len(x)):
        y_t = step(x[t])
        assert y_t.dtype == dtype
        np.testing.assert_array_equal(y_t, y[t])
    for ours, theirs in zip(step.state, states, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("B", [1, 301])
def test_large_steps(B):
    net = nn.LSTM(65, 257, 2, dtype="float64", seed=0)
    x = np.random.default_rng(0).normal(size=(3, B, 65))
    expected, _ = reference.forward(reference.CELLS["lstm"], net.state_dict(), x, num_layers=2)
    step = net.stepper(batch_size=B)
    assert_close(np.stack([step(x_t).copy() for x_t in x]), expected, OUTPUT["float64"])
    step.reset()
    np.testing.assert_array_equal(np.stack([step(x_t).copy() for x_t in x]), net(x)[0])


def test_one_row_may_come_without_a_batch():
    net, x = network(), sequence(1)
    step, batched = net.stepper(), net.stepper()
    for x_t in x:
        y_t = step(x_t[0])
        assert y_t.shape == (19,)
        np.testing.assert_array_equal(y_t, batched(x_t)[0])
        assert batched(x_t).shape == (1, 19)
        step.state = batched.state


@pytest.mark.parametrize("given", [np.float32, ">f8", "i4", list, np.asfortranarray])
def test_inputs_are_converted(given):
    net = network()
    x = np.round(4 * sequence(3))
    y, _ = net(x)
    step = net.stepper(batch_size=3)
    for t in range(len(x)):
        x_t = given(x[t]) if callable(given) and given is not np.float32 else x[t].astype(given)
        np.testing.assert_array_equal(step(x_t), y[t])


def test_reset():
    net, x = network(), sequence(3)
    step = net.stepper(batch_size=3)
    first = step(x[0]).copy()
    assert (step(x[0]) != first).any()
    step.reset()
    assert all((state == 0).all() for state in step.state)
    np.testing.assert_array_equal(step(x[0]), first)


def test_state_in_and_out():
    net, x = network(), sequence(3)
    rng = np.random.default_rng(0)
    given = tuple(rng.normal(size=(2, 3, 19)) for _ in "hc")
    y, states = net(x, given)
    step = net.stepper(batch_size=3)
    step.state = given
    for t in range(3):
        np.testing.assert_array_equal(step(x[t]), y[t])
    kept = step.state
    for t in range(3, 6):
        step(x[t])
    np.testing.assert_array_equal(step.state[1], states[1])
    step.reset(kept)  # back to the middle: `state` was a copy
    for t in range(3, 6):
        np.testing.assert_array_equal(step(x[t]), y[t])
    before = step.state
    before[0][...] = 5
    assert (step.state[0] != 5).any()


def test_the_state_of_one_state_is_bare():
    net = nn.GRU(3, 5, dtype="float64", seed=0)
    step = net.stepper()
    step(np.ones((1, 3)))
    assert step.state.shape == (1, 1, 5)
    step.state = np.zeros((1, 1, 5))
    np.testing.assert_array_equal(step.state, 0)


def test_the_output_is_a_buffer_that_the_next_step_overwrites():
    net, x = network(), sequence(3)
    step = net.stepper(batch_size=3)
    first = step(x[0])
    kept = first.copy()
    second = step(x[1])
    assert np.shares_memory(first, second)
    assert (first != kept).any()
    np.testing.assert_array_equal(first, net(x)[0][1])


def test_steppers_of_one_network_are_independent():
    net, x = network(), sequence(3)
    one, other = net.stepper(batch_size=3), net.stepper(batch_size=1)
    y, _ = net(x)
    for t in range(len(x)):
        np.testing.assert_array_equal(one(x[t]), y[t])
        other(x[t, :1] + 1)


def test_no_bias():
    net, x = network("gru", bias=False), sequence(3)
    step = net.stepper(batch_size=3)
    np.testing.assert_array_equal(np.stack([step(x_t).copy() for x_t in x]), net(x)[0])


def test_a_wrong_state_changes_nothing():
    step = network().stepper()
    step(np.ones((1, 3)))
    before = step.state
    good = np.ones((2, 1, 19))
    for bad in ((good,), (good, good[0]), (good, good * 1j), good):
        with pytest.raises((TypeError, ValueError), match="state"):
            step.state = bad
        for ours, theirs in zip(step.state, before, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("x_t", [np.zeros(4), np.zeros((2, 3)), np.zeros((1, 1, 3)), 3.0])
def test_wrong_shapes(x_t):
    step = network().stepper()
    with pytest.raises(ValueError, match=r"x_t has shape .*needs shape"):
        step(x_t)
    assert all((state == 0).all() for state in step.state)


def test_a_bidirectional_network_has_no_stepper():
    with pytest.raises(ValueError, match="bidirectional"):
        network(bidirectional=True).stepper()


@pytest.mark.parametrize(
    ("batch_size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (None, TypeError)]
)
def test_batch_size(batch_size, error):
    with pytest.raises(error, match="batch_size is"):
        network().stepper(batch_size)
